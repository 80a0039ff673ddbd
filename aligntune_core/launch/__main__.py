"""``python -m aligntune_core.launch DESCRIPTOR``: the entry of every child process."""

import sys

from aligntune_core.launch.service import serve

serve(int(sys.argv[1]))

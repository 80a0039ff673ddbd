"""``python -m aligntune_core.launch DESCRIPTOR``: the worker's entry."""

import sys

from aligntune_core.launch.worker import main

main(int(sys.argv[1]))

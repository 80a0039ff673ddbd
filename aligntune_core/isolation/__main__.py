"""``python -m aligntune_core.isolation DESCRIPTOR``: the worker's entry."""

import sys

from aligntune_core.isolation.worker import main

main(int(sys.argv[1]))

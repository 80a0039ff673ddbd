"""``python -m aligntune``: the command line where its script is not on the PATH."""

from aligntune.cli import main

if __name__ == "__main__":
    main()

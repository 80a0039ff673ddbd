"""The ``aligntune`` command. One file a command; a command's module is imported when that command runs."""

from __future__ import annotations


def main() -> None:
    """Entry point of the console script."""
    from aligntune.cli.app import app

    app()

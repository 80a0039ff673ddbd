"""Print what README.md promises, so that CI runs the words themselves.

usage: readme.py setup|main|test|imports
    setup    the first Quick start command without its last part, which runs the main job
    main     that last part
    test     the second Quick start command
    imports  the import lines of README's Python blocks
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def quick_start(text: str) -> list[str]:
    """The two commands of the first code block under Quick start."""
    section = re.search(r"^#+ Quick start$(.*?)^#", text, re.M | re.S)
    block = re.search(r"^```\w*\n(.*?)^```", section.group(1), re.M | re.S) if section else None
    commands = [line for line in block.group(1).splitlines() if line.strip()] if block else []
    if len(commands) != 2:
        sys.exit(f"README.md: Quick start should begin with a block of 2 commands, found {len(commands)}")
    return commands


def imports(text: str) -> list[str]:
    """Every import of aligntune in README's Python blocks."""
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    return sorted(
        {line for b in blocks for line in b.splitlines() if re.match(r"(from|import) aligntune\b", line)}
    )


def main(what: str) -> str:
    text = README.read_text(encoding="utf-8")
    setup, test = quick_start(text)
    head, _, job = setup.rpartition(" && ")
    if what == "imports":
        return "\n".join(imports(text))
    return {"setup": head, "main": job, "test": test}[what]


if __name__ == "__main__":
    print(main(sys.argv[1]))

"""The table of built-in rewards in ``docs/rewards.md``. ``python docs/tools/rewards.py`` brings it up to date."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from aligntune_core.rewards.catalogue import BUILT_IN, describe

PAGE = Path(__file__).parents[1] / "rewards.md"
_MARKED = re.compile(r"(<!-- built-in rewards: begin .*?-->\n).*?(<!-- built-in rewards: end -->)", re.DOTALL)


def markdown_table() -> str:
    """The built-in rewards, a row each."""
    lines = ["| name | scores | range | reads | parameters (default) | needs |", "|---|---|---|---|---|---|"]
    for name, entry in BUILT_IN.items():
        info = describe(name, entry)
        parameters = [
            f"`{p.name}` ({'required' if p.required else repr(p.default)}): {p.description}"
            for p in info.parameters
        ]
        cells = [
            f"`{name}`",
            info.summary,
            info.scores,
            ", ".join(info.reads),
            "<br>".join(parameters),
            entry.requires,
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def with_table(page: str) -> str:
    """The page with the table between its two marks as the rewards have it."""
    return _MARKED.sub(lambda marks: f"{marks[1]}{markdown_table()}\n{marks[2]}", page)


def main() -> int:
    """Bring the page up to date."""
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

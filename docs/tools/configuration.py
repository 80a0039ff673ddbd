"""The keyword reference. ``python docs/tools/configuration.py [FILE]`` writes it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from aligntune_core.algorithms import Algorithm, Default
from aligntune_core.algorithms.catalogue import own
from aligntune_core.config import keywords as kw
from aligntune_core.config.keywords import Entry
from aligntune_core.data.formats import canonical_columns
from aligntune_core.fields import extra_of

DEFAULT = Path(__file__).parents[1] / "reference" / "configuration.md"
_MARKED = re.compile(r"(<!-- parameters: begin -->).*?(<!-- parameters: end -->)", re.DOTALL)
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_TRAITS = {  # as Algorithm.has takes them
    "supervised": "supervised algorithms",
    "generates": "algorithms that generate",
    "offline": "algorithms that do not generate",
    "rewards": "algorithms scored by rewards",
    "cut": "algorithms that cut long rows",
}

_HEAD = [
    "# Configuration reference",
    "",
    "Made by `python docs/tools/configuration.py` from the models; do not edit.",
    "",
    "Every field has a *keyword*, its name in `create_sft_trainer(...)`, `create_rl_trainer(...)`, `config=` mappings,",
    "YAML files and `key=value` words, and a *path*, its place in the tree: `learning_rate=1e-4`,",
    "`optim.learning_rate=1e-4` and `optim: {learning_rate: 1e-4}` are the same. Aliases mean the same as the keyword:",
    "equal values pass, different ones are an error. `None` is as good as not given.",
    "",
    "A keyword that belongs to another algorithm is an error that says where it belongs, unless its value asks for",
    'nothing (`None`, `False`, `"none"`, or 0 where 0 means off).',
]


def reference() -> str:
    """The keyword reference as Markdown, for core's own algorithms."""
    return "\n".join([*_HEAD, *_tree_part(), *_defaults_part(own()), *_algorithms_part(own())]) + "\n"


def _tree_part() -> list[str]:
    lines: list[str] = []
    top = [e for e in kw.tree().values() if not e.section and e.path not in kw.sections()]
    lines += ["", "## The run", "", *_table(top)]
    for name in kw.sections():
        if name == kw.PARAMETERS:
            continue
        inner = [e for e in kw.tree().values() if e.section == name]
        lines += ["", f"## {name}", "", _doc(kw.tree()[name].info), "", *_table(inner)]
        for entry in inner:
            nested = [e for e in kw.tree().values() if e.section == entry.path]
            if nested:
                lines += ["", f"### {entry.path}", "", _doc(entry.info), "", *_table(nested)]
    return lines


def _defaults_part(own: tuple[Algorithm, ...]) -> list[str]:
    lines = [
        "",
        "## Defaults by algorithm",
        "",
        "| algorithm | field | with LoRA | full | source |",
        "|---|---|---|---|---|",
    ]
    for algorithm in own:
        for path, value in algorithm.defaults.items():
            default = value if isinstance(value, Default) else Default(value, value, "")
            lines.append(
                f"| {algorithm.name} | `{path}` | {default.lora:g} | {default.full:g} | {default.source} |"
            )
    return lines


def _algorithms_part(own: tuple[Algorithm, ...]) -> list[str]:
    lines = [
        "",
        "## parameters",
        "",
        "The algorithms' own keywords; in the tree they lie under `parameters`.",
    ]
    for algorithm in own:
        entries = list(kw.parameters_of(algorithm.parameters).values())
        columns = ", ".join(canonical_columns(algorithm))
        lines += [
            "",
            f"### {algorithm.name}",
            "",
            f"{algorithm.title} ({algorithm.paper}). Rows: {columns}.",
            "",
        ]
        lines += _table(entries)
    return lines


def _doc(info: FieldInfo) -> str:
    section = kw.section_of(info)
    return (section.__doc__ or "").strip() if section else ""


def _table(entries: list[Entry]) -> list[str]:
    lines = ["| keyword | path | type | default | meaning |", "|---|---|---|---|---|"]
    for entry in entries:
        names = ", ".join(f"`{n}`" for n in entry.names)
        lines.append(
            f"| {names} | `{entry.path}` | {_type(entry.info)} | {_default(entry.info)} | {_meaning(entry)} |"
        )
    return lines


def _type(info: FieldInfo) -> str:
    text = _type_name(info.annotation)
    limits = [
        f"{sign} {getattr(m, name)}"
        for m in info.metadata
        for name, sign in _SIGNS.items()
        if hasattr(m, name)
    ]
    return ", ".join([text, *limits]).replace("|", "\\|")


def _type_name(kind: Any) -> str:
    if kind is Any:
        return "any"
    if kind is type(None):
        return "None"
    arguments = get_args(kind)
    if not arguments:
        return str(getattr(kind, "__name__", kind))
    if all(isinstance(a, (str, bool, int)) for a in arguments):
        return " | ".join(map(str, arguments))
    origin = get_origin(kind)
    if origin in (list, dict, tuple):
        return f"{origin.__name__} of {', '.join(_type_name(a) for a in arguments)}"
    return " | ".join(_type_name(a) for a in arguments)


def _default(info: FieldInfo) -> str:
    if info.is_required() or info.default is PydanticUndefined:
        return "required" if info.default_factory is None else "made when asked for"
    return f"`{info.default}`"


def _meaning(entry: Entry) -> str:
    extra = extra_of(entry.info)
    parts = [entry.info.description or ""]
    if extra.get("off"):
        parts.append(f"None: {extra['off']}")
    if extra.get("needs"):
        parts.append(f"read with {extra['needs']} only")
    if entry.only:
        parts.append(f"only for {_TRAITS[entry.only]}")
    if extra.get("source"):
        parts.append(f"default from {extra['source']}")
    return "; ".join(parts).replace("|", "\\|")


def with_parameters(page: str, algorithm: Algorithm) -> str:
    """A page about an algorithm, with the table of its parameters between its two marks as the models have it."""
    table = "\n".join(_table(list(kw.parameters_of(algorithm.parameters).values())))
    return _MARKED.sub(lambda marks: f"{marks[1]}\n{table}\n{marks[2]}", page)


def main(arguments: list[str]) -> int:
    """Write the reference to the file named, by default into ``docs``.

    The tables in ``algorithms/NAME.md`` beside that file's folder are brought up to date, where there are such pages.
    """
    path = Path(arguments[0]) if arguments else DEFAULT
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(reference(), encoding="utf-8")
    for algorithm in own():
        page = path.parent.parent / "algorithms" / f"{algorithm.name}.md"
        if page.is_file():
            page.write_text(with_parameters(page.read_text(encoding="utf-8"), algorithm), encoding="utf-8")
    sys.stdout.write(f"wrote {path}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

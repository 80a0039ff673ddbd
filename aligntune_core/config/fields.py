"""How a configuration field is declared: one line that feeds validation, the keyword table, schema and docs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

Owner = Literal["core", "backend"]


def option(
    description: str,
    *,
    keyword: str = "",
    aliases: tuple[str, ...] = (),
    owner: Owner = "backend",
    off: str = "",
    source: str = "",
    secret: bool = False,
    **constraints: Any,
) -> Any:
    """Declare a field.

    Args:
        description: what it is, with unit and range.
        keyword: its name in ``create_*`` calls; by default the field's own name.
        aliases: other names of the same meaning.
        owner: "core" where core itself serves it; "backend" where a backend has to honour it.
        off: what ``None`` means after resolving, where None is a value; empty where resolving leaves no None.
        source: where the default comes from.
        secret: never written out.
        constraints: pydantic's ``ge``, ``gt``, ``le``, ``lt``, ``min_length`` and so on.
    """
    extra: dict[str, Any] = {"keyword": keyword, "aliases": list(aliases), "owner": owner}
    if off:
        extra["off"] = off
    if source:
        extra["source"] = source
    if secret:
        extra["secret"] = True
    return Field(description=description, json_schema_extra=extra, **constraints)


def extra_of(info: FieldInfo) -> dict[str, Any]:
    """The metadata that ``option`` stored; empty for a plain pydantic field."""
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}


class Section(BaseModel):
    """Base of every section: frozen, no unknown keys, defaults validated."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, arbitrary_types_allowed=True)

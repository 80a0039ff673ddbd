"""Declare configuration fields: one declaration serves validation, the keyword table, the schema and the docs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

Owner = Literal["core", "backend"]
Only = Literal["", "supervised", "generates", "offline", "rewards", "cut"]
OnResume = Literal["", "held", "changes", "free"]


def option(
    description: str,
    default: Any = PydanticUndefined,
    *,
    keyword: str = "",
    aliases: tuple[str, ...] = (),
    owner: Owner = "backend",
    only: Only = "",
    off: str = "",
    source: str = "",
    neutral: tuple[Any, ...] = (),
    needs: str = "",
    through: str = "",
    secret: bool = False,
    on_resume: OnResume = "",
    example: Any = None,
    beside: Mapping[str, Any] | None = None,
    alone: bool = False,
    **constraints: Any,
) -> Any:
    """Declare a field.

    Args:
        description: what it is, with unit and range.
        default: its value where nothing is said; without one it has to be given.
        keyword: its name in ``create_*`` calls; by default the field's own name.
        aliases: other names of the same meaning.
        owner: "core" where core itself serves it; "backend" where a backend has to honour it.
        only: the trait of the algorithms that have it, as ``Algorithm.has`` takes it; "": all.
        off: what ``None`` means after resolving, where None is a value; empty where resolving leaves no None.
        source: where the default comes from.
        neutral: further values that switch the thing off, so that they pass where the field does not belong.
        needs: field of the same section without which (None, False or 0) this one is not read; "field=value" where
            it takes that value.
        through: config path of the field that core turns this one into; a backend that does not honour that one is
            refused.
        secret: never written out.
        on_resume: what a value means that differs from the one in the run whose checkpoint is resumed. "held": the
            checkpoint holds it itself, so it is refused; "changes": it takes effect from here on, so it is remarked
            on; "free": what is learnt does not depend on it; "": as its section says, or else "free".
        example: a value other than the default, where type and range alone give no valid one. With it the conformance
            kit sees whether a change of the field arrives.
        beside: config path -> value: what has to be set beside the example to give it a meaning; None: taken back.
        alone: whether the example goes together with no other field's.
        constraints: pydantic's ``ge``, ``gt``, ``le``, ``lt``, ``min_length`` and so on.
    """
    extra: dict[str, Any] = {"keyword": keyword, "aliases": list(aliases), "owner": owner}
    words = {"off": off, "only": only, "source": source, "neutral": list(neutral), "needs": needs}
    words["through"] = through
    marks = {"secret": secret, "on_resume": on_resume, "beside": dict(beside or {}), "alone": alone}
    extra |= {name: value for name, value in {**words, **marks}.items() if value}
    if example is not None:
        extra["example"] = example
    return Field(default, description=description, json_schema_extra=extra, **constraints)


ours = partial(option, owner="core")
"""Declare a field that core itself serves."""


def extra_of(info: FieldInfo) -> dict[str, Any]:
    """The metadata that ``option`` stored; empty for a plain pydantic field."""
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}


def takes_bool(annotation: Any) -> bool:
    """Whether a field of this type may hold True or False."""
    parts = get_args(annotation)
    return annotation in (bool, Any) or any(takes_bool(a) or isinstance(a, bool) for a in parts)


def takes(info: FieldInfo, value: Any) -> bool:
    """Whether a field could hold a value, by its type and range; a single value may stand for a list.

    A field of any type is one of names and objects: it holds no bool.
    """
    if isinstance(value, bool) and (info.annotation is Any or not takes_bool(info.annotation)):
        return False
    adapter: TypeAdapter[Any] = TypeAdapter(
        info.rebuild_annotation(), config=ConfigDict(arbitrary_types_allowed=True)
    )
    for candidate in (value, [value]):
        try:
            adapter.validate_python(candidate)
        except ValidationError:
            continue
        return True
    return value is None


class Section(BaseModel):
    """Base of every section: frozen, no unknown keys, no NaN, defaults validated, True is not 1."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        arbitrary_types_allowed=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        defer_build=True,  # listings name algorithms but validate nothing
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and not takes_bool(cls.model_fields[str(info.field_name)].annotation):
            raise ValueError(f"takes no {value}")
        return value

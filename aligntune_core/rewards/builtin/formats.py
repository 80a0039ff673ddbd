"""Formats: a regular expression, XML tags, a thinking part, JSON against a schema."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field

from aligntune_core.rewards.text import after_thinking

_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL | re.IGNORECASE)


def regex(
    text: str,
    *,
    pattern: Annotated[str, Field(description="Python regular expression; the dot matches newlines too")],
    search: Annotated[bool, Field(description="the pattern may match anywhere, not the whole text")] = False,
) -> float:
    """1 where the completion matches a regular expression, else 0.

    White space around the completion is ignored where the whole has to match.

    Raises:
        re.error: the pattern does not compile.
    """
    compiled = re.compile(pattern, re.DOTALL)
    return float(bool(compiled.search(text) if search else compiled.fullmatch(text.strip())))


def xml_tags(
    text: str,
    *,
    tags: Annotated[tuple[str, ...], Field(min_length=1, description="tags in the order wanted")] = (
        "think",
        "answer",
    ),
    partial: Annotated[float, Field(ge=0, le=1, description="most that an incomplete format can get")] = 0.5,
) -> float:
    """1 where the completion is the wanted tags one after the other, each once, filled, and nothing else.

    Anything less gets ``partial`` times the share of tags that are opened and closed once, with something inside.
    """
    bodies = [re.findall(rf"<{re.escape(t)}>(.*?)</{re.escape(t)}>", text, re.DOTALL) for t in tags]
    once = [
        len(body) == 1 and bool(body[0].strip()) and text.count(f"<{t}>") == 1 and text.count(f"</{t}>") == 1
        for t, body in zip(tags, bodies, strict=True)
    ]
    layout = r"\s*".join(rf"<{re.escape(t)}>.*?</{re.escape(t)}>" for t in tags)
    if all(once) and re.fullmatch(layout, text.strip(), re.DOTALL):
        return 1.0
    return partial * sum(once) / len(tags)


def think_format(
    text: str,
    *,
    opened_by_prompt: Annotated[
        bool, Field(description="the chat template ends in `<think>` already")
    ] = False,
) -> float:
    """1 where the completion thinks in ``<think>...</think>`` first and then answers, else 0."""
    text = text.strip()
    if opened_by_prompt and not text.startswith("<think>"):
        text = f"<think>{text}"
    thought = re.fullmatch(r"<think>(.*?)</think>(.*)", text, re.DOTALL)
    if thought is None or re.search(r"</?think>", thought[1] + thought[2]):
        return 0.0
    return float(bool(thought[1].strip()) and bool(thought[2].strip()))


def json_schema(
    text: str,
    *,
    schema: Annotated[dict[str, Any] | None, Field(description="JSON schema; none: any JSON will do")] = None,
    invalid: Annotated[float, Field(description="score of JSON that does not fit the schema")] = 0.0,
) -> float:
    """1 where the completion is JSON that fits a schema, else 0.

    The JSON is the text after ``</think>``, or the last fenced code block in it. NaN and Infinity are no JSON. The
    schema's ``$schema`` decides the draft, by default 2020-12; a reference to another schema is never fetched.

    Raises:
        ImportError: jsonschema is not installed.
        jsonschema.SchemaError: the schema itself is wrong.
    """
    validator = _validator(json.dumps(schema, sort_keys=True)) if schema is not None else None
    body = after_thinking(text)
    blocks = _FENCED.findall(body)
    try:
        value = json.loads(blocks[-1] if blocks else body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return 0.0
    return 1.0 if validator is None or validator.is_valid(value) else invalid


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


@lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    from jsonschema import Draft202012Validator, validators
    from jsonschema_specifications import REGISTRY

    loaded = json.loads(schema)
    kind = validators.validator_for(loaded, default=Draft202012Validator)
    kind.check_schema(loaded)
    return kind(loaded, registry=REGISTRY)

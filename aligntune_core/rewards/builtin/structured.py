"""Structured output: JSON against a schema."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field

from aligntune_core.rewards.text import after_thinking

_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL | re.IGNORECASE)


def json_schema(
    text: str,
    *,
    schema: Annotated[dict[str, Any] | None, Field(description="JSON schema; none: any JSON will do")] = None,
    invalid: Annotated[float, Field(description="score of JSON that does not fit the schema")] = 0.0,
) -> float:
    """1 where the completion is JSON that fits a schema, else 0.

    The JSON is the text after ``</think>``, or the last fenced code block in it. NaN and Infinity are no JSON. A
    reference to another schema is never fetched.

    Args:
        text: the completion.
        schema: a JSON schema (its ``$schema`` decides the draft, 2020-12 by default); None asks for JSON alone.
        invalid: score of JSON that does not fit; default 0.

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

"""JSON schema of the configuration, made from the models."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from aligntune_core.algorithms import known
from aligntune_core.config import keywords as kw
from aligntune_core.config.keywords import Entry
from aligntune_core.config.schema.sections import Config
from aligntune_core.errors import ConfigError
from aligntune_core.fields import extra_of
from aligntune_core.wording import did_you_mean


def schema(field: str | None = None) -> dict[str, Any]:
    """JSON schema of the configuration, or of a ``field``: a keyword, an alias, a config path or a section.

    Raises:
        ConfigError: no such field; says the nearest.
    """
    if field is None:
        whole = Config.model_json_schema()
        parameters = _parameters()
        whole["$defs"].update(parameters.pop("$defs"))
        whole["properties"][kw.PARAMETERS] = parameters
        return whole
    if field == kw.PARAMETERS:
        return _parameters()
    entry: Any = kw.flat().get(field) or kw.tree().get(field)
    if entry:
        return _field(entry)
    name = field.removeprefix(f"{kw.PARAMETERS}.")
    owners = kw.owners(name)
    if owners:
        return {"anyOf": [{"title": algorithm, **_field(entry)} for algorithm, entry in owners.items()]}
    names = [*kw.flat(), *kw.tree(), *(n for a in known().values() for n in kw.parameter_names(a.parameters))]
    raise ConfigError(f'there is no field "{field}".{did_you_mean(field, names)}')


def _field(entry: Entry) -> dict[str, Any]:
    of_type = TypeAdapter(entry.info.rebuild_annotation()).json_schema()
    described: dict[str, Any] = {"path": entry.path, "keyword": entry.keyword, "aliases": list(entry.aliases)}
    default = entry.info.default
    if isinstance(default, (bool, int, float, str, list, type(None))):
        described["default"] = default
    return {**of_type, **extra_of(entry.info), "description": entry.info.description or "", **described}


def _parameters() -> dict[str, Any]:
    options, definitions = [], {}
    for algorithm in known().values():
        described = algorithm.parameters.model_json_schema()
        definitions.update(described.pop("$defs", {}))
        options.append({**described, "title": algorithm.name, "paper": algorithm.paper})
    return {"description": "by algorithm", "anyOf": options, "$defs": definitions}

"""A run that goes on from an adapter has that adapter's shape: what was not asked for is read from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aligntune_core.config.defaults import replace
from aligntune_core.config.dump import written
from aligntune_core.config.tree import Config

# config path -> key of peft's adapter_config.json
FIELDS = {
    "peft.r": "r",
    "peft.alpha": "lora_alpha",
    "peft.dropout": "lora_dropout",
    "peft.target_modules": "target_modules",
    "peft.bias": "bias",
    "peft.use_rslora": "use_rslora",
    "peft.use_dora": "use_dora",
    "peft.modules_to_save": "modules_to_save",
    "peft.layers_to_transform": "layers_to_transform",
}


def continued(config: Config, adapter: Mapping[str, Any] | None) -> Config:
    """The configuration with the continued adapter's own values where none was asked for.

    Args:
        config: of a run.
        adapter: what the folder's ``adapter_config.json`` says; None where the model is no adapter.
    """
    if adapter is None or not config.peft.enabled or config.peft.merge_adapter:
        return config
    asked = written(config)
    sources = dict(config._sources)
    for path, key in FIELDS.items():
        if key in adapter and path not in asked:
            value = adapter[key]
            config = replace(
                config, path, sorted(value) if key == "target_modules" and isinstance(value, list) else value
            )
            sources[path] = "resolved: of the adapter that is continued"
    config._sources = sources
    return config

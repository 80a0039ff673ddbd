"""A run that goes on from an adapter has that adapter's shape: what was not asked for is read from it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aligntune_core.config.record import CHECKPOINT, MANIFEST, written
from aligntune_core.config.schema.sections import Config, Quantization
from aligntune_core.errors import ConfigError

logger = logging.getLogger("aligntune")

QUANTIZATION = "model.quantization"


# Field of the section peft -> its name in an adapter_config.json.
ADAPTER = {
    "r": "r",
    "alpha": "lora_alpha",
    "dropout": "lora_dropout",
    **{name: name for name in ("target_modules", "bias", "use_rslora", "use_dora", "modules_to_save")},
    "layers_to_transform": "layers_to_transform",
}


def continued(config: Config, adapter: Mapping[str, Any] | None) -> Config:
    """The configuration with the continued adapter's own values where none was asked for.

    Args:
        config: of a run.
        adapter: what the folder's ``adapter_config.json`` says; None where the model is no adapter.
    """
    if adapter is None or not config.peft.enabled or config.peft.merge_adapter:
        return config
    chosen = written(config)
    for field, name in ADAPTER.items():
        if name in adapter and f"peft.{field}" not in chosen:
            value = adapter[name]
            if field == "target_modules" and isinstance(value, list):
                value = sorted(value)  # peft writes a set, in any order
            config = config.decided(f"peft.{field}", value, "resolved: of the adapter that is continued")
    if not any(path.startswith(QUANTIZATION) for path in chosen) and (base := _base_format(config)):
        file, values = base
        logger.info("the base is loaded in the format that the adapter was trained on: %s (%s)", values, file)
        source = f"resolved: of the run whose adapter is continued, {file}"
        config = config.decided(QUANTIZATION, Quantization.model_validate(values), source)
    return config


def _base_format(config: Config) -> tuple[Path, dict[str, Any]] | None:
    """How the run that left this adapter quantised its base: on other weights the adapter is another model."""
    if not isinstance(config.model.name, (str, os.PathLike)):
        return None
    folder = Path(config.model.name)
    for place in (folder, folder.parent) if folder.name.startswith(CHECKPOINT) else (folder,):
        if (file := place / MANIFEST).is_file():
            values = _model_of(file).get("quantization")
            return (file, values) if values else None
    return None


def _model_of(manifest: Path) -> dict[str, Any]:
    try:
        model: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))["config"]["model"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{manifest} is not what a run leaves ({type(error).__name__}: {error}); it tells how the base of this "
            "adapter was loaded. Mend it, or take it out of the folder"
        ) from error
    return model

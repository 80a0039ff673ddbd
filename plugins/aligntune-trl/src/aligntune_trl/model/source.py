"""What ``model_name`` is: weights on a hub or disk, an adapter with its base, or an object in memory."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aligntune_core.toolkit import (
    ConfigError,
    check_base,
    located,
    model_skeleton,
)
from aligntune_trl.model.embedding import adapter_rows


@dataclass(frozen=True)
class Source:
    """Where the policy comes from.

    Attributes:
        base: hub id, folder, or a model in memory.
        adapter: folder or hub id of the adapter on ``base``; None where there is none, or it is in memory too.
        adapter_config: the adapter's configuration; None where there is none.
        revision: revision of ``base`` on the hub.
        quantised: whether ``base`` is stored quantised (a ``-bnb-4bit`` checkpoint, say).
        outputs: of a classifier, how many it has; None: a language model.
        model_config: transformers' configuration of ``base``.
        architectures: names of the classes that ``base`` is stored for, or of its class in memory.
        rows: of the embeddings that ``adapter`` holds whole; None where it holds none.
    """

    base: Any
    adapter: str | None = None
    adapter_config: Mapping[str, Any] | None = None
    revision: str | None = None
    quantised: bool = False
    outputs: int | None = None
    model_config: Any = None
    architectures: tuple[str, ...] = ()
    rows: int | None = None

    @property
    def in_memory(self) -> bool:
        """Whether ``base`` is a model object."""
        return not isinstance(self.base, str)


def hub_arguments(config: Any, revision: str | None = None) -> dict[str, Any]:
    """Arguments of every call that may reach the hub."""
    token = config.model.token
    arguments = {"revision": revision, "token": token.get_secret_value() if token is not None else None}
    return {name: value for name, value in arguments.items() if value is not None}


def continued(config: Any, source: Source) -> bool:
    """Whether training goes on with the adapter that ``model_name`` is."""
    return bool(config.peft.enabled) and source.adapter_config is not None and not config.peft.merge_adapter


def find(config: Any) -> Source:
    """Tell what ``model.name`` is. Reads configuration files, no weights.

    Raises:
        ConfigError: it is no model, or an adapter that cannot be trained on.
    """
    name = config.model.name
    if isinstance(name, (str, os.PathLike)):
        return _on_disk_or_hub(os.fspath(name), config)
    return _in_memory(name)


def skeleton(source: Source, scores: bool) -> Any:
    """The base without adapter: itself where it is in memory, else made of its configuration, without weights.

    Args:
        source: what ``model_name`` is.
        scores: whether it is loaded as a reward model.
    """
    if not source.in_memory:
        return model_skeleton(source.model_config, scores)
    return source.base.get_base_model() if hasattr(source.base, "get_base_model") else source.base


def _in_memory(model: Any) -> Source:
    from peft import PeftModel
    from transformers import PreTrainedModel

    if not isinstance(model, (PreTrainedModel, PeftModel)):
        raise ConfigError(
            f"model_name: got {type(model).__name__}; pass a hub id, a folder, a transformers PreTrainedModel "
            "or a PeftModel"
        )
    quantised = _is_quantised(model.config)
    if not isinstance(model, PeftModel):
        return Source(
            model,
            quantised=quantised,
            outputs=_outputs(model.config, type(model).__name__),
            model_config=model.config,
            architectures=(type(model).__name__,),
        )
    if model.active_adapters != ["default"]:
        raise ConfigError(
            f'model_name: the PeftModel has active adapters {model.active_adapters}; one named "default" can '
            "be trained on. Load the adapter that you want with PeftModel.from_pretrained(base, folder)"
        )
    return Source(
        model,
        adapter_config=_checked(model.peft_config["default"].to_dict(), "the PeftModel"),
        quantised=quantised,
        outputs=_outputs(model.config, type(model.get_base_model()).__name__),
        model_config=model.config,
        architectures=(type(model.get_base_model()).__name__,),
    )


def _on_disk_or_hub(name: str, config: Any) -> Source:
    from transformers import AutoConfig
    from transformers.utils.peft_utils import find_adapter_config_file

    name = located(name)
    file = find_adapter_config_file(name, **hub_arguments(config, config.model.revision))
    base, adapter, adapter_config, revision = name, None, None, config.model.revision
    if file:
        adapter, adapter_config = name, _checked(json.loads(Path(file).read_text(encoding="utf-8")), name)
        base, revision = _base_of(name, adapter_config), adapter_config.get("revision")
    model_config = AutoConfig.from_pretrained(
        base, trust_remote_code=config.model.trust_remote_code, **hub_arguments(config, revision)
    )
    architectures = tuple(model_config.architectures or ())
    outputs = _outputs(model_config, *architectures)
    if adapter_config is not None and adapter_config.get("task_type") == "SEQ_CLS":
        outputs = 1 if outputs is None else outputs
    return Source(
        base,
        adapter,
        adapter_config,
        revision,
        _is_quantised(model_config),
        outputs,
        model_config,
        architectures,
        adapter_rows(adapter, hub_arguments(config, config.model.revision)),
    )


def _checked(adapter_config: dict[str, Any], where: str) -> dict[str, Any]:
    kind = str(getattr(adapter_config.get("peft_type"), "value", adapter_config.get("peft_type")))
    if kind != "LORA":
        raise ConfigError(
            f"model_name: {where} is a {kind} adapter; only LoRA adapters can be trained on. Merge it into its "
            "base with peft and pass the merged model"
        )
    return adapter_config


def _base_of(adapter: str, adapter_config: Mapping[str, Any]) -> str:
    base = adapter_config.get("base_model_name_or_path")
    if not base:
        raise ConfigError(
            f"model_name: {adapter}/adapter_config.json names no base model. Write its hub id or folder there as "
            '"base_model_name_or_path"'
        )
    check_base(adapter, str(base))
    return located(str(base))


def _outputs(model_config: Any, *classes: str) -> int | None:
    return model_config.num_labels if any("SequenceClassification" in name for name in classes) else None


def _is_quantised(model_config: Any) -> bool:
    return getattr(model_config, "quantization_config", None) is not None

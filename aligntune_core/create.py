"""``create_sft_trainer``, ``create_rl_trainer`` and ``create_trainer``: the calls that build a trainer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aligntune_core.config import Config, resolve_config
from aligntune_core.pipeline.build import build
from aligntune_core.pipeline.choose import choose
from aligntune_core.pipeline.plan import as_config, plan

if TYPE_CHECKING:
    from aligntune_core.pipeline.trainer import Trainer


def create_sft_trainer(
    model_name: Any = None,
    dataset_name: Any = None,
    backend: str = "auto",
    *,
    config: str | Path | Mapping[str, Any] | None = None,
    **keywords: Any,
) -> Trainer:
    """Build a trainer for supervised fine-tuning.

    Args:
        model_name: hub id, local folder, adapter folder, or a model in memory.
        dataset_name: hub id, local file or folder, ``datasets.Dataset``, or a list of dicts.
        backend: name of an installed backend, or "auto".
        config: YAML path or dict; the other keywords override it.
        keywords: see docs/reference/configuration.md.

    Returns:
        Trainer: call ``train()`` next.

    Raises:
        ConfigError: a keyword is unknown, misplaced or out of range.
        DataError: rows cannot be used; each is named.
        BackendNotFound, BackendUnavailable, BackendBroken, BackendConflict, BackendInterference: no such backend here.
        ContractViolation: the backend would not run what was asked for.
    """
    names = {"model_name": model_name, "dataset_name": dataset_name}
    return _create("sft", backend, config, names, keywords)


def create_rl_trainer(
    model_name: Any = None,
    dataset_name: Any = None,
    algorithm: str | None = None,
    backend: str = "auto",
    *,
    config: str | Path | Mapping[str, Any] | None = None,
    **keywords: Any,
) -> Trainer:
    """Build a trainer for alignment: preferences (dpo, reward) or online reinforcement learning.

    Args:
        algorithm: "dpo", "ppo", "grpo", ...; see ``aligntune algorithms``.
        model_name, dataset_name, backend, config, keywords: as ``create_sft_trainer``.

    Returns, raises:
        As ``create_sft_trainer``.
    """
    names = {"model_name": model_name, "dataset_name": dataset_name, "algorithm": algorithm}
    return _create("rl", backend, config, names, keywords)


def create_trainer(config: Config | str | Path | Mapping[str, Any]) -> Trainer:
    """Build a trainer from a configuration object, a dict, or a YAML or ``aligntune.json`` path.

    Raises:
        As ``create_sft_trainer``.
    """
    config = as_config(config)
    if config.isolation == "process":
        from aligntune_core.launch.client import RemoteTrainer

        return RemoteTrainer(config, choose(config)[0].name)
    return build(plan(config))


def _create(kind: str, backend: str, config: Any, names: dict[str, Any], keywords: dict[str, Any]) -> Trainer:
    keywords |= {name: value for name, value in names.items() if value is not None}
    if str(getattr(backend, "value", backend)) != "auto" or config is None:
        keywords["backend"] = backend
    return create_trainer(resolve_config(kind, config=config, **keywords))

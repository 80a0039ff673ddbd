"""Everything that can be known and refused before weights load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aligntune_core.pipeline import contract, refusals
from aligntune_core.pipeline.choose import choose

if TYPE_CHECKING:
    from aligntune_core.backends.backend import Backend
    from aligntune_core.config import Config
    from aligntune_core.rewards import RewardSet
    from aligntune_core.types import Datasets, Prepared


@dataclass(frozen=True)
class Plan:
    """Everything that is known of a run before weights load.

    Attributes:
        config: resolved, step counts filled in.
        backend: the backend that will run it.
        reason: why this backend.
        prepared: device, tokenizer, library versions.
        datasets: canonical rows with their report.
        planned: config path -> value that the library would use.
    """

    config: Config
    backend: Backend
    reason: str
    prepared: Prepared
    datasets: Datasets
    planned: Mapping[str, Any] = field(default_factory=dict)


def load(config: Config | str | Path | Mapping[str, Any]) -> Config:
    from aligntune_core.config import Config, load_config
    from aligntune_core.run import logs

    logs.show_by_default()
    return config if isinstance(config, Config) else load_config(config)


def plan(config: Config | str | Path | Mapping[str, Any]) -> Plan:
    """Steps 1 to 10: everything that can be known and refused before weights load.

    Raises:
        As ``create_sft_trainer``.
    """
    from aligntune_core.config.resolve.continued import continued
    from aligntune_core.config.resolve.resolution import resolve, resolve_steps
    from aligntune_core.launch.payload import unpack
    from aligntune_core.model.source import adapter_config
    from aligntune_core.rewards.early import check_columns
    from aligntune_core.run import logs
    from aligntune_core.run.topology import world_size

    config = load(config)  # 1
    backend, reason = choose(config)  # 2, 3
    refusals.guard(backend)  # 5
    with logs.kept(None):
        prepared = backend.prepare(config)  # 6
        config = unpack(
            config
        )  # the backend has done its imports: the user's objects may import what they like
        resolved = resolve(continued(config, adapter_config(config.model.name)), prepared.device)  # 7
        rewards = _rewards(resolved, prepared)
        planned = _planned(backend, prepared, resolved)  # 8
        datasets = _datasets(backend, prepared, resolved)  # 9
        if rewards is not None:
            check_columns(rewards, datasets)
    rows = len(datasets.train) if hasattr(datasets.train, "__len__") else None
    resolved = resolve_steps(resolved, rows, world_size())  # 10
    return Plan(resolved, backend, reason, prepared, datasets, planned)


def _rewards(config: Config, prepared: Prepared) -> RewardSet | None:
    """The rewards of an online algorithm, made to be judged: functions are imported, reward models looked for."""
    from aligntune_core.algorithms import find
    from aligntune_core.rewards import build_rewards
    from aligntune_core.rewards.early import check_models

    if find(config.algorithm).scored_by != "rewards":
        return None
    limit = getattr(config.parameters, "max_completion_length", None)
    limits = {} if limit is None else {"max_completion_length": limit}
    rewards = build_rewards(config.rewards, prepared.tokenizer, defaults=limits)
    check_models(rewards)
    return rewards


def _planned(backend: Backend, prepared: Prepared, config: Config) -> Mapping[str, Any]:
    planned = backend.planned(config, prepared)
    contract.compare(backend.name, "the library would use", config, planned)
    return planned


def _datasets(backend: Backend, prepared: Prepared, config: Config) -> Datasets:
    from aligntune_core.algorithms import find
    from aligntune_core.data import prepare_datasets

    tokenize = partial(backend.tokenize, config=config, prepared=prepared)
    return prepare_datasets(config, find(config.algorithm), prepared.tokenizer, tokenize)

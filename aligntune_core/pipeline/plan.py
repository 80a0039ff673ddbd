"""Plan a run: everything that can be worked out, and refused, before weights load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aligntune_core.algorithms import find
from aligntune_core.config import Config, load_config
from aligntune_core.config.payload import unpack
from aligntune_core.config.resolve.defaults import upload_name
from aligntune_core.config.resolve.resolution import continued, resolve, resolve_steps
from aligntune_core.data import prepare_datasets
from aligntune_core.model.hub import check_upload
from aligntune_core.model.source import adapter_config
from aligntune_core.pipeline import contract, refusals
from aligntune_core.pipeline.choose import choose
from aligntune_core.rewards import build_rewards
from aligntune_core.rewards.check import check_columns, check_models
from aligntune_core.run import logs
from aligntune_core.run.topology import world_size

if TYPE_CHECKING:
    from aligntune_core.backends.backend import Backend
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


def _check_push(config: Config) -> None:
    """Refuse an upload that cannot come about."""
    if config.run.push_to_hub:
        token = config.model.token
        check_upload(upload_name(config), token.get_secret_value() if token is not None else None)


def as_config(config: Config | str | Path | Mapping[str, Any]) -> Config:
    """Make a configuration of any form that a caller gives, and show log lines from here on."""
    logs.show_by_default()
    return config if isinstance(config, Config) else load_config(config)


def plan(config: Config | str | Path | Mapping[str, Any]) -> Plan:
    """Plan a run: validate, choose, prepare, resolve, compare, read the rows, count the steps.

    Raises:
        As ``create_sft_trainer``.
    """
    config = as_config(config)
    backend, reason = choose(config)
    refusals.guard(backend)
    _check_push(config)
    with logs.kept(None):
        prepared = backend.prepare(config)
        # Unpacked only here, after the backend's imports: the user's objects may import any library.
        config = unpack(config)
        config = resolve(continued(config, adapter_config(config.model.name)), prepared.device)
        rewards = _rewards(config, prepared)
        planned = backend.planned(config, prepared)
        contract.refuse_differences(backend.name, "the library would use", config, planned)
        tokenize = partial(backend.tokenize, config=config, prepared=prepared)
        datasets = prepare_datasets(config, find(config.algorithm), prepared.tokenizer, tokenize)
        datasets = _with_remarks(datasets, backend.remarks(config, prepared))
        if rewards is not None:
            check_columns(rewards, datasets)
    rows = len(datasets.train) if hasattr(datasets.train, "__len__") else None
    config = resolve_steps(config, rows, world_size())
    return Plan(config, backend, reason, prepared, datasets, planned)


def _with_remarks(datasets: Datasets, remarks: list[str]) -> Datasets:
    """The rows with a report that says, beside what was seen in them, what the backend has to say of the run."""
    if not remarks or datasets.report is None:
        return datasets
    report = datasets.report
    report = replace(report, saw=(*report.saw, *remarks), warnings=(*report.warnings, *remarks))
    return replace(datasets, report=report)


def _rewards(config: Config, prepared: Prepared) -> RewardSet | None:
    """Make the rewards of a run and refuse those that cannot score; functions are imported, no model is loaded."""
    if find(config.algorithm).scored_by != "rewards":
        return None
    limit = getattr(config.parameters, "max_completion_length", None)
    limits = {} if limit is None else {"max_completion_length": limit}
    rewards = build_rewards(config.rewards, prepared.tokenizer, defaults=limits)
    check_models(rewards)
    return rewards

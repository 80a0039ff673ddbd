"""The one pipeline from a configuration to a Trainer, told in order (steps 1 to 16).

``plan`` is steps 1 to 10 and loads no weights; ``build`` is the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aligntune_core import checks
from aligntune_core.errors import BackendUnavailable, ContractViolation, HookError, listed

if TYPE_CHECKING:
    from aligntune_core.backend import Backend
    from aligntune_core.config import Config, ResolvedConfig
    from aligntune_core.rewards import RewardSet
    from aligntune_core.trainer import Trainer
    from aligntune_core.types import Datasets, Engine, LoadedModel, Prepared

logger = logging.getLogger("aligntune")

# Where several backends would do, the faster one is taken.
PREFERENCE = ("unsloth", "trl")


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

    config: ResolvedConfig
    backend: Backend
    reason: str
    prepared: Prepared
    datasets: Datasets
    planned: Mapping[str, Any] = field(default_factory=dict)


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
    return create_trainer(_merged("sft", config, model_name, dataset_name, backend, keywords))


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
        model_name: hub id, local folder, adapter folder, or a model in memory.
        dataset_name: hub id, local file or folder, ``datasets.Dataset``, or a list of dicts.
        algorithm: "dpo", "ppo", "grpo", ...; see ``aligntune algorithms``.
        backend: name of an installed backend, or "auto".
        config: YAML path or dict; the other keywords override it.
        keywords: see docs/reference/configuration.md.

    Returns:
        Trainer: call ``train()`` next.

    Raises:
        As ``create_sft_trainer``.
    """
    if algorithm is not None:
        keywords["algorithm"] = algorithm
    return create_trainer(_merged("rl", config, model_name, dataset_name, backend, keywords))


def _merged(
    kind: str,
    config: str | Path | Mapping[str, Any] | None,
    model_name: Any,
    dataset_name: Any,
    backend: str,
    keywords: dict[str, Any],
) -> Config:
    from aligntune_core.config import resolve_config

    if model_name is not None:
        keywords["model_name"] = model_name
    if dataset_name is not None:
        keywords["dataset_name"] = dataset_name
    if str(getattr(backend, "value", backend)) != "auto" or config is None:
        keywords["backend"] = backend
    return resolve_config(kind, config=config, **keywords)


def create_trainer(config: Config | str | Path | Mapping[str, Any]) -> Trainer:
    """Build a trainer from a configuration object, a dict, or a YAML or ``aligntune.json`` path.

    Raises:
        As ``create_sft_trainer``.
    """
    config = _loaded(config)
    if config.isolation == "process":  # 4
        from aligntune_core.isolation.client import RemoteTrainer

        return RemoteTrainer(config, choose(config)[0].name)
    return build(plan(config))


def _loaded(config: Config | str | Path | Mapping[str, Any]) -> Config:
    from aligntune_core.config import Config, load_config
    from aligntune_core.run import logs

    logs.show_by_default()
    return config if isinstance(config, Config) else load_config(config)


def plan(config: Config | str | Path | Mapping[str, Any]) -> Plan:
    """Steps 1 to 10: everything that can be known and refused before weights load.

    Raises:
        As ``create_sft_trainer``.
    """
    from aligntune_core.config import resolve, resolve_steps
    from aligntune_core.config.continued import continued
    from aligntune_core.isolation.payload import unpack
    from aligntune_core.model_folder import adapter_config
    from aligntune_core.rewards.early import check_columns
    from aligntune_core.run import logs
    from aligntune_core.run.distributed import world_size

    config = _loaded(config)  # 1
    backend, reason = choose(config)  # 2, 3
    checks.guard(backend)  # 5
    with logs.kept(None):
        prepared = backend.prepare(config)  # 6
        config = unpack(
            config
        )  # the backend has done its imports: the user's objects may import what they like
        resolved = resolve(continued(config, adapter_config(config.model.name)), prepared.device)  # 7
        rewards = _rewards(resolved, prepared)
        planned = _planned(backend, prepared, resolved)  # 8
        datasets = _datasets(resolved, prepared)  # 9
        if rewards is not None:
            check_columns(rewards, datasets)
    rows = len(datasets.train) if hasattr(datasets.train, "__len__") else None
    resolved = resolve_steps(resolved, rows, world_size())  # 10
    return Plan(resolved, backend, reason, prepared, datasets, planned)


def choose(config: Config) -> tuple[Backend, str]:
    """Steps 2 and 3: the backend that was named, or the best one for "auto", and why.

    Raises:
        BackendError: the named backend cannot run this; or, for "auto", none can, with the reason of each.
        ConfigError: an online algorithm without rewards, or with one that is not known.
    """
    from aligntune_core.registry import registry

    if config.backend != "auto":
        backend = registry().get(config.backend)
        checks.refuse_unsupported(backend, config, registry().ready)
        found = backend, "named in the call"
    else:
        found = _choose_auto(config)
    _refuse_rewards(config)
    return found


def _refuse_rewards(config: Config) -> None:
    """Refuse unknown or missing rewards here already: reading them imports no function and no model."""
    from aligntune_core.algorithms import find
    from aligntune_core.rewards import read_rewards

    if find(config.algorithm).online:
        read_rewards(config.rewards)


def _rewards(config: ResolvedConfig, prepared: Prepared) -> RewardSet | None:
    """The rewards of an online algorithm, made to be judged: functions are imported, reward models looked for."""
    from aligntune_core.algorithms import find
    from aligntune_core.rewards import build_rewards
    from aligntune_core.rewards.early import check_models

    if not find(config.algorithm).online:
        return None
    limit = getattr(config.parameters, "max_completion_length", None)
    limits = {} if limit is None else {"max_completion_length": limit}
    rewards = build_rewards(config.rewards, prepared.tokenizer, defaults=limits)
    check_models(rewards)
    return rewards


def _choose_auto(config: Config) -> tuple[Backend, str]:
    from aligntune_core.devices import available
    from aligntune_core.registry import registry

    ready = registry().ready()
    order = sorted(ready, key=lambda n: (PREFERENCE.index(n) if n in PREFERENCE else len(PREFERENCE), n))
    passed = [
        f"{row.name}: {row.state}" + (f", {row.reason}" if row.state == "broken" else "")
        for row in registry().rows()
        if row.name not in ready
    ]
    devices = list(available())
    for name in order:
        why = _passed_over(ready[name], config, devices)
        if why is None:
            reason = f"auto: {name} trains {config.algorithm} on {listed(devices)}"
            reason += f" (passed over: {'; '.join(passed)})" if passed else ""
            logger.info('backend "%s" chosen (%s)', name, reason)
            return registry().get(name), reason
        passed.append(f"{name}: {why}")
    raise BackendUnavailable(
        f"no backend can run this {config.algorithm} job:\n  - "
        + "\n  - ".join(passed or ["none is installed"])
        + "\n"
        "See `aligntune backends -v`."
    )


def _passed_over(backend: Backend, config: Config, devices: list[str]) -> str | None:
    """Why "auto" does not take this backend; a plugin that fails when it is asked does not end the search."""
    from aligntune_core.loader import one_line

    try:
        return checks.why_not(backend, config, devices)
    except Exception as error:  # a plugin may raise anything; shown with the others that were passed over
        return f"asking it raised {one_line(error)}"


def _planned(backend: Backend, prepared: Prepared, config: ResolvedConfig) -> Mapping[str, Any]:
    if prepared.planned is None:
        return {}
    planned = prepared.planned(config)
    checks.compare(backend.name, "the library would use", config, planned)
    return planned


def _datasets(config: ResolvedConfig, prepared: Prepared) -> Datasets:
    from aligntune_core.algorithms import find
    from aligntune_core.data import prepare_datasets

    return prepare_datasets(config, find(config.algorithm), prepared.tokenizer)


def build(plan: Plan) -> Trainer:
    """Steps 11 to 16: run folder, weights, adapter, trainer, and the comparison with what was asked for.

    Raises:
        RunError: the run folder cannot be used.
        ContractViolation: the built trainer differs from the configuration, or rows were lost.
    """
    from aligntune_core.run import logs
    from aligntune_core.run.folder import RunFolder, model_folder
    from aligntune_core.run.seeding import seed_everything
    from aligntune_core.run.session import RunSession
    from aligntune_core.trainer import Trainer

    config, backend = plan.config, plan.backend
    folder = RunFolder(Path(config.run.output_dir))  # 11
    folder.refuse_own_model(model_folder(config.model.name))
    session = RunSession(folder)
    with logs.kept(session.log):
        loaded = backend.load_model(config, plan.prepared)  # 12
        seed_everything(config.run.seed)
        loaded = backend.apply_peft(loaded, config)  # 13
        seed_everything(config.run.seed)
        engine = backend.build_trainer(loaded, config, plan.datasets, session.context())  # 14
        effective = verify(plan, engine)  # 15
    return Trainer(
        plan=plan, loaded=_released(loaded), engine=engine, session=session, effective=effective
    )  # 16


def _released(loaded: LoadedModel) -> LoadedModel:
    # The engine holds the model; a second handle here would keep a replaced one alive.
    return replace(loaded, model=None, reference=None)


def verify(plan: Plan, engine: Engine) -> Mapping[str, Any]:
    """Step 15: compare ``engine.effective()`` with the configuration.

    Raises:
        ContractViolation: a field differs, was lost, or rows disappeared.
    """
    backend, config = plan.backend, plan.config
    effective = engine.effective()
    if not isinstance(effective, Mapping):
        raise HookError(f"{backend}: Engine.effective() returned {type(effective).__name__}, not a mapping")
    checks.compare(backend.name, "the library uses", config, effective)
    checks.require_echo(backend, config, set(plan.planned) | set(effective))
    accepted = effective.get("data.rows")
    if (
        accepted is not None
        and hasattr(plan.datasets.train, "__len__")
        and accepted != len(plan.datasets.train)
    ):
        raise ContractViolation(
            f'backend "{backend.name}" accepted {accepted} of {len(plan.datasets.train)} rows and did not say why. '
            "Shorten long rows or raise max_seq_length; if rows are fine, report it to the plugin's authors."
        )
    return effective

"""From a plan to a Trainer: run folder, weights, adapter, trainer, and the comparison with what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aligntune_core.config.resolve.defaults import output_dir
from aligntune_core.errors import ContractViolation, HookError
from aligntune_core.pipeline import contract
from aligntune_core.pipeline.plan import Plan
from aligntune_core.pipeline.trainer import Trainer
from aligntune_core.run import logs
from aligntune_core.run.folder import RunFolder, model_folder
from aligntune_core.run.seeding import seed_everything
from aligntune_core.run.session import RunSession

if TYPE_CHECKING:
    from aligntune_core.types import Engine, LoadedModel


def build(plan: Plan) -> Trainer:
    """Steps 11 to 16: run folder, weights, adapter, trainer, and the comparison with what was asked for.

    Raises:
        RunError: the run folder cannot be used.
        ContractViolation: the built trainer differs from the configuration, or rows were lost.
    """
    from aligntune_core.pipeline.trainer import Trainer

    config, backend = plan.config, plan.backend
    folder = RunFolder(Path(output_dir(config)))  # 11
    folder.refuse_own_model(model_folder(config.model.name))
    session = RunSession(folder)
    with logs.kept(session.log):
        loaded = backend.load_model(config, plan.prepared)  # 12
        seed_everything(config.run.seed)
        loaded = backend.apply_peft(loaded, config, plan.prepared)  # 13
        seed_everything(config.run.seed)
        engine = backend.build_trainer(
            loaded, config, plan.datasets, plan.prepared, session.context(plan.prepared.topology)
        )  # 14
        effective = verify(plan, engine)  # 15
    return Trainer(
        plan=plan, loaded=_released(loaded), engine=engine, session=session, effective=effective
    )  # 16


def _released(loaded: LoadedModel) -> LoadedModel:
    # The engine holds the model; a second handle here would keep a replaced one alive.
    return replace(loaded, model=None, roles={})


def verify(plan: Plan, engine: Engine) -> Mapping[str, Any]:
    """Step 15: compare ``engine.effective()`` with the configuration.

    Raises:
        ContractViolation: a field differs, was lost, or rows disappeared.
    """
    backend, config = plan.backend, plan.config
    effective = engine.effective()
    if not isinstance(effective, Mapping):
        raise HookError(f"{backend}: Engine.effective() returned {type(effective).__name__}, not a mapping")
    contract.compare(backend.name, "the library uses", config, effective)
    contract.require_echo(backend, config, set(plan.planned) | set(effective))
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

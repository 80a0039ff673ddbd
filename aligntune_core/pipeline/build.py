"""Make a Trainer of a plan: run folder, weights, adapter, trainer, and the comparison with the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aligntune_core.config.resolve.defaults import output_dir
from aligntune_core.errors import ContractViolation, HookError
from aligntune_core.pipeline import contract
from aligntune_core.pipeline.announce import announce
from aligntune_core.pipeline.plan import Plan
from aligntune_core.pipeline.trainer import Trainer
from aligntune_core.run import logs
from aligntune_core.run.folder import RunFolder, model_folder
from aligntune_core.run.seeding import seed_everything
from aligntune_core.run.session import RunSession

if TYPE_CHECKING:
    from aligntune_core.types import Engine, LoadedModel


def build(plan: Plan) -> Trainer:
    """Build a trainer: take the folder, load weights, attach the adapter, build, compare.

    The seed is set before the adapter and again before the trainer, so that neither depends on what the other drew.

    Raises:
        RunError: the run folder cannot be used.
        ContractViolation: the built trainer differs from the configuration, or rows were lost.
    """
    config, backend, prepared = plan.config, plan.backend, plan.prepared
    folder = RunFolder(Path(output_dir(config)))
    folder.refuse_own_model(model_folder(config.model.name))
    session = RunSession(folder)
    with logs.kept(session.log):
        announce(plan)
        loaded = backend.load_model(config, prepared)
        seed_everything(config.run.seed)
        loaded = backend.apply_peft(loaded, config, prepared)
        seed_everything(config.run.seed)
        run = session.context(prepared.topology)
        engine = backend.build_trainer(loaded, config, plan.datasets, prepared, run)
        effective = verify(plan, engine)
    return Trainer(plan=plan, loaded=_released(loaded), engine=engine, session=session, effective=effective)


def _released(loaded: LoadedModel) -> LoadedModel:
    # The engine holds the model; a second reference here would keep a model alive that the engine has replaced.
    return replace(loaded, model=None, roles={})


def verify(plan: Plan, engine: Engine) -> Mapping[str, Any]:
    """Compare ``engine.effective()`` with the configuration.

    Raises:
        ContractViolation: a field differs, was lost, or rows disappeared.
    """
    backend, config = plan.backend, plan.config
    effective = engine.effective()
    if not isinstance(effective, Mapping):
        raise HookError(f"{backend}: Engine.effective() returned {type(effective).__name__}, not a mapping")
    contract.refuse_differences(backend.name, "the library uses", config, effective)
    contract.require_echo(backend, config, set(plan.planned) | set(effective))
    accepted, rows = effective.get("data.rows"), plan.datasets.train
    if accepted is not None and hasattr(rows, "__len__") and accepted != len(rows):
        raise ContractViolation(
            f'backend "{backend.name}" accepted {accepted} of {len(rows)} rows and did not say why. '
            "Shorten long rows or raise max_seq_length; if rows are fine, report it to the plugin's authors."
        )
    return effective

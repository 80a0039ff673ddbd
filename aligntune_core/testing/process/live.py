"""What the worker process of the kit serves: it drives backends and says what became of it.

It imports nothing heavy before a backend's ``prepare`` does.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aligntune_core.backends.backend import Backend
from aligntune_core.backends.registry import registry
from aligntune_core.config import covers, load_config, paths
from aligntune_core.config.resolve.resolution import resolve
from aligntune_core.config.table import same
from aligntune_core.create import create_trainer
from aligntune_core.errors import AligntuneError, ContractViolation, HookError
from aligntune_core.pipeline import refusals
from aligntune_core.pipeline.plan import plan
from aligntune_core.testing.fixtures import changes, rows
from aligntune_core.testing.watch.contract import longest
from aligntune_core.types import Prepared

MODEL = Path(__file__).parent.parent / "model"
"""Files of a Llama of 104,000 parameters with its tokenizer."""


class Refused(Exception):
    """One of aligntune's own errors refused a call.

    Attributes:
        classes: names of that error's classes, the most special first.
    """

    def __init__(self, message: str, classes: list[str]) -> None:
        super().__init__(message)
        self.classes = classes


class Broken(Exception):
    """Anything else was raised: its class and message, and its traceback."""


class Server:
    """Answers requests; keeps the runs that it has trained, by name, and puts run folders into ``folder``."""

    def __init__(self, folder: str) -> None:
        logging.getLogger("aligntune").setLevel(logging.ERROR)
        self._folder = Path(folder)
        self._runs: dict[tuple[str, str], Any] = {}
        self._number = 0
        self._more: Mapping[str, Any] = {}
        self._prepared: dict[str, Prepared] = {}

    def answer(self, do: str, arguments: Mapping[str, Any], more: Mapping[str, Any]) -> Any:
        """Call one of the methods below, with ``more`` in every call that it makes.

        Raises:
            Refused: the backend, or core, refused with an error of ours.
            Broken: any other exception.
        """
        self._more = more
        try:
            return getattr(self, do)(**arguments)
        except (Exception, SystemExit) as error:
            classes = [kind.__name__ for kind in type(error).__mro__]
            if isinstance(error, AligntuneError) and not isinstance(error, (ContractViolation, HookError)):
                raise Refused(str(error), classes) from error
            trace = "".join(traceback.format_exception(error))
            raise Broken(f"{classes[0]}: {error}\nin the worker process:\n{trace}") from error

    def _base(self, backend: str, algorithm: str) -> dict[str, Any]:
        """The kit's own call, with what the author's class sets for every call."""
        return changes.base(algorithm, str(MODEL), registry().get(backend).info.honours, **self._more)

    # --- argument tier -----------------------------------------------------------------------------------------------

    def plan(self, backend: str, algorithm: str) -> dict[str, Any]:
        """Plan the kit's own call, all that core does before weights load, and have its rows tokenized.

        "lengths" and "problems" are the hook's; "tokens" the chat template's, None without a transformers tokenizer.
        """
        settings = {**self._base(backend, algorithm), "backend": backend}
        settings["run.output_dir"] = str(self._folder / "planned")
        call, data = plan(load_config(settings)), rows.rows(algorithm)
        report, tokenizer = call.datasets.report, call.prepared.tokenizer
        answers = call.backend.tokenize(data, report.loss if report else "all", call.config, call.prepared)
        return {
            "lengths": [row.length for row in answers],
            "problems": [row.problem for row in answers if row.problem],
            "tokens": [longest(row, tokenizer) for row in data] if tokenizer else None,
        }

    def planned(self, backend: str, algorithm: str, path: str, quick: bool = False) -> dict[str, Any]:
        """Change one field and ask the backend what its library would do; nothing is loaded but the tokenizer.

        ``quick`` takes what was prepared for another call, which may miss refusals.
        """
        chosen = registry().get(backend)
        settings = self._changed(chosen, algorithm, path)
        if settings is None:
            return {"outcome": "no value"}
        config = load_config({**settings, "backend": backend})
        refusals.refuse_unsupported(chosen, config, dict)
        refusals.guard(chosen)
        prepared = self._prepared.get(backend) if quick else None
        prepared = self._prepared[backend] = prepared or chosen.prepare(config)
        resolved = resolve(config, prepared.device)
        return _compared(path, paths(resolved), chosen.planned(resolved, prepared))

    def _changed(self, backend: Backend, algorithm: str, path: str) -> dict[str, Any] | None:
        """The kit's own call with one field changed; None where there is no second value."""
        settings = self._base(backend.name, algorithm)
        if path not in (changes.CALLBACKS, changes.REWARD_MODEL):
            return changes.change(path, settings, backend.info.honours)
        refusals.guard(backend)
        backend.prepare(load_config(settings))  # which may have to import its library before transformers
        if path == changes.REWARD_MODEL:
            return {**settings, path: _reward_model(self._folder / "reward-model")}
        from transformers import TrainerCallback

        return {**settings, path: [TrainerCallback()]}

    # --- live tier ---------------------------------------------------------------------------------------------------

    def built(self, backend: str, algorithm: str, fields: list[str]) -> dict[str, Any]:
        """Build a trainer with all these fields changed; for each, what ``planned`` and ``effective`` say of it."""
        chosen = registry().get(backend)
        settings: dict[str, Any] = {}
        for path in fields:
            settings |= self._changed(chosen, algorithm, path) or {}
        trainer = self._build(backend, settings)
        in_force = {**trainer.planned, **trainer.effective}
        return {path: _compared(path, paths(trainer.config), in_force) for path in fields}

    def create(self, backend: str, algorithm: str, settings: Mapping[str, Any]) -> None:
        """Build a trainer with these settings over the kit's own."""
        self._build(backend, {**self._base(backend, algorithm), **settings})

    def train(
        self,
        name: str,
        backend: str,
        algorithm: str,
        settings: Mapping[str, Any],
        stop_after: int = 0,
        resume: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Train with ``settings`` over the kit's own and watch; the run is kept under ``name`` for ``look``.

        ``resume`` is the name of a kept run, and its checkpoint to go on from.
        """
        honoured = registry().get(backend).info.honours
        refused = {path for path in changes.backend_paths() if not covers(honoured, path)}
        possible = {path: value for path, value in settings.items() if path not in refused}
        trainer = self._build(backend, {**self._base(backend, algorithm), **possible})
        from aligntune_core.testing.run import Run  # only now: the backend may have to precede torch

        run = Run(trainer, MODEL)
        start = self._runs[backend, resume[0]].trainer.output_dir / resume[1] if resume else None
        run.train(stop_after, start)
        self._runs[backend, name] = run
        return run.record()

    def look(self, name: str, backend: str, at: str) -> Any:
        """Look at a kept run: "saved", "merged", "evaluation", "generation", "sampling"; or "close" it."""
        return getattr(self._runs[backend, name], at)()

    def _build(self, backend: str, settings: Mapping[str, Any]) -> Any:
        self._number += 1
        settings = {
            "run.output_dir": str(self._folder / f"run-{self._number}"),
            **{path: value for path, value in settings.items() if value is not None},
            "backend": backend,
        }
        return create_trainer(load_config(settings))


def _compared(path: str, config: Mapping[str, Any], in_force: Mapping[str, Any]) -> dict[str, Any]:
    """What one field is set to, and what is in force."""
    above, _, name = path.rpartition(".")
    if path not in in_force and above not in in_force:
        return {"outcome": "absent", "set": repr(config[path])}
    value = in_force[path] if path in in_force else getattr(in_force[above], name, None)
    outcome = "equal" if same(path, config[path], value) else "different"
    return {"outcome": outcome, "set": repr(config[path]), "value": repr(value)}


def _reward_model(folder: Path) -> str:
    """A folder with a reward model of the tiny model's shape and random weights."""
    import torch
    from transformers import AutoConfig, AutoTokenizer, LlamaForSequenceClassification

    if not folder.exists():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = LlamaForSequenceClassification(AutoConfig.from_pretrained(MODEL, num_labels=1))
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(MODEL).save_pretrained(folder)
    return str(folder)

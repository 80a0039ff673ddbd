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
from aligntune_core.pipeline import refusals
from aligntune_core.pipeline.plan import Plan, plan
from aligntune_core.testing.fixtures import changes, rows
from aligntune_core.testing.watch.contract import longest
from aligntune_core.types import Prepared

MODEL = Path(__file__).parent.parent / "model"
"""Files of a Llama of 104,000 parameters with its tokenizer."""


class Server:
    """Answers requests; keeps the runs that it has trained, by name.

    Args:
        folder: where run folders go.
    """

    def __init__(self, folder: str) -> None:
        logging.getLogger("aligntune").setLevel(logging.ERROR)
        self._folder = Path(folder)
        self._runs: dict[str, Any] = {}
        self._number = 0
        self._more: dict[str, Any] = {}
        self._prepared: dict[str, Prepared] = {}

    def answer(self, do: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Call one of the methods below.

        Returns:
            dict: the answer as "value"; or as "error" the classes, message and traceback of what was raised.
        """
        arguments = dict(arguments)
        self._more = dict(arguments.pop("more", {}))
        try:
            return {"value": getattr(self, do)(**arguments)}
        except (Exception, SystemExit) as error:
            return {"error": _described(error)}

    def _base(self, backend: str, algorithm: str) -> dict[str, Any]:
        """The kit's own call, with what the author's class sets for every call."""
        honoured = registry().get(backend).info.honours
        return changes.base(algorithm, str(MODEL), honoured, **self._more)

    # --- argument tier -----------------------------------------------------------------------------------------------

    def plan(self, backend: str, algorithm: str) -> dict[str, Any]:
        """Plan the kit's own call: all that core does before weights load; and have its rows tokenized."""
        settings = {**self._base(backend, algorithm), "backend": backend}
        settings["run.output_dir"] = str(self._folder / "planned")
        call = plan(load_config(settings))
        return {"planned": sorted(call.planned), "tokenized": _tokenized(call, rows.rows(algorithm))}

    def planned(self, backend: str, algorithm: str, path: str, quick: bool = False) -> dict[str, Any]:
        """Change one field and ask the backend what its library would do; nothing is loaded but the tokenizer.

        Args:
            quick: take what was prepared for another call, which may miss refusals.
        """
        chosen = registry().get(backend)
        change = self._change(chosen, algorithm, path)
        if change is None:
            return {"outcome": "no value"}
        config = load_config({**change.settings, "backend": backend})
        refusals.refuse_unsupported(chosen, config, dict)
        refusals.guard(chosen)
        prepared = self._prepared.get(backend) if quick else None
        prepared = self._prepared[backend] = prepared or chosen.prepare(config)
        resolved = resolve(config, prepared.device)
        return _compared(path, paths(resolved), chosen.planned(resolved, prepared))

    def _change(self, backend: Backend, algorithm: str, path: str) -> changes.Change | None:
        settings = self._base(backend.name, algorithm)
        if path not in (changes.CALLBACKS, changes.REWARD_MODEL):
            return changes.change(path, settings, backend.info.honours)
        refusals.guard(backend)
        backend.prepare(load_config(settings))  # which may have to import its library before transformers
        from aligntune_core.testing.fixtures import objects

        folder = self._folder / "reward-model"
        value = [objects.callback()] if path == changes.CALLBACKS else objects.reward_model(MODEL, folder)
        return changes.Change(path, value, {**settings, path: value})

    # --- live tier ---------------------------------------------------------------------------------------------------

    def built(self, backend: str, algorithm: str, fields: list[str]) -> dict[str, Any]:
        """Build a trainer with all these fields changed; for each, what ``planned`` and ``effective`` say of it."""
        chosen = registry().get(backend)
        settings: dict[str, Any] = {}
        for path in fields:
            change = self._change(chosen, algorithm, path)
            if change is None:
                continue
            settings |= change.settings
        trainer = self._build(backend, settings)
        in_force = {**trainer.planned, **trainer.effective}
        return {path: _compared(path, paths(trainer.config), in_force) for path in fields}

    def create(self, backend: str, algorithm: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Build a trainer with these settings over the kit's own."""
        trainer = self._build(backend, {**self._base(backend, algorithm), **settings})
        return {"effective": sorted(trainer.effective)}

    def train(
        self,
        name: str,
        backend: str,
        algorithm: str,
        settings: Mapping[str, Any],
        stop_after: int = 0,
        resume: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Train and watch; the run is kept under ``name`` for ``look``.

        Args:
            settings: over the kit's own; what the backend does not honour is left out.
            stop_after: ask the run to stop after that many steps.
            resume: name of a kept run, and its checkpoint to go on from.
        """
        honoured = registry().get(backend).info.honours
        possible = {
            path: value
            for path, value in settings.items()
            if path not in changes.backend_paths() or covers(honoured, path)
        }
        trainer = self._build(backend, {**self._base(backend, algorithm), **possible})
        from aligntune_core.testing.run import Run  # only now: the backend may have to precede torch

        run = Run(trainer, MODEL)
        start = self._runs[resume[0]].trainer.output_dir / resume[1] if resume else None
        run.train(stop_after, start)
        self._runs[name] = run
        return run.record()

    def look(self, name: str, at: str, **more: Any) -> Any:
        """Look at a kept run: "saved", "merged", "evaluation", "generation", "sampling"; or "close" it."""
        return getattr(self._runs[name], at)(**more)

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
    above = path.rpartition(".")[0]
    if path not in in_force and above not in in_force:
        return {"outcome": "absent", "set": repr(config[path])}
    value = in_force[path] if path in in_force else getattr(in_force[above], path.rpartition(".")[2], None)
    outcome = "equal" if same(path, config[path], value) else "different"
    return {"outcome": outcome, "set": repr(config[path]), "value": repr(value)}


def _tokenized(call: Plan, data: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What the hook ``tokenize`` says of rows, beside the tokens of each by the chat template.

    None where nobody measures: the backend has no such hook, and no tokenizer of transformers for core's. "tokens" is
    None where it has no such tokenizer.
    """
    report, tokenizer = call.datasets.report, call.prepared.tokenizer
    if tokenizer is None and not call.backend.answers("tokenize"):
        return None
    answers = call.backend.tokenize(data, report.loss if report else "all", call.config, call.prepared)
    seen = [{"length": row.length, "truncated": row.truncated, "problem": row.problem} for row in answers]
    return {"answers": seen, "tokens": [longest(row, tokenizer) for row in data] if tokenizer else None}


def _described(error: BaseException) -> dict[str, Any]:
    return {
        "classes": [kind.__name__ for kind in type(error).__mro__],
        "message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }

"""The parent's side: hands a worker process the configuration, and stands for its Trainer."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

from aligntune_core.config.payload import pack
from aligntune_core.config.resolve.defaults import output_dir
from aligntune_core.errors import RunError
from aligntune_core.launch.answers import value_or_text
from aligntune_core.launch.child import Child
from aligntune_core.pipeline.trainer import Trainer
from aligntune_core.run.listeners.progress import Progress

if TYPE_CHECKING:
    from aligntune_core.config import Config
    from aligntune_core.types import TrainResult

P = ParamSpec("P")
T = TypeVar("T")


class TrainerProcess(Child):
    """The process of a ``RemoteTrainer``; what it prints appears here."""

    def __init__(self) -> None:
        level = logging.getLogger("aligntune").getEffectiveLevel()
        super().__init__("aligntune_core.launch.trainer_service:TrainerService", (level,), echo=True)

    def ended(self, fate: str, output: str | None) -> RunError:
        remedy = "Create the trainer again"
        if output is None:
            return RunError(f"the worker process {fate}. {remedy}.")
        return RunError(
            f"the worker process {fate}. {remedy} and call train(resume=True) to go on from the last complete "
            f"checkpoint. The worker's last lines:\n{output}"
        )


def _elsewhere(name: str) -> Any:
    """A property that cannot be handed over."""

    def refuse(trainer: RemoteTrainer) -> NoReturn:
        raise RunError(
            f'trainer.{name} lives in the worker process (isolation="process") and cannot be handed over. '
            "Use evaluate(), generate() or save_model(), or create the trainer without isolation."
        )

    return property(refuse)


def _in_worker(method: Callable[P, T]) -> Callable[P, T]:
    """A method of ``Trainer`` that runs in the worker, with its own signature and docstring."""

    @wraps(method)
    def call(*args: P.args, **keywords: P.kwargs) -> T:
        trainer: Any = args[0]
        answer: T = trainer._worker.call(method.__name__, args[1:], keywords)
        return answer

    return call


class RemoteTrainer(Trainer):
    """A Trainer whose backend lives in a worker process. It has the same methods; models stay in the worker."""

    def __init__(self, config: Config, backend: str) -> None:
        packed = pack(config.model_copy(update={"backend": backend, "isolation": "none"}))
        self._worker = TrainerProcess()
        try:
            described = self._worker.call("create", (packed,))
        except BaseException:
            self._worker.end("a trainer that could not be created")
            raise
        self.config: Config = described["config"]
        self.effective = {path: value_or_text(sent) for path, sent in described["effective"].items()}
        self.planned = {path: value_or_text(sent) for path, sent in described["planned"].items()}
        self.backend = backend
        self.output_dir = Path(output_dir(self.config))
        self.on_event = None

    model = _elsewhere("model")
    tokenizer = _elsewhere("tokenizer")
    native = _elsewhere("native")

    def train(self, resume: bool | str | Path | None = None) -> TrainResult:
        title = f"{self.config.algorithm} on {self.backend} (worker {self._worker.process.pid})"
        stop = self._worker.passing_on()
        try:
            with stop, Progress(title, self.config.optim.max_steps) as progress:
                result: TrainResult = self._worker.call(
                    "train", (resume,), on_event=self.on_event or progress
                )
        except RunError:
            if stop.reason == "SIGTERM" and self._worker.process.returncode == -signal.SIGTERM:
                # The signal came outside the run itself, where it would have ended this process at once, too.
                signal.raise_signal(signal.SIGTERM)
            raise
        return result

    evaluate = _in_worker(Trainer.evaluate)
    save_model = _in_worker(Trainer.save_model)
    generate = _in_worker(Trainer.generate)
    push_to_hub = _in_worker(Trainer.push_to_hub)

    def close(self) -> None:
        """End the worker process; nothing can be asked of this trainer afterwards."""
        self._worker.end("close()")

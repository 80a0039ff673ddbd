"""The parent's side: hands a worker process the configuration, and stands for its Trainer."""

from __future__ import annotations

import logging
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

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
        self._resolved: Config = described["config"]
        self.effective = {path: value_or_text(sent) for path, sent in described["effective"].items()}
        self._planned_arguments = {path: value_or_text(sent) for path, sent in described["planned"].items()}
        self._backend_name = backend
        self.on_event = None

    @property
    def config(self) -> Config:
        return self._resolved

    @property
    def planned(self) -> Mapping[str, Any]:
        arguments: Mapping[str, Any] = self._planned_arguments
        return arguments

    @property
    def backend(self) -> str:
        return self._backend_name

    @property
    def output_dir(self) -> Path:
        return Path(output_dir(self._resolved))

    @property
    def model(self) -> Any:
        return self._elsewhere("model")

    @property
    def tokenizer(self) -> Any:
        return self._elsewhere("tokenizer")

    @property
    def native(self) -> Any:
        return self._elsewhere("native")

    def _elsewhere(self, name: str) -> NoReturn:
        raise RunError(
            f'trainer.{name} lives in the worker process (isolation="process") and cannot be handed over. '
            "Use evaluate(), generate() or save_model(), or create the trainer without isolation."
        )

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

    def evaluate(self, dataset: Any = None) -> dict[str, float]:
        figures: dict[str, float] = self._worker.call("evaluate", (dataset,))
        return figures

    def save_model(self, path: str | Path | None = None, merged: bool = False) -> str:
        return str(self._worker.call("save_model", (path, merged)))

    def generate(
        self,
        prompts: str | Sequence[Any],
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        top_p: float = 1.0,
        n: int = 1,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
    ) -> list[str]:
        arguments = (prompts, max_new_tokens, temperature, top_p, n, stop, seed)
        completions: list[str] = self._worker.call("generate", arguments)
        return completions

    def push_to_hub(
        self, repo: str, private: bool = True, token: str | None = None, commit_message: str | None = None
    ) -> str:
        return str(self._worker.call("push_to_hub", (repo, private, token, commit_message)))

    def close(self) -> None:
        """End the worker process; nothing can be asked of this trainer afterwards."""
        self._worker.end("close()")

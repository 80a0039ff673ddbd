"""Trainer: the one class that users hold, whichever backend runs underneath."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aligntune_core.config import in_memory, plain
from aligntune_core.config.resolve.defaults import upload_name
from aligntune_core.errors import HookError, RunError
from aligntune_core.run import checkpoints, events, logs
from aligntune_core.run.folder import MERGED, local_base, model_folder, publishable
from aligntune_core.run.listeners import installed
from aligntune_core.run.listeners.progress import Progress
from aligntune_core.run.manifest import Manifest, now
from aligntune_core.run.resume import check_resume, step_of
from aligntune_core.run.session import RunSession, peak_memory_bytes
from aligntune_core.run.topology import is_main
from aligntune_core.types import Sampling, TrainResult
from aligntune_core.version import __version__

if TYPE_CHECKING:
    from aligntune_core.pipeline.plan import Plan
    from aligntune_core.types import Engine, Form, LoadedModel

logger = logging.getLogger("aligntune")

PLAIN = (str, int, float, bool, list, type(None))


class Trainer:
    """A built run. Made by ``create_sft_trainer``, ``create_rl_trainer`` or ``create_trainer``."""

    def __init__(
        self,
        plan: Plan,
        loaded: LoadedModel,
        engine: Engine,
        session: RunSession,
        effective: Mapping[str, Any],
    ) -> None:
        self._plan = plan
        self._loaded = loaded
        self._engine = engine
        self._session = session
        self._started = now()
        self._trained = False
        self._goes_on = False
        self.config = plan.config
        """The resolved configuration."""
        self.backend = plan.backend.name
        """Name of the backend."""
        self.output_dir = session.folder.path
        """The run folder."""
        self.planned = plan.planned
        """Config path -> value that the library announced before weights were loaded."""
        self.effective = dict(effective)
        """Config path -> value in force, read from the built trainer."""
        self.on_event: Callable[[Mapping[str, Any]], None] | None = None
        """Takes each event instead of the progress bar."""

    @property
    def model(self) -> Any:
        """The policy being trained."""
        return self._engine.model

    @property
    def tokenizer(self) -> Any:
        """The policy's tokenizer."""
        return self._loaded.tokenizer

    @property
    def native(self) -> Any:
        """The backend library's own trainer."""
        return self._engine.native

    def train(self, resume: bool | str | Path | None = None) -> TrainResult:
        """Train, and leave model or adapter, tokenizer, ``aligntune.json`` and ``metrics.jsonl`` in the run folder.

        Ctrl-C and SIGTERM save a checkpoint and return with ``stopped`` set. Results of an earlier run in the same
        folder are moved to ``earlier-run/N`` first, unless this call resumes it.

        Args:
            resume: True for the last complete checkpoint of the run folder, or a checkpoint folder.

        Returns:
            TrainResult: also a mapping with train_loss, final_loss, total_steps, training_time (seconds), model_path.

        Raises:
            CheckpointError: nothing complete to resume from, or the checkpoint belongs to another run.
            RunLocked: another process trains in this folder.
            NonFiniteLoss: the loss became NaN or infinite.
        """
        folder = self._session.folder
        start, damaged = checkpoints.find(folder.path, resume)
        remarks = [f"passed over a damaged checkpoint: {remark}" for remark in damaged]
        if start is not None:
            remarks += check_resume(start, self.config, self._plan.datasets.fingerprint)
        with folder.locked():
            if start is None:
                if self._trained:
                    remarks.append(
                        "this trainer has trained before: the run goes on from its weights. "
                        "Create a trainer again to start anew."
                    )
                folder.set_aside(model_folder(self.config.model.name))
            elif is_main():
                self._session.sink.last_loss = events.rewind(folder.metrics, step_of(start))
            for remark in remarks:
                logger.warning(remark)
            return self._run(start)

    def _run(self, start: Path | None) -> TrainResult:
        session, config = self._session, self.config
        title = f"{config.algorithm} on {self.backend}"
        self._trained, self._goes_on = True, self._trained and start is None
        listeners = installed(config, self.output_dir) if is_main() else []
        self._write_manifest("running")
        began = time.perf_counter()
        with self._recorded(), session.stop, Progress(title, config.optim.max_steps) as progress:
            session.sink.begin(self.on_event or progress, *listeners)
            result = self._checked(self._engine.train(resume_from=start))
            session.sink.end()
            where = self._saved(result)
        seconds = time.perf_counter() - began
        result = replace(
            result, training_time=seconds, model_path=str(where), final_loss=session.sink.last_loss
        )
        self._write_manifest("stopped" if result.stopped else "finished", result)
        if result.stopped:
            goes_on = f"train(resume=True) goes on from {where}"
            if config.run.save_only_model:
                goes_on = f"the weights are in {where}, without the optimiser: it cannot be resumed from"
            logger.warning("stopped by %s at step %s; %s", result.stopped, result.steps, goes_on)
        if config.run.push_to_hub:
            self._push(result)
        return result

    def _push(self, result: TrainResult) -> None:
        """Upload what the run left, when all of it is on disk already."""
        run, token = self.config.run, self.config.model.token
        repo = upload_name(self.config)
        if result.stopped:
            logger.warning("nothing is uploaded to %s: the run was stopped", repo)
            return
        secret = token.get_secret_value() if token is not None else None
        url = self._upload(repo, run.hub_private, secret, None)
        logger.info("uploaded to %s", url)

    def _checked(self, result: object) -> TrainResult:
        if isinstance(result, TrainResult):
            return result
        raise HookError(
            f"Engine.train() of {self._plan.backend} returned {type(result).__name__}; "
            "it must return aligntune_core.TrainResult"
        )

    def _saved(self, result: TrainResult) -> Path:
        if not result.stopped:
            self._engine.save(self.output_dir, self._form(merged=False))
            return self.output_dir
        folder = self._session.context().checkpoint_dir(result.steps)
        if is_main() and (why := checkpoints.problem(folder)):
            raise RunError(
                f"{self._plan.backend} stopped at step {result.steps} without a complete checkpoint: {why}"
            )
        return folder

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        """Keep the log; record a failure in the manifest and name the plugin in a note on the exception."""
        try:
            with logs.kept(self._session.log):
                yield
        except BaseException as error:
            self._session.sink.end()
            self._write_manifest("failed", error=error)
            if isinstance(error, Exception):
                error.add_note(
                    f"while training with {self._plan.backend}; the run folder is {self.output_dir}"
                )
            raise

    def _write_manifest(
        self, state: str, result: TrainResult | None = None, error: BaseException | None = None
    ) -> None:
        plan, report = self._plan, self._plan.datasets.report
        ended: dict[str, Any] = {"error": f"{type(error).__name__}: {error}"} if error is not None else {}
        if result is not None:
            ended |= {
                "metrics": dict(result.metrics),
                "total_steps": result.steps,
                "final_loss": result.final_loss,
                "training_time": result.training_time,
                "model_path": result.model_path,
                "stopped": result.stopped,
            }
        content = Manifest(
            aligntune=__version__,
            state=state,
            algorithm=self.config.algorithm,
            backend=plan.backend.name,
            backend_reason=plan.reason,
            config=plain(self.config),
            sources=dict(self.config.sources),
            repeatable=not in_memory(self.config) and not self._goes_on,
            effective={path: value for path, value in self.effective.items() if isinstance(value, PLAIN)},
            versions=dict(plan.prepared.versions),
            device=vars(plan.prepared.device),
            world_size=plan.prepared.topology.world_size,
            dataset=report.as_dict() if report else {},
            dataset_fingerprint=plan.datasets.fingerprint,
            rows_given=report.rows_given if report else None,
            rows_dropped=report.rows_dropped if report else None,
            seed=self.config.run.seed,
            started=self._started,
            written=now(),
            peak_memory_bytes=peak_memory_bytes(),
            **ended,
        )
        self._session.folder.write_manifest(content)

    def evaluate(self, dataset: Any = None) -> dict[str, float]:
        """Evaluate on held-out rows.

        Args:
            dataset: anything that ``dataset_name`` takes; by default the run's ``eval_dataset`` or ``eval_split``.

        Returns:
            dict: figures of the algorithm, e.g. loss, perplexity and token_accuracy for SFT; what the library names
            with ``eval_`` before it is there under both names.

        Raises:
            RunError: there are no held-out rows.
            DataError: rows cannot be used.
        """
        rows = None
        if dataset is not None:
            rows = self._canonical(dataset)
        elif self._plan.datasets.eval is None:
            raise RunError(
                "nothing to evaluate on: pass evaluate(dataset), or create the trainer with eval_dataset or eval_split"
            )
        with logs.kept(self._session.log):
            figures = dict(self._engine.evaluate(rows))
        plain = {name.removeprefix("eval_"): value for name, value in figures.items()}
        return {**plain, **figures}

    def _canonical(self, dataset: Any) -> Any:
        from aligntune_core.algorithms import find
        from aligntune_core.data import prepare_rows

        plan, config = self._plan, self.config
        prepared = replace(plan.prepared, tokenizer=self.tokenizer)
        tokenize = partial(plan.backend.tokenize, config=config, prepared=prepared)
        return prepare_rows(dataset, config, find(config.algorithm), self.tokenizer, tokenize)

    def save_model(self, path: str | Path | None = None, merged: bool = False) -> str:
        """Write the adapter or model with its tokenizer.

        Args:
            path: folder; by default the run folder, or ``merged`` below it.
            merged: fold the adapter into its base and write a plain model; a model without adapter is written whole.

        Returns:
            str: the folder.

        Raises:
            RunError: ``path`` is a file, or the backend cannot merge these weights.
        """
        target = Path(path) if path is not None else self.output_dir / (MERGED if merged else "")
        if target.is_file():
            raise RunError(f"save_model: {target} is a file; give a folder")
        self._engine.save(target, self._form(merged))
        return str(target)

    def _form(self, merged: bool) -> Form:
        if not self.config.peft.enabled:
            return "full"
        return "merged" if merged else "adapter"

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
        """Complete prompts with the policy as it is now.

        Args:
            prompts: one prompt or several; each a string (a user's message, where the tokenizer has a chat template)
                or a list of messages.
            max_new_tokens: tokens to generate at most.
            temperature: 0 is greedy.
            top_p: nucleus sampling, 0..1.
            n: completions a prompt; more than one needs a temperature above 0.
            stop: a text, or several, at which a completion ends; not part of it.
            seed: of this draw; by default the generator goes on from where it is.

        Returns:
            list[str]: completions without their prompts; the ``n`` of a prompt stand next to each other.

        Raises:
            DataError: something is no prompt.
            ConfigError: a number is out of range.
        """
        from aligntune_core.data.sampling import as_prompts, check_sampling

        batch = as_prompts(prompts)
        sampling = Sampling(
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            n=n,
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            seed=seed,
        )
        check_sampling(sampling)
        return self._engine.generate(batch, sampling) if batch else []

    def close(self) -> None:
        """Let go of the model and of what the backend holds; nothing can be asked of this trainer afterwards."""
        self._engine.close()

    def __enter__(self) -> Trainer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def push_to_hub(
        self, repo: str, private: bool = True, token: str | None = None, commit_message: str | None = None
    ) -> str:
        """Upload the saved adapter or model, its tokenizer and ``aligntune.json`` to the Hugging Face hub.

        Nothing else of the run folder is sent: neither rows nor completions, checkpoints, logs or merged models.

        Args:
            repo: "owner/name".
            private: make a new repository private.
            token: access token; by default the login of this machine.
            commit_message: by default names the algorithm.

        Returns:
            str: address of the repository.

        Raises:
            RunError: the hub cannot be reached or refuses; the model is saved in the run folder all the same.
        """
        self.save_model()
        return self._upload(repo, private, token, commit_message)

    def _upload(self, repo: str, private: bool, token: str | None, commit_message: str | None) -> str:
        """Upload what is saved in the run folder."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError

        # Its bases are those of whichever HTTP library the hub's client is on: a lost connection is one of them too.
        failures: tuple[Any, ...] = (OSError, *HfHubHTTPError.__bases__)
        api = HfApi(token=token)
        if not is_main():  # every process saves, one uploads
            return f"{api.endpoint}/{repo}"
        if base := local_base(self.output_dir):
            logger.warning(
                "the adapter belongs to the base model in %s, which is not uploaded: whoever loads %s needs that "
                "folder. save_model(merged=True) writes a model that stands alone",
                base,
                repo,
            )
        try:
            url = api.create_repo(repo, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=url.repo_id,
                folder_path=str(self.output_dir),
                commit_message=commit_message or f"{self.config.algorithm} with aligntune",
                allow_patterns=[escape(name) for name in publishable(self.output_dir)],
            )
        except failures as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise RunError(
                f"{repo} could not be uploaded: {reason}. The model is saved in {self.output_dir}; call "
                "push_to_hub again when the hub can be reached and the token may write there."
            ) from error
        return str(url)

"""The run folder: what it may hold, and what of that may be published; its lock; an earlier run in it set aside."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from aligntune_core.config.record import CHECKPOINT as CHECKPOINT
from aligntune_core.config.record import MANIFEST as MANIFEST
from aligntune_core.errors import RunError, RunLocked
from aligntune_core.run import checkpoints, manifest
from aligntune_core.run.topology import is_main

logger = logging.getLogger("aligntune")

# --- what a run folder may hold: every name, and whether it may be published -----------------------------------------

LOCK = ".aligntune.lock"
METRICS = "metrics.jsonl"
LOG = "run.log"
CACHE = ".cache"
EARLIER = "earlier-run"
SAMPLES = "samples.jsonl"
MERGED = "merged"
MERGED_BASE = "base"
COMPARISON = "compare"
COMPARISON_PLOT = "losses.png"
COMPARISON_SUMMARY = "compare.json"
LOSS_PLOT = "loss.png"
LOSS_AND_MARGIN_PLOT = "loss_and_margin.png"

OF_THE_RUN: Mapping[str, str] = {
    MANIFEST: "what ran, and how to repeat it",
    METRICS: "figures of every step that was logged",
    LOG: "log lines and warnings",
    LOCK: "held by the process that trains here",
    CACHE: "compiled kernels, and what waits for its place",
    EARLIER: "runs that were here before",
    f"{CHECKPOINT}N": "what step N left, to go on from",
    SAMPLES: "prompts with the completions that were scored",
    MERGED: "adapter and base as one model, of save_model(merged=True)",
    MERGED_BASE: "the merged base that the new adapter belongs to",
    COMPARISON: "the same job on several backends",
    LOSS_PLOT: "the loss as a curve",
    LOSS_AND_MARGIN_PLOT: "loss and reward margin as curves",
}
"""Name -> what it is. Of these the manifest alone goes along with a model: it repeats the run, and holds no secret."""

OF_THE_MODEL = (
    *("config.json", "generation_config.json", "adapter_config.json", "README.md"),
    *("model*.safetensors", "model*.safetensors.index.json", "adapter_model*.safetensors"),
    *("pytorch_model*.bin", "pytorch_model*.bin.index.json", "adapter_model*.bin"),
    *("tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "*processor_config.json"),
    *("chat_template.jinja", "chat_template.json", "additional_chat_templates/*.jinja"),
    *("vocab*", "*_vocab.json", "*.vocab", "merges*.txt", "bpe.codes", "*.bpe"),
    *("*.model", "*.spm", "*.tiktoken"),
    *("dict.txt", "emoji.json", "byte_maps.json", "normalizer.json", "word_*.json", "*.tokenizer"),
)
"""Patterns of what saving a model with its tokenizer writes; nothing else of a run folder is published."""


def publishable(folder: Path) -> list[str]:
    """Paths below ``folder`` that may be uploaded with the model in it, sorted.

    Custom code belongs to the model where its configuration refers to it. The manifest of a run that failed stays: the
    text of an error may quote a row or a completion.
    """
    patterns = list(OF_THE_MODEL)
    if any("auto_map" in _settings(folder / name) for name in ("config.json", "tokenizer_config.json")):
        patterns.append("*.py")
    if "error" not in _settings(folder / MANIFEST):
        patterns.append(MANIFEST)
    files = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return sorted(path.relative_to(folder).as_posix() for path in files)


def _settings(file: Path) -> Mapping[str, Any]:
    """The content of a JSON file; empty where there is no file."""
    settings: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return settings


def local_base(folder: Path) -> str | None:
    """The base of the adapter in ``folder``, where it is a folder of this machine; None for a hub id or no adapter."""
    base = _settings(folder / "adapter_config.json").get("base_model_name_or_path")
    return base if base and Path(base).is_dir() else None


# --- the folder itself -----------------------------------------------------------------------------------------------


def cache_folder(output_dir: str | Path) -> Path:
    """The run folder's place for compiled kernels and the like; absolute, as libraries put it on their paths."""
    return Path(output_dir).resolve() / CACHE


def model_folder(name: object) -> Path | None:
    """The folder that ``model_name`` is; None for a hub id or a model in memory."""
    return Path(name).resolve() if isinstance(name, (str, Path)) and Path(name).exists() else None


class RunFolder:
    """A run's folder on disk.

    Raises:
        RunError: the path is a file or cannot be written.
        RunLocked: another process trains in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not is_main():
            return
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"output_dir {path} cannot be created: {error.strerror}. Choose another output_dir."
            ) from error
        with self.locked():
            pass

    @property
    def metrics(self) -> Path:
        return self.path / METRICS

    @property
    def log(self) -> Path:
        return self.path / LOG

    def artifact(self, name: str) -> Path:
        """The path for a further file of the run that a backend writes.

        Raises:
            ValueError: not a plain file name.
        """
        if not name or Path(name).name != name:
            raise ValueError(f"an artifact is a file in the run folder: a plain name, not {name!r}")
        return self.path / name

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against other processes; the system frees it when this one dies."""
        if not is_main():
            yield
            return
        lock = FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunLocked(
                f"{self.path}: another run is training in this folder. Wait for it, or choose another output_dir."
            ) from None
        except OSError as error:
            raise RunError(
                f"output_dir {self.path} cannot be written: {error.strerror}. Choose another."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def has_run(self) -> bool:
        """Whether results of a run that trained lie here; figures of an evaluation alone are none."""
        # Looked for as text: the last line of a killed run may be cut off.
        trained = self.metrics.is_file() and '"loss"' in self.metrics.read_text(encoding="utf-8")
        return trained or bool(checkpoints.checkpoints(self.path))

    def refuse_own_model(self, model: Path | None) -> None:
        """Raise RunError where ``model``, the folder of ``model_name``, is this folder."""
        if model is not None and model == self.path.resolve():
            raise RunError(
                f"{self.path} is the model that this run starts from (model_name={model}) and would be overwritten. "
                "Choose another output_dir."
            )

    def set_aside(self, keep: Path | None) -> Path | None:
        """Move what an earlier run left into ``earlier-run/N``, so that a new one starts clean.

        Raises:
            RunError: the new run starts from a model (``keep``) in the very folder that it would write into.
        """
        if not is_main() or not self.has_run():
            return None
        if keep is not None and (keep == self.path.resolve() or self.path.resolve() in keep.parents):
            raise RunError(
                f"{self.path} holds the run that this one starts from (model_name={keep}). Choose another output_dir."
            )
        home = self.path / EARLIER
        number = 1 + max((int(p.name) for p in home.glob("*") if p.name.isdigit()), default=0)
        target = home / str(number)
        target.mkdir(parents=True)
        for item in list(self.path.iterdir()):
            if item.name not in (EARLIER, LOCK, CACHE):
                shutil.move(str(item), str(target / item.name))
        logger.warning(
            "%s held an earlier run: it was moved to %s. train(resume=True) continues one instead.",
            self.path,
            target,
        )
        return target

    def write_manifest(self, content: manifest.Manifest) -> None:
        """Write ``aligntune.json`` on the main process."""
        if is_main():
            manifest.write(self.path, content)

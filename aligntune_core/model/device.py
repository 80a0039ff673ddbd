"""The kinds of device that this machine seems to have, and the one that torch would train on.

``probe`` looks at files, environment and metadata, without torch: a hint for listings and for ``backend="auto"``.
``prepare`` judges with ``torch_device`` whether a device will do.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aligntune_core.entrypoints import installed_version
from aligntune_core.types import Device

logger = logging.getLogger("aligntune")


@dataclass(frozen=True)
class Probe:
    """The result of looking for devices."""

    kinds: tuple[str, ...]  # usable device kinds, the likeliest first; "cpu" always last
    looked: tuple[str, ...]  # one phrase a place that was looked at

    def __str__(self) -> str:
        return f"Looked for: {'; '.join(self.looked)}. Usable: {', '.join(self.kinds)}."


@dataclass(frozen=True)
class Machine:
    """The facts of a machine that can be read without torch."""

    root: Path  # top of the file system
    environ: Mapping[str, str]  # environment variables
    torch: str  # version of the installed torch, with the build after its "+"; empty where there is none

    @property
    def build(self) -> str:
        """'cpu', 'cuda', 'rocm', 'xpu', or '' where the version does not say (the index's default build)."""
        kind = re.match(r"cpu|cu|rocm|xpu|", self.torch.partition("+")[2])
        return {"cu": "cuda"}.get(kind[0], kind[0]) if kind else ""


@dataclass(frozen=True)
class DeviceKind:
    """One kind of device: everything that core has to know of it."""

    name: str  # as torch calls it; "cuda" for AMD's too
    # Whether this machine seems to have one within torch's reach, and a phrase for each place looked at.
    look: Callable[[Machine], tuple[bool, list[str]]]
    # Whether bfloat16 compute is native and fast there, asked of torch's module of the kind.
    bf16: Callable[[Any], bool]


def probe(root: Path = Path("/"), environ: Mapping[str, str] = os.environ, torch: str | None = None) -> Probe:
    """Look for devices; ``torch`` is the version of the installed one, by default from its metadata."""
    version = torch if torch is not None else installed_version("torch") or ""
    machine = Machine(root, environ, version)
    note = " (a build for CPUs only)" if machine.build == "cpu" else ""
    kinds: list[str] = []
    phrases: list[str] = []
    for kind in KINDS:
        present, places = kind.look(machine)
        kinds += [kind.name] if present else []
        phrases += places
    return Probe((*kinds, "cpu"), (*phrases, f"torch {version or 'not installed'}{note}"))


def available() -> tuple[str, ...]:
    """Device kinds that this machine seems to have, the likeliest first; "cpu" always last."""
    return probe().kinds


def _nvidia(machine: Machine) -> tuple[bool, list[str]]:
    """Whether an NVIDIA GPU is there, visible and within this torch's reach."""
    root = machine.root
    nodes = sorted(p.name for p in (root / "dev").glob("nvidia[0-9]*"))
    wsl = (root / "usr/lib/wsl/lib/libcuda.so.1").exists()
    driver = (root / "proc/driver/nvidia/version").exists()
    windows = sys.platform == "win32" and shutil.which("nvidia-smi") is not None
    visible = machine.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = visible is not None and visible.strip() in ("", "-1", "NoDevFiles")
    value = "not set" if visible is None else repr(visible)
    phrases = [
        f"NVIDIA driver (/proc/driver/nvidia/version): {_presence(driver)}",
        f"device nodes /dev/nvidia*: {', '.join(nodes) or ('through WSL' if wsl else 'none')}",
        f"nvidia-smi on PATH: {_presence(shutil.which('nvidia-smi') is not None)}",
        f"CUDA_VISIBLE_DEVICES: {value}{' (hides every GPU)' if hidden else ''}",
    ]
    return bool(nodes or wsl or windows) and not hidden and machine.build in ("", "cuda"), phrases


def _amd(machine: Machine) -> tuple[bool, list[str]]:
    """Whether an AMD GPU is there and torch is a ROCm build; torch calls it "cuda" too."""
    node = (machine.root / "dev/kfd").exists()
    hidden = machine.environ.get("HIP_VISIBLE_DEVICES", "0").strip() in ("", "-1")
    return node and not hidden and machine.build == "rocm", [f"AMD driver (/dev/kfd): {_presence(node)}"]


def _cuda(machine: Machine) -> tuple[bool, list[str]]:
    (nvidia, phrases), (amd, more) = _nvidia(machine), _amd(machine)
    return nvidia or amd, phrases + more


def _npu(machine: Machine) -> tuple[bool, list[str]]:
    present = (machine.root / "dev/davinci0").exists() and installed_version("torch-npu") is not None
    return present, ["Ascend device /dev/davinci0 and torch-npu: there"] if present else []


def _xpu(machine: Machine) -> tuple[bool, list[str]]:
    present = machine.build == "xpu" and any((machine.root / "dev/dri").glob("renderD*"))
    return present, ["Intel XPU build of torch and /dev/dri/renderD*: there"] if present else []


def _mps(machine: Machine) -> tuple[bool, list[str]]:
    apple, processor = sys.platform == "darwin", platform.machine()
    return apple and processor == "arm64", [f"Apple GPU: machine is {processor}"] if apple else []


def _presence(present: bool) -> str:
    return "there" if present else "absent"


# The likeliest first; a CPU is always there and comes last. bfloat16 is unproven on Apple's GPUs.
KINDS = (
    DeviceKind("cuda", _cuda, lambda module: bool(module.is_bf16_supported(including_emulation=False))),
    DeviceKind("npu", _npu, lambda module: bool(module.is_bf16_supported())),
    DeviceKind("xpu", _xpu, lambda module: bool(module.is_bf16_supported())),
    DeviceKind("mps", _mps, lambda module: False),
)


def torch_device() -> Device:
    """The device that torch would train on.

    A GPU that the machine seems to have but torch cannot use is reported in a warning. ``ACCELERATE_USE_CPU`` is
    obeyed, as accelerate obeys it.
    """
    import torch

    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "on"):
        return Device(kind="cpu", name="CPU (ACCELERATE_USE_CPU)")
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        machine = probe()
        if machine.kinds[0] != "cpu":
            remark = f"cannot use the {machine.kinds[0]} device here; training on the CPU. {machine}"
            logger.warning("torch %s %s", torch.__version__, remark)
        return Device(kind="cpu", name="CPU")
    kind = accelerator.type
    module = getattr(torch, kind)
    look = getattr(module, "get_device_properties", None)
    properties = look(module.current_device()) if look else None
    return Device(
        kind=kind,
        name=str(getattr(properties, "name", kind)),
        bf16=any(entry.bf16(module) for entry in KINDS if entry.name == kind),
        count=torch.accelerator.device_count(),
        memory_bytes=int(getattr(properties, "total_memory", 0)),
    )


def peak_memory() -> int | None:
    """Peak bytes that torch has allocated on this process's device; None where it has used none, or does not count."""
    torch = sys.modules.get("torch")
    accelerator = torch.accelerator.current_accelerator(check_available=True) if torch is not None else None
    if accelerator is None:
        return None
    module = getattr(torch, accelerator.type)
    if not hasattr(module, "max_memory_allocated") or not module.is_initialized():
        return None
    return int(module.max_memory_allocated())

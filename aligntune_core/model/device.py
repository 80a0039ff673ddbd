"""Which kinds of device this machine seems to have, and which one torch would train on.

``probe`` looks at files, environment and metadata, without torch: a hint for listings and for ``backend="auto"``.
Whether a device will do is judged by ``prepare``, with ``torch_device``.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aligntune_core.entrypoints import installed_version
from aligntune_core.types import Device

logger = logging.getLogger("aligntune")


@dataclass(frozen=True)
class Probe:
    """What was found.

    Attributes:
        kinds: usable device kinds, the likeliest first; "cpu" always last.
        looked: one phrase a place that was looked at.
    """

    kinds: tuple[str, ...]
    looked: tuple[str, ...]

    def __str__(self) -> str:
        return f"Looked for: {'; '.join(self.looked)}. Usable: {', '.join(self.kinds)}."


def probe(root: Path = Path("/"), environ: Mapping[str, str] = os.environ, torch: str | None = None) -> Probe:
    """Look for devices.

    Args:
        root: top of the file system; for tests.
        environ: environment; for tests.
        torch: version of the installed torch, by default from its metadata.
    """
    torch = torch if torch is not None else installed_version("torch") or ""
    nvidia, nvidia_looked = _nvidia(root, environ, torch)
    amd, amd_looked = _amd(root, environ, torch)
    kinds = ["cuda"] if nvidia or amd else []
    looked = [*nvidia_looked, *amd_looked, f"torch {torch or 'not installed'}{_build_note(torch)}"]
    if (root / "dev/davinci0").exists() and installed_version("torch-npu"):
        kinds.append("npu")
        looked.append("Ascend device /dev/davinci0 and torch-npu: there")
    if "+xpu" in torch and any((root / "dev/dri").glob("renderD*")):
        kinds.append("xpu")
        looked.append("Intel XPU build of torch and /dev/dri/renderD*: there")
    if sys.platform == "darwin":
        if platform.machine() == "arm64":
            kinds.append("mps")
        looked.append(f"Apple GPU: machine is {platform.machine()}")
    return Probe((*kinds, "cpu"), tuple(looked))


def available() -> tuple[str, ...]:
    """Device kinds that this machine seems to have, the likeliest first; "cpu" always last."""
    return probe().kinds


def _nvidia(root: Path, environ: Mapping[str, str], torch: str) -> tuple[bool, list[str]]:
    """Whether an NVIDIA GPU is there, visible and within this torch's reach."""
    nodes = sorted(p.name for p in (root / "dev").glob("nvidia[0-9]*"))
    wsl = (root / "usr/lib/wsl/lib/libcuda.so.1").exists()
    driver = (root / "proc/driver/nvidia/version").exists()
    windows = sys.platform == "win32" and shutil.which("nvidia-smi") is not None
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    hidden = visible is not None and visible.strip() in ("", "-1", "NoDevFiles")
    seen = "not set" if visible is None else repr(visible)
    looked = [
        f"NVIDIA driver (/proc/driver/nvidia/version): {_there(driver)}",
        f"device nodes /dev/nvidia*: {', '.join(nodes) or ('through WSL' if wsl else 'none')}",
        f"nvidia-smi on PATH: {_there(shutil.which('nvidia-smi') is not None)}",
        f"CUDA_VISIBLE_DEVICES: {seen}{' (hides every GPU)' if hidden else ''}",
    ]
    return bool(nodes or wsl or windows) and not hidden and _build(torch) in ("", "cuda"), looked


def _amd(root: Path, environ: Mapping[str, str], torch: str) -> tuple[bool, list[str]]:
    """Whether an AMD GPU is there and torch is a ROCm build; torch calls it "cuda" too."""
    node = (root / "dev/kfd").exists()
    hidden = environ.get("HIP_VISIBLE_DEVICES", "0").strip() in ("", "-1")
    return node and not hidden and _build(torch) == "rocm", [f"AMD driver (/dev/kfd): {_there(node)}"]


def _build(torch: str) -> str:
    """'cpu', 'cuda', 'rocm', 'xpu', or '' where the version does not say (the index's default build)."""
    local = torch.partition("+")[2]
    return next((kind for mark, kind in _BUILDS if local.startswith(mark)), "")


_BUILDS = (("cpu", "cpu"), ("cu", "cuda"), ("rocm", "rocm"), ("xpu", "xpu"))


def _build_note(torch: str) -> str:
    return " (a build for CPUs only)" if _build(torch) == "cpu" else ""


def _there(found: bool) -> str:
    return "there" if found else "absent"


def torch_device() -> Device:
    """The device that torch would train on.

    A GPU that the machine seems to have but torch cannot use is told with a warning; ``ACCELERATE_USE_CPU``
    is obeyed, as accelerate obeys it.
    """
    import torch

    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "on"):
        return Device(kind="cpu", name="CPU (ACCELERATE_USE_CPU)")
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        here = probe()
        if here.kinds[0] != "cpu":
            logger.warning(
                "torch %s cannot use the %s device here; training on the CPU. %s",
                torch.__version__,
                here.kinds[0],
                here,
            )
        return Device(kind="cpu", name="CPU")
    kind = accelerator.type
    module = getattr(torch, kind)
    properties = (
        module.get_device_properties(module.current_device())
        if hasattr(module, "get_device_properties")
        else None
    )
    return Device(
        kind=kind,
        name=str(getattr(properties, "name", kind)),
        bf16=_native_bf16(kind, module),
        count=torch.accelerator.device_count(),
        memory_bytes=int(getattr(properties, "total_memory", 0)),
    )


def _native_bf16(kind: str, module: Any) -> bool:
    """Whether bfloat16 compute is native there; unproven on Apple's GPUs, which train in float32."""
    if kind == "cuda":
        return bool(module.is_bf16_supported(including_emulation=False))
    return kind in ("xpu", "npu") and bool(module.is_bf16_supported())

"""The torch-free probe, on made file trees; on a machine with a GPU it has to agree with torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from aligntune_core.model.device import available, probe

NVIDIA = ("dev/nvidia0", "dev/nvidiactl", "proc/driver/nvidia/version")
WSL = ("usr/lib/wsl/lib/libcuda.so.1",)


def tree(root: Path, *files: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("files", "environ", "torch", "kinds"),
    [
        ((), {}, "2.13.0", ("cpu",)),
        (NVIDIA, {}, "2.13.0", ("cuda", "cpu")),
        (NVIDIA, {}, "2.13.0+cu130", ("cuda", "cpu")),
        (NVIDIA, {}, "2.13.0+cpu", ("cpu",)),
        (NVIDIA, {}, "2.13.0+rocm7", ("cpu",)),
        (NVIDIA, {"CUDA_VISIBLE_DEVICES": ""}, "2.13.0", ("cpu",)),
        (NVIDIA, {"CUDA_VISIBLE_DEVICES": "-1"}, "2.13.0", ("cpu",)),
        (NVIDIA, {"CUDA_VISIBLE_DEVICES": "1"}, "2.13.0", ("cuda", "cpu")),
        (NVIDIA[2:], {}, "2.13.0", ("cpu",)),  # a host's driver, but no device given to this container
        (WSL, {}, "2.13.0", ("cuda", "cpu")),
        (("dev/kfd",), {}, "2.13.0+rocm7", ("cuda", "cpu")),
        (("dev/kfd",), {}, "2.13.0+cpu", ("cpu",)),
        (("dev/kfd",), {"HIP_VISIBLE_DEVICES": "-1"}, "2.13.0+rocm7", ("cpu",)),
        (("dev/dri/renderD128",), {}, "2.13.0+xpu", ("xpu", "cpu")),
        (("dev/dri/renderD128",), {}, "2.13.0", ("cpu",)),
    ],
)
def test_kinds(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: tuple[str, ...],
    environ: dict[str, str],
    torch: str,
    kinds: tuple[str, ...],
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    assert probe(tree(tmp_path, *files), environ, torch).kinds == kinds


def test_apple(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert probe(tmp_path, {}, "2.13.0").kinds == ("mps", "cpu")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert probe(tmp_path, {}, "2.13.0").kinds == ("cpu",)


def test_text_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    said = str(probe(tree(tmp_path, *NVIDIA), {"CUDA_VISIBLE_DEVICES": ""}, "2.13.0+cpu"))
    for part in (
        "NVIDIA driver (/proc/driver/nvidia/version): there",
        "device nodes /dev/nvidia*: nvidia0",
        "nvidia-smi on PATH: ",
        "CUDA_VISIBLE_DEVICES: '' (hides every GPU)",
        "AMD driver (/dev/kfd): absent",
        "torch 2.13.0+cpu (a build for CPUs only)",
        "Usable: cpu.",
    ):
        assert part in said
    assert "torch not installed" in str(probe(tmp_path, {}, ""))


def test_agrees_with_torch_here() -> None:
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    assert available()[0] == (accelerator.type if accelerator is not None else "cpu")

"""Which device a run will use, told from files and metadata: a refusal comes before anything heavy is imported."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from aligntune_core.toolkit import BackendUnavailable, installed_version, probe
from aligntune_unsloth.options import ALLOW_CPU

CPU_MODULE = "_cpu_init.py"
"""The file of the unsloth package that holds its CPU path."""

_ELSEWHERE = 'backend="trl" runs on this machine\'s CPU.'


def choose(cpu_allowed: bool) -> str:
    """ "cuda" or "cpu".

    Args:
        cpu_allowed: whether the user asked for Unsloth's CPU path where there is no GPU.

    Raises:
        BackendUnavailable: no GPU, with what was looked for; or no CPU path in the installed version.
    """
    devices = probe()
    kept_off = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "on")
    if "cuda" in devices.kinds and not kept_off:
        return "cuda"
    if not cpu_allowed:
        why = "ACCELERATE_USE_CPU keeps this run off the GPU" if kept_off else "none was found"
        raise BackendUnavailable(
            f'backend "unsloth" trains on an NVIDIA or AMD GPU, and {why}. {devices} {_ELSEWHERE} '
            f'To try Unsloth\'s own CPU path: backend_options={{"allow_cpu": True}}, or {ALLOW_CPU}=1.'
        )
    if not has_cpu_path():
        raise BackendUnavailable(
            f"unsloth {installed_version('unsloth')} has no CPU path (2026.10.9 has one: "
            f"pip install --no-deps unsloth==2026.10.9 unsloth_zoo==2026.10.9). {devices} {_ELSEWHERE}"
        )
    return "cpu"


def has_cpu_path() -> bool:
    """Whether the installed unsloth can train on a CPU. Looks at its files; imports nothing."""
    spec = find_spec("unsloth")
    folders = spec.submodule_search_locations if spec is not None else None
    return any((Path(folder) / CPU_MODULE).is_file() for folder in folders or ())

"""Whether two values of a field mean the same run."""

from __future__ import annotations

from typing import Any

# Differences that never touch the maths; every other one raises.
EQUAL_VALUES = {"optim.optimizer": ({"adamw_torch", "adamw_torch_fused"},)}


NEVER_MATHS = frozenset({"run.dataloader_num_workers", "data.num_proc", "run.output_dir"})


def same(path: str, wanted: Any, found: Any) -> bool:
    """Whether two values of a field mean the same run."""
    if path in NEVER_MATHS or wanted == found:
        return True
    if isinstance(wanted, (int, float)) and isinstance(found, (int, float)):
        return bool(abs(wanted - found) <= 1e-12 * max(abs(wanted), abs(found)))
    if isinstance(wanted, (list, tuple, set)) and isinstance(found, (list, tuple, set)):
        return sorted(map(str, wanted)) == sorted(map(str, found))
    return any({wanted, found} <= group for group in EQUAL_VALUES.get(path, ()) if isinstance(wanted, str))

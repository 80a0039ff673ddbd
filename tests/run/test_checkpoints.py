"""Complete checkpoints are told from damaged ones by their headers."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path

import pytest

from aligntune_core.errors import CheckpointError
from aligntune_core.run import checkpoints


def write_checkpoint(folder: Path, step: int) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (path / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 8)
    with zipfile.ZipFile(path / "optimizer.pt", "w") as archive:
        archive.writestr("data", "x" * 100)
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return path


def test_a_complete_checkpoint_has_no_problem(tmp_path: Path) -> None:
    assert checkpoints.problem(write_checkpoint(tmp_path, 3)) is None


def test_checkpoints_are_ordered_by_number_not_by_name(tmp_path: Path) -> None:
    for step in (10, 9, 100):
        write_checkpoint(tmp_path, step)
    assert [p.name for p in checkpoints.checkpoints(tmp_path)] == [
        "checkpoint-9",
        "checkpoint-10",
        "checkpoint-100",
    ]


def _cut(name: str, keep: int):  # type: ignore[no-untyped-def]
    def damage(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[:keep])

    return damage


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "trainer_state.json").unlink(), "written last, is missing"),
        (_cut("trainer_state.json", 5), "does not parse"),
        (_cut("adapter_model.safetensors", 4), "cut off"),
        (_cut("adapter_model.safetensors", 20), "cut off"),
        (_cut("adapter_model.safetensors", 75), "bytes instead of"),
        (_cut("optimizer.pt", 40), "optimizer.pt is cut off"),
        (_cut("optimizer.pt", 0), "optimizer.pt is cut off"),
        (lambda f: (f / "adapter_model.safetensors").unlink(), "no *.safetensors"),
        (
            lambda f: (f / "model.safetensors.index.json").write_text(
                '{"weight_map": {"w": "model-2.safetensors"}}'
            ),
            "model-2.safetensors, named by",
        ),
    ],
)
def test_damage_is_named_and_passed_over(tmp_path: Path, damage, said: str) -> None:  # type: ignore[no-untyped-def]
    good = write_checkpoint(tmp_path, 3)
    bad = write_checkpoint(tmp_path, 6)
    damage(bad)
    assert said in str(checkpoints.problem(bad))
    folder, skipped = checkpoints.last_complete(tmp_path)
    assert folder == good
    assert len(skipped) == 1
    assert said in skipped[0]
    with pytest.raises(CheckpointError, match=r"Complete checkpoints in .*: checkpoint-3"):
        checkpoints.find(tmp_path, bad)


def test_nothing_to_resume_from_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        checkpoints.find(tmp_path, True)
    assert checkpoints.find(tmp_path, None) == (None, [])

"""The run folder: lock, an earlier run set aside, manifest."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from aligntune_core.errors import RunError, RunLocked
from aligntune_core.run import manifest
from aligntune_core.run.folder import RunFolder


def test_a_folder_in_training_refuses_another_process_and_is_free_after_its_death(tmp_path: Path) -> None:
    code = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from aligntune_core.run.folder import RunFolder
        with RunFolder(Path({str(tmp_path)!r})).locked():
            print("locked", flush=True)
            time.sleep(60)
        """
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(RunLocked, match="another run is training"):
            RunFolder(tmp_path)
    finally:
        other.kill()
        other.wait()
    with RunFolder(tmp_path).locked():
        assert (tmp_path / ".aligntune.lock").exists()


def test_an_earlier_run_is_moved_not_overwritten(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.set_aside(None) is None
    for number in ("1", "2"):
        (tmp_path / "metrics.jsonl").write_text(number)
        (tmp_path / "checkpoint-5").mkdir()
        moved = folder.set_aside(None)
        assert moved == tmp_path / "earlier-run" / number
        assert (moved / "metrics.jsonl").read_text() == number
        assert (moved / "checkpoint-5").is_dir()
    assert not folder.has_run()


def test_figures_of_an_evaluation_before_training_stay_in_the_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.metrics.write_text('{"step": 0, "eval_loss": 3.4}\n')
    assert folder.set_aside(None) is None
    folder.metrics.write_text('{"step": 0, "eval_loss": 3.4}\n{"step": 1, "loss": 3.5}\n{"st')
    assert folder.set_aside(None) == tmp_path / "earlier-run" / "1"


def test_a_run_that_starts_from_its_own_folder_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}')
    for model in (tmp_path, tmp_path / "checkpoint-5"):
        with pytest.raises(RunError, match="Choose another output_dir"):
            folder.set_aside(model.resolve())
    assert (tmp_path / "metrics.jsonl").exists()


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be created"):
        RunFolder(tmp_path / "file")


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        folder.write_manifest(manifest.Manifest(seed=1))
    assert not (tmp_path / "run").exists()


def test_manifest_round_trip(tmp_path: Path) -> None:
    assert manifest.read(tmp_path) is None
    manifest.write(tmp_path, manifest.Manifest(seed=3))
    assert manifest.read(tmp_path) == manifest.Manifest(seed=3)
    written = json.loads((tmp_path / "aligntune.json").read_text())
    assert written["schema"] == 1
    assert "total_steps" not in written
    (tmp_path / "aligntune.json").write_text(json.dumps({"seed": 4, "of a later release": 1}))
    assert manifest.read(tmp_path) == manifest.Manifest(seed=4)
    assert [p.name for p in tmp_path.iterdir()] == ["aligntune.json"]

"""Uploading: what is sent, and that a failure leaves the model where it can be found. Only the network is replaced."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, ClassVar

import pytest

from aligntune_core.errors import RunError
from aligntune_core.pipeline.trainer import Trainer


class SavingEngine:
    """Writes a file where a model would be."""

    saved: ClassVar[list[Path]] = []

    def save(self, path: Path, form: str) -> None:
        path.mkdir(parents=True, exist_ok=True)
        (path / "adapter_model.safetensors").write_bytes(b"weights")
        self.saved.append(path)


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    from types import SimpleNamespace

    made: Any = object.__new__(Trainer)
    made._engine = SavingEngine()
    made._plan = SimpleNamespace(config=SimpleNamespace(algorithm="dpo", peft=SimpleNamespace(enabled=True)))
    made._session = SimpleNamespace(folder=SimpleNamespace(path=tmp_path / "run"))
    found: Trainer = made
    return found


def _calls(monkeypatch: pytest.MonkeyPatch, upload: Callable[..., None] | None = None) -> dict[str, Any]:
    from huggingface_hub import HfApi, RepoUrl

    seen: dict[str, Any] = {}

    def create_repo(self: Any, repo_id: str, **more: Any) -> RepoUrl:
        seen["create"] = {"repo_id": repo_id, "token": self.token, **more}
        return RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(self: Any, **more: Any) -> None:
        seen["upload"] = more

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload or upload_folder)
    return seen


def test_what_is_uploaded(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _calls(monkeypatch)
    assert trainer.push_to_hub("me/model", token="secret") == "https://huggingface.co/me/model"
    assert seen["create"] == {"repo_id": "me/model", "token": "secret", "private": True, "exist_ok": True}
    upload = seen["upload"]
    assert (upload["repo_id"], upload["folder_path"]) == ("me/model", str(trainer.output_dir))
    assert upload["commit_message"] == "dpo with aligntune"
    assert (trainer.output_dir / "adapter_model.safetensors").is_file()
    ignored = upload["ignore_patterns"]
    for name in (
        "checkpoint-3/optimizer.pt",
        "earlier-run/1/x",
        "metrics.jsonl",
        "run.log",
        "base/config.json",
    ):
        assert any(fnmatch(name, pattern) for pattern in ignored), name
    for name in ("adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "aligntune.json"):
        assert not any(fnmatch(name, pattern) for pattern in ignored), name


def test_without_a_network_the_error_names_the_saved_folder(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub.errors import OfflineModeIsEnabled

    def unreachable(self: Any, **_: Any) -> None:
        raise OfflineModeIsEnabled("no network")

    _calls(monkeypatch, unreachable)
    with pytest.raises(RunError, match="me/model could not be uploaded: no network") as caught:
        trainer.push_to_hub("me/model")
    assert str(trainer.output_dir) in str(caught.value)
    assert (trainer.output_dir / "adapter_model.safetensors").is_file()

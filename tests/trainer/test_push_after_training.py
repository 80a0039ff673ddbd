"""``push_to_hub=True``: what a run leaves goes to the hub when all of it is on disk. Only the network is replaced."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.errors import ConfigError, RunError

pytestmark = pytest.mark.backend

Make = Callable[..., Any]


@pytest.fixture
def make(tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A trainer of two steps on a machine that is logged in to the hub."""
    import huggingface_hub

    from aligntune import create_sft_trainer

    monkeypatch.setattr(huggingface_hub, "is_offline_mode", lambda: False)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "of this machine")
    settings: dict[str, Any] = {
        "model_name": str(tiny_model_dir),
        "dataset_name": [{"prompt": "say salt", "completion": "salt"}] * 4,
        "backend": "torch",
        "max_steps": 2,
        "batch_size": 2,
        "save_strategy": "no",
        "output_dir": str(tmp_path / "my run"),
        "push_to_hub": True,
    }
    return lambda **more: create_sft_trainer(**{**settings, **more})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the hub is sent."""
    from huggingface_hub import HfApi, RepoUrl

    sent: dict[str, Any] = {}

    def create_repo(self: Any, repo_id: str, **more: Any) -> RepoUrl:
        sent["create"] = {"repo_id": repo_id, "token": self.token, **more}
        whole = repo_id if "/" in repo_id else f"me/{repo_id}"  # as the hub completes it
        return RepoUrl(f"https://huggingface.co/{whole}")

    def upload_folder(self: Any, folder_path: str, **more: Any) -> None:
        sent["upload"] = more
        sent["state"] = json.loads((Path(folder_path) / "aligntune.json").read_text())["state"]

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    return sent


def test_a_finished_run_is_uploaded(make: Make, hub: dict[str, Any]) -> None:
    trainer = make(hub_model_id="me/it", hub_private_repo=False, token="hf_mine")
    assert not hub
    trainer.train()
    assert hub["create"] == {"repo_id": "me/it", "token": "hf_mine", "private": False, "exist_ok": True}
    assert hub["state"] == "finished"
    assert {"adapter_model.safetensors", "aligntune.json", "tokenizer.json"} <= set(
        hub["upload"]["allow_patterns"]
    )
    assert "hf_mine" not in (trainer.output_dir / "aligntune.json").read_text()


def test_without_a_name_it_is_called_as_the_folder_and_private(make: Make, hub: dict[str, Any]) -> None:
    make().train()
    assert (hub["create"]["repo_id"], hub["create"]["private"]) == ("my-run", True)
    assert hub["upload"]["repo_id"] == "me/my-run"
    assert hub["create"]["token"] is None  # the hub's own client takes the login


def test_a_failed_upload_loses_nothing(make: Make, hub: dict[str, Any], monkeypatch: Any) -> None:
    from huggingface_hub import HfApi

    def refused(self: Any, **_: Any) -> None:
        raise OSError("the disk quota of me is used up")

    monkeypatch.setattr(HfApi, "upload_folder", refused)
    trainer = make(hub_model_id="me/it")
    with pytest.raises(
        RunError, match="me/it could not be uploaded: the disk quota of me is used up"
    ) as caught:
        trainer.train()
    assert f"The model is saved in {trainer.output_dir}" in str(caught.value)
    assert (trainer.output_dir / "adapter_model.safetensors").is_file()
    record = json.loads((trainer.output_dir / "aligntune.json").read_text())
    assert (record["state"], record["total_steps"], record.get("error")) == ("finished", 2, None)


def test_a_run_that_was_stopped_is_not_uploaded(
    make: Make, hub: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make(hub_model_id="me/it", save_only_model=True)
    trainer.on_event = lambda _: trainer._session.stop.request("a test")
    assert trainer.train().stopped == "a test"
    assert not hub
    assert "nothing is uploaded to me/it: the run was stopped" in caplog.text
    assert "without the optimiser: it cannot be resumed from" in caplog.text


@pytest.mark.parametrize(
    ("name", "offline", "token", "text"),
    [
        ("me/it/too", False, "t", 'hub_model_id: "me/it/too" is no possible name'),
        ("me/it", True, "t", "offline mode is on"),
        (
            "me/it",
            False,
            None,
            "not logged in to the hub, so nothing could be uploaded to me/it: run hf auth",
        ),
    ],
)
def test_what_could_not_be_uploaded_is_not_trained(
    name: str, offline: bool, token: str | None, text: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "is_offline_mode", lambda: offline)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: token)
    with pytest.raises(ConfigError, match=text):
        make(hub_model_id=name)

"""Uploading: what is sent, and that a failure leaves the model where it can be found. Only the network is replaced."""

from __future__ import annotations

import json
import re
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
    made.config = SimpleNamespace(algorithm="dpo", peft=SimpleNamespace(enabled=True))
    made.output_dir = tmp_path / "run"
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


def _sent(upload: dict[str, Any]) -> set[str]:
    """The files that the hub's own client would choose."""
    from huggingface_hub.utils._paths import filter_repo_objects

    folder = Path(upload["folder_path"])
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    chosen = filter_repo_objects(
        files,
        allow_patterns=upload.get("allow_patterns"),
        ignore_patterns=upload.get("ignore_patterns"),
    )
    return set(chosen)


def _laid_out(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


ADAPTER = ("adapter_model.safetensors", "adapter_config.json", "README.md", "aligntune.json")
WHOLE = (
    *("config.json", "generation_config.json", "model-00001-of-00002.safetensors"),
    *("model-00002-of-00002.safetensors", "model.safetensors.index.json", "pytorch_model.bin"),
)
TOKENIZER = (
    *(
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
    ),
    *(
        "vocab.txt",
        "merges.txt",
        "tokenizer.model",
        "spiece.model",
        "qwen.tiktoken",
        "source.spm",
        "bpe.codes",
    ),
    *("emoji.json", "vocab-src.json", "chat_template.jinja", "additional_chat_templates/tools.jinja"),
)
RUN = (
    *("samples.jsonl", "metrics.jsonl", "run.log", ".aligntune.lock", ".cache/base/model.safetensors"),
    *("checkpoint-3/optimizer.pt", "checkpoint-3/model.safetensors", "checkpoint-3/tokenizer.json"),
    *("earlier-run/1/model.safetensors", "earlier-run/1/samples.jsonl", "base/config.json"),
    *("base/model.safetensors", "merged/model.safetensors", "merged/config.json", "compare/compare.json"),
    *("compare/trl/adapter_model.safetensors", "compare/losses.png", "loss.png", "loss_and_margin.png"),
    *("training_args.bin", "my_rows.jsonl", "rows.csv", "notes.txt", "train.py", ".env"),
)


def test_what_is_uploaded(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _calls(monkeypatch)
    _laid_out(trainer.output_dir, *ADAPTER, *WHOLE, *TOKENIZER, *RUN)
    assert trainer.push_to_hub("me/model", token="secret") == "https://huggingface.co/me/model"
    assert seen["create"] == {"repo_id": "me/model", "token": "secret", "private": True, "exist_ok": True}
    upload = seen["upload"]
    assert (upload["repo_id"], upload["folder_path"]) == ("me/model", str(trainer.output_dir))
    assert upload["commit_message"] == "dpo with aligntune"
    assert (trainer.output_dir / "adapter_model.safetensors").is_file()
    assert _sent(upload) == {*ADAPTER, *WHOLE, *TOKENIZER}


def test_names_of_a_run_folder_are_not_published() -> None:
    from aligntune_core.run.folder import MANIFEST, OF_THE_MODEL, OF_THE_RUN

    for name in OF_THE_RUN:
        for path in (name, f"{name}/config.json", f"{name}/model.safetensors"):
            assert not any(fnmatch(path, pattern) for pattern in OF_THE_MODEL), path
    assert MANIFEST in OF_THE_RUN


def test_what_a_model_and_its_tokenizer_write_is_uploaded_whole(
    trainer: Trainer, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    seen = _calls(monkeypatch)
    AutoModelForCausalLM.from_pretrained(tiny_model_dir).save_pretrained(
        trainer.output_dir, max_shard_size="100KB"
    )
    AutoTokenizer.from_pretrained(tiny_model_dir).save_pretrained(trainer.output_dir)
    written = {path.name for path in trainer.output_dir.iterdir()}
    assert "model.safetensors.index.json" in written
    trainer.push_to_hub("me/model")
    assert _sent(seen["upload"]) == written | {"adapter_model.safetensors"}


def test_every_vocabulary_file_of_transformers_is_uploaded() -> None:
    import transformers

    from aligntune_core.run.folder import OF_THE_MODEL

    names = {
        name
        for file in Path(str(transformers.__file__)).parent.glob("models/*/tokenization_*.py")
        for table in re.findall(r"^VOCAB_FILES_NAMES = \{(.*?)\}", file.read_text(), re.MULTILINE | re.DOTALL)
        for name in re.findall(r':\s*"([^"]+)"', table)
    }
    assert len(names) > 10
    assert not [name for name in names if not any(fnmatch(name, pattern) for pattern in OF_THE_MODEL)]


def test_custom_code_goes_along_where_the_model_refers_to_it(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = _calls(monkeypatch)
    _laid_out(
        trainer.output_dir, "config.json", "modeling_own.py", "layers.py", "checkpoint-3/modeling_own.py"
    )
    trainer.push_to_hub("me/model")
    assert _sent(seen["upload"]) == {"config.json", "adapter_model.safetensors"}
    own = {"auto_map": {"AutoModelForCausalLM": "modeling_own.Own"}}
    (trainer.output_dir / "config.json").write_text(json.dumps(own))
    trainer.push_to_hub("me/model")
    code = {"modeling_own.py", "layers.py"}
    assert _sent(seen["upload"]) == {"config.json", "adapter_model.safetensors", *code}


def test_a_name_with_wildcards_stands_for_itself(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _calls(monkeypatch)
    _laid_out(trainer.output_dir, "vocab[1]", "vocab/1")
    trainer.push_to_hub("me/model")
    assert _sent(seen["upload"]) == {"vocab[1]", "adapter_model.safetensors"}


def test_the_error_of_a_failed_run_is_not_published(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = _calls(monkeypatch)
    _laid_out(trainer.output_dir, "config.json")
    failed = {"state": "failed", "error": "RewardError: ... (prompt 'private', completion 'too')"}
    (trainer.output_dir / "aligntune.json").write_text(json.dumps(failed))
    trainer.push_to_hub("me/model")
    assert _sent(seen["upload"]) == {"config.json", "adapter_model.safetensors"}


@pytest.mark.parametrize("here", [True, False])
def test_a_base_that_stays_here_is_warned_of(
    here: bool, trainer: Trainer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen = _calls(monkeypatch)
    base = trainer.output_dir / "base"
    _laid_out(trainer.output_dir, "base/config.json", "base/model.safetensors")
    settings = {"base_model_name_or_path": str(base) if here else "owner/base"}
    (trainer.output_dir / "adapter_config.json").write_text(json.dumps(settings))
    with caplog.at_level("WARNING", "aligntune"):
        trainer.push_to_hub("me/model")
    assert _sent(seen["upload"]) == {"adapter_config.json", "adapter_model.safetensors"}
    if here:
        assert f"the base model in {base}, which is not uploaded: whoever loads me/model" in caplog.text
        assert "save_model(merged=True)" in caplog.text
    else:
        assert not caplog.text


def test_one_process_of_several_uploads(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _calls(monkeypatch)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert trainer.push_to_hub("me/model") == "https://huggingface.co/me/model"
    assert not seen
    assert (trainer.output_dir / "adapter_model.safetensors").is_file()


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

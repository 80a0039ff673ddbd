"""Core's own ``prepare``: torch's device, and the tokenizer of every kind of model."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core import errors
from aligntune_core.backends.registry import Registry
from aligntune_core.config.schema.sections import Config
from aligntune_core.model import device as devices
from aligntune_core.model.device import torch_device
from aligntune_core.model.source import adapter_config, check_model
from aligntune_core.model.tokenizer import load_tokenizer, tokenizer_source

if TYPE_CHECKING:
    from tests.site import Site

TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


def config(name: Any, **model: Any) -> Config:
    return Config.model_validate(
        {"algorithm": "sft", "model": {"name": name, **model}, "data": {"dataset": "d"}}
    )


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a word-level tokenizer that knows the given words into a new folder."""

    def write(*known: str, template: str | None = None) -> Path:
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        vocabulary = {word: i for i, word in enumerate(("[UNK]", "[EOS]", *known))}
        inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
        inner.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", eos_token="[EOS]")
        tokenizer.chat_template = template
        folder = tmp_path_factory.mktemp("tokenizer")
        tokenizer.save_pretrained(folder)
        return folder

    return write


def test_it_answers_for_a_plugin_that_has_no_prepare(
    site: Site, source: Callable[..., str], tiny_model_dir: Path
) -> None:
    info = "@hookimpl\ndef backend_info(): return BackendInfo(summary='x', devices=('cpu', 'cuda', 'mps'))"
    site.backend("plain", source(prepare=None, backend_info=info))
    prepared = Registry().get("plain").prepare(config(str(tiny_model_dir)))
    assert prepared.device.kind == devices.available()[0]
    assert prepared.tokenizer.decode(prepared.tokenizer("world hello")["input_ids"]) == "world hello"
    assert {"torch", "transformers", "tokenizers"} <= prepared.versions.keys()


def test_the_plugins_own_prepare_goes_first(site: Site, source: Callable[..., str]) -> None:
    late = "@hookimpl(trylast=False)\ndef prepare(config): return Prepared(device=Device(kind='cpu'), tokenizer='mine')"
    site.backend("own", source(prepare=late))
    assert Registry().get("own").prepare(config("nowhere")).tokenizer == "mine"


def test_adapter_folder_with_and_without_a_tokenizer(tmp_path: Path, words: Callable[..., Path]) -> None:
    base = words("base")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(base), "revision": "v2"})
    )
    assert tokenizer_source(config(str(adapter)).model) == (str(base), "v2")
    assert load_tokenizer(config(adapter).model)("base")["input_ids"] == [2]
    for file in words("own", "word").iterdir():
        (adapter / file.name).write_bytes(file.read_bytes())
    assert tokenizer_source(config(str(adapter)).model) == (str(adapter), None)
    assert load_tokenizer(config(str(adapter)).model)("word")["input_ids"] == [3]


def test_adapter_folder_that_names_no_base(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(errors.ConfigError, match="names no base_model_name_or_path"):
        tokenizer_source(config(str(tmp_path)).model)


@pytest.mark.parametrize(
    ("text", "said"), [("{", "is no valid JSON"), ("[]", "must hold a JSON object, not list")]
)
def test_adapter_configuration_that_cannot_be_read(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(errors.ConfigError, match=said):
        adapter_config(str(tmp_path))


def test_adapter_configuration_of_what_is_no_adapter(tmp_path: Path) -> None:
    assert adapter_config(str(tmp_path)) is None
    assert adapter_config("org/model") is None
    assert adapter_config(object()) is None


def test_model_in_memory(words: Callable[..., Path]) -> None:
    folder = str(words("memory"))
    model = SimpleNamespace(config=SimpleNamespace(_name_or_path=folder))
    assert load_tokenizer(config(model).model)("memory")["input_ids"] == [2]
    nameless = SimpleNamespace(config=SimpleNamespace(_name_or_path=""))
    with pytest.raises(errors.ConfigError, match=r"does not say where it was loaded from.*tokenizer_name"):
        load_tokenizer(config(nameless).model)
    assert load_tokenizer(config(nameless, tokenizer=folder).model)("memory")["input_ids"] == [2]


def test_a_tokenizer_in_memory_is_copied(words: Callable[..., Path]) -> None:
    from transformers import AutoTokenizer

    mine = AutoTokenizer.from_pretrained(words("mine"))
    taken = load_tokenizer(config("org/model", tokenizer=mine, chat_template="{{ 'x' }}").model)
    assert taken("mine")["input_ids"] == [2]
    assert mine.chat_template is None
    with pytest.raises(
        errors.ConfigError, match="is an int; give a hub id, a folder or a transformers tokenizer"
    ):
        load_tokenizer(config("org/model", tokenizer=3).model)


def test_revision_belongs_to_the_models_repository() -> None:
    assert tokenizer_source(config("org/model", revision="v3").model) == ("org/model", "v3")
    assert tokenizer_source(config("org/model", revision="v3", tokenizer="org/other").model) == (
        "org/other",
        None,
    )


def test_revision_token_and_trust_reach_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    import transformers

    seen: dict[str, Any] = {}
    asked: dict[str, Any] = {}

    def note(name: str, **options: Any) -> Any:
        seen.update(name=name, **options)
        return SimpleNamespace(chat_template=None)

    # no hub to ask here
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", note)
    monkeypatch.setattr(
        huggingface_hub.HfApi, "model_info", lambda self, name, **options: asked.update(name=name, **options)
    )
    load_tokenizer(config("org/model", revision="v3", token="hf_secret", trust_remote_code=True).model)
    assert seen == {"name": "org/model", "revision": "v3", "token": "hf_secret", "trust_remote_code": True}
    assert asked.items() >= {"name": "org/model", "revision": "v3", "token": "hf_secret"}.items()


def test_the_hub_is_asked_once_for_a_model_and_its_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    import transformers

    asked: list[str] = []
    # no hub to ask here
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, name, **_: asked.append(name))
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda name, **_: object())
    model = config("org/asked-once").model
    check_model(model)
    load_tokenizer(model)
    assert asked == ["org/asked-once"]


def test_chat_template_replaces_the_tokenizers(words: Callable[..., Path]) -> None:
    folder = words("hi", template="{{ 'old' }}")
    talk = [{"role": "user", "content": "hi"}]
    assert load_tokenizer(config(str(folder)).model).apply_chat_template(talk, tokenize=False) == "old"
    new = load_tokenizer(config(str(folder), chat_template=TEMPLATE).model)
    assert new.apply_chat_template(talk, tokenize=False) == "user: hi\n"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("chatlm", 'is no Jinja template, no file and no name. Did you mean "chatml"'),
        ("ok\n{% for m in %}", "model.chat_template, line 2: "),
    ],
)
def test_chat_template_that_is_no_jinja(template: str, said: str) -> None:
    with pytest.raises(errors.ConfigError, match=said):
        load_tokenizer(config("org/model", chat_template=template).model)


def test_generation_blocks_are_let_pass(words: Callable[..., Path]) -> None:
    template = "{% for m in messages %}{% generation %}{{ m['content'] }}{% endgeneration %}{% endfor %}"
    loaded = load_tokenizer(config(str(words("hi")), chat_template=template).model)
    assert loaded.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"


def test_no_tokenizer_there(tmp_path: Path) -> None:
    with pytest.raises(
        errors.ConfigError, match=r"no tokenizer could be loaded from .*tokenizer_name"
    ) as caught:
        load_tokenizer(config(str(tmp_path)).model)
    assert caught.value.__cause__ is not None


def test_a_library_that_does_not_import_is_not_the_tokenizers_fault(
    words: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    def from_pretrained(source: str, **options: object) -> None:
        clash = RuntimeError("operator torchvision::nms does not exist")
        raise ModuleNotFoundError("Could not import module 'LlamaConfig'") from clash

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", from_pretrained)
    with pytest.raises(
        errors.ConfigError, match=r"torchvision::nms does not exist\. `aligntune doctor`"
    ) as caught:
        load_tokenizer(config(str(words("hi"))).model)
    assert "tokenizer_name" not in str(caught.value)


def test_accelerates_wish_for_the_cpu_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert torch_device().kind == "cpu"


def test_a_gpu_that_torch_cannot_use_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import torch

    if torch.accelerator.is_available():
        pytest.skip("torch can use the accelerator of this machine")
    # A GPU behind a driver that torch cannot use can't be made here; only the probe's answer is put in its place.
    monkeypatch.setattr(devices, "probe", lambda: devices.Probe(("cuda", "cpu"), ("NVIDIA driver: there",)))
    with caplog.at_level(logging.WARNING, logger="aligntune"):
        assert torch_device().kind == "cpu"
    assert "cannot use the cuda device here; training on the CPU" in caplog.text
    assert "NVIDIA driver: there" in caplog.text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("{}/modle", r'there is no model folder ".*/modle"\. Did you mean "model"\? Looked in'),
        ("./nowhere", r'there is no model folder "\./nowhere"\. Looked in'),
        ("{}/rows.jsonl", "is a file; a model is a folder"),
        ("~/model", "write the home folder out: "),
    ],
)
def test_a_path_that_is_no_folder_is_said_to_be_none(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(errors.ConfigError, match=said):
        load_tokenizer(config(name.format(tmp_path)).model)


def test_a_folder_without_configuration_or_weights(
    tmp_path: Path, tiny_model_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def problem(folder: Path) -> str:
        with pytest.raises(errors.ConfigError) as caught:
            check_model(config(str(folder)).model)
        return str(caught.value)

    empty, run, broken = (tmp_path / name for name in ("empty", "run", "broken"))
    empty.mkdir()
    assert "has neither config.json nor adapter_config.json; it is empty" in problem(empty)
    shutil.copytree(tiny_model_dir, run / "checkpoint-3")
    (run / "notes.txt").touch()
    said = problem(run)
    assert "it holds checkpoint-3, notes.txt" in said
    assert "Did you mean one of its own folders: checkpoint-3?" in said
    shutil.copytree(tiny_model_dir, broken, ignore=shutil.ignore_patterns("*.safetensors"))
    (broken / "training_args.bin").touch()
    check_model(config(str(broken)).model)
    assert "holds no weights (*.safetensors, *.bin), only " in caplog.text
    caplog.clear()
    check_model(config(str(tiny_model_dir)).model)
    check_model(config(object()).model)
    assert not caplog.text

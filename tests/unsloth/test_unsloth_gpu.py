"""Both backends on one GPU: the same runs within bf16's rounding, every trainer, nothing changed in silence."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.run import events

pytestmark = [pytest.mark.backend, pytest.mark.gpu, pytest.mark.timeout(900)]

# Largest difference of a loss, at any step of the trajectory, as a share of the loss. Kernels differ in the order of
# their sums and in where they round to bf16, and DPO takes differences of sums over hundreds of tokens.
# benchmarks/results has what was measured on a model of a billion weights.
TOLERANCE = {"sft": 5e-3, "dpo": 5e-2, "reward": 5e-2, "grpo": 5e-2, "dr_grpo": 5e-2, "dapo": 5e-2}
# Where completions are fixed: advantages add up to 0 over a group, so a loss is a small difference of large numbers.
NEAR_ZERO = {"grpo": 2e-3, "dapo": 2e-3, "dr_grpo": 2e-4}

COMMON: dict[str, Any] = {
    "max_steps": 6,
    "batch_size": 4,
    "learning_rate": 1e-3,
    "save_strategy": "no",
    "gradient_checkpointing": False,
}
LORA: dict[str, Any] = {"lora_r": 8}
FULL: dict[str, Any] = {"use_peft": False, "learning_rate": 1e-4}
QLORA: dict[str, Any] = {**LORA, "quantization": {"load_in_4bit": True}}
GROUP: dict[str, Any] = {"num_generations": 4, "max_completion_length": 32, "learning_rate": 1e-4}

# The same on both backends, loss by loss.
SAME: dict[str, tuple[str, dict[str, Any]]] = {
    "sft-lora": ("sft", LORA),
    "sft-qlora": ("sft", QLORA),
    "sft-full": ("sft", FULL),
    "sft-checkpointing": ("sft", {**LORA, "gradient_checkpointing": True}),
    "sft-fp16": ("sft", {**LORA, "precision": "fp16"}),
    "sft-packing": ("sft", {**LORA, "packing": True, "max_seq_length": 64, "max_steps": 3}),
    "dpo-lora": ("dpo", LORA),
    "dpo-qlora": ("dpo", QLORA),
    "dpo-full": ("dpo", FULL),
    "dpo-fp16": ("dpo", {**LORA, "precision": "fp16"}),
    "reward": ("reward", LORA),
    "reward-full": ("reward", FULL),
    "grpo-fixed": ("grpo", {**LORA, **GROUP, "num_iterations": 2, "beta": 0.04, "learning_rate": 1e-3}),
    "dr_grpo-fixed": ("dr_grpo", {**LORA, **GROUP, "num_iterations": 2, "learning_rate": 1e-3}),
    "dapo-fixed": ("dapo", {**LORA, **GROUP, "num_iterations": 2, "learning_rate": 1e-3}),
}
# Sampled completions differ with the kernels: these run, and learn from what they sampled.
ONLINE: dict[str, tuple[str, dict[str, Any]]] = {
    "grpo": ("grpo", {**LORA, **GROUP, "beta": 0.04}),
    "dr_grpo": ("dr_grpo", {**LORA, **GROUP}),
    "dapo": ("dapo", {**LORA, **GROUP, "max_completion_length": 256, "batch_size": 16}),
    "dapo-unmasked": ("dapo", {**LORA, **GROUP, "mask_truncated_completions": False}),
    "ppo": ("ppo", {**LORA, "max_completion_length": 32, "learning_rate": 1e-4}),
    "grpo-full": ("grpo", {**GROUP, **FULL, "beta": 0.04}),
    "dr_grpo-full": ("dr_grpo", {**GROUP, **FULL}),
    "dapo-full": ("dapo", {**GROUP, **FULL, "mask_truncated_completions": False}),
    "ppo-full": ("ppo", {**FULL, "max_completion_length": 32}),
    "grpo-fp16": ("grpo", {**LORA, **GROUP, "beta": 0.04, "precision": "fp16"}),
}
REFUSED: dict[str, tuple[str, str, dict[str, Any]]] = {"fp32": ("precision", "sft", {"precision": "fp32"})}
# The calls of the page that the Unsloth backend is to honour, with local paths: a checkpoint that is stored in 4-bit.
PAGE: dict[str, tuple[str, dict[str, Any]]] = {
    "page-sft": ("sft", {"num_epochs": 3, "batch_size": 4, "learning_rate": 5e-5}),
    "page-qlora": (
        "sft",
        {
            "num_epochs": 3,
            "batch_size": 4,
            "learning_rate": 5e-5,
            "use_peft": True,
            "lora_r": 8,
            "lora_alpha": 16,
            "lora_dropout": 0.05,
        },
    ),
    "page-sft-enum": (
        "sft",
        {"num_epochs": 1, "batch_size": 4, "learning_rate": 5e-5, "backend": "BackendType"},
    ),
    "page-dpo": ("dpo", {"num_epochs": 1, "batch_size": 1, "learning_rate": 1e-6}),
    "page-ppo": ("ppo", {"num_epochs": 1, "batch_size": 1, "learning_rate": 1e-6}),
}
# One process each: a process costs most of a minute of imports, and a job up to half a minute of compilation.
PROCESSES = (
    ("sft-lora", "sft-qlora", "sft-checkpointing"),
    ("offloaded", "sft-packing", "sft-full"),
    ("dpo-lora", "dpo-qlora", "dpo-full"),
    ("refused fp32", "reward", "reward-full", "ppo"),
    ("grpo", "dr_grpo"),
    ("grpo-fixed", "dr_grpo-fixed", "dapo-fixed"),
    ("dapo", "dapo-unmasked"),
    ("page-sft", "page-qlora", "page-sft-enum"),
    ("page-dpo", "page-ppo"),
    ("grpo-full", "dr_grpo-full"),
    ("dapo-full", "ppo-full"),
    ("sft-fp16", "dpo-fp16", "grpo-fp16"),
)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with heads of 64, as Unsloth's kernels want them."""
    import torch
    from transformers import LlamaForCausalLM

    from aligntune_core.testing.tiny import make_config, make_tokenizer

    folder, tokenizer = tmp_path_factory.mktemp("model"), make_tokenizer()
    torch.manual_seed(0)
    wide = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2}
    LlamaForCausalLM(make_config(tokenizer, **wide)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def page_files(model_dir: Path) -> dict[str, str]:
    """What the page's calls name: a 4-bit checkpoint, a reward model, rows like alpaca's and hh-rlhf's."""
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
        BitsAndBytesConfig,
    )

    root, tokenizer = model_dir.parent, AutoTokenizer.from_pretrained(model_dir)
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    AutoModelForCausalLM.from_pretrained(
        model_dir, quantization_config=nf4, device_map={"": 0}
    ).save_pretrained(root / "small-bnb-4bit")
    AutoModelForSequenceClassification.from_pretrained(model_dir, num_labels=1).save_pretrained(
        root / "judge"
    )
    for folder in ("small-bnb-4bit", "judge"):
        tokenizer.save_pretrained(root / folder)
    alpaca = [
        {"instruction": f"Add {n} and one.", "input": "", "output": f"That is {n + 1}.", "text": "unused"}
        for n in range(8)
    ]
    said = "\n\nHuman: what is {0} and one?\n\nAssistant: it is {1}."
    pairs = [{"chosen": said.format(n, n + 1), "rejected": said.format(n, n)} for n in range(4)]
    files = {"model": str(root / "small-bnb-4bit"), "judge": str(root / "judge")}
    for name, content in (("alpaca", alpaca), ("pairs", pairs)):
        path = root / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
        files[name] = str(path)
    return files


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, in_a_process: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    model_dir, files = request.getfixturevalue("model_dir"), request.getfixturevalue("page_files")
    root = tmp_path_factory.mktemp("gpu")

    def job(algorithm: str, name: str, backend: str, keywords: dict[str, Any]) -> dict[str, Any]:
        place = {"backend": backend, "output_dir": str(root / name / backend), "model_name": str(model_dir)}
        return {
            "algorithm": algorithm,
            "keywords": {**place, **COMMON, **keywords},
            "merge": name == "sft-lora",
            "fixed": name.endswith("-fixed"),
        }

    def page(algorithm: str, name: str, keywords: dict[str, Any]) -> dict[str, Any]:
        place = {"backend": "unsloth", "output_dir": str(root / name), "model_name": files["model"]}
        place["dataset_name"] = files["alpaca" if algorithm == "sft" else "pairs"]
        if algorithm == "ppo":
            place |= {"reward_model_name": files["judge"]}
        return {"algorithm": algorithm, "keywords": {**place, **keywords}}

    def jobs(backend: str) -> dict[str, Any]:
        return {n: job(a, n, backend, k) for n, (a, k) in {**SAME, **ONLINE}.items()}

    every = jobs("unsloth") | {n: page(a, n, k) for n, (a, k) in PAGE.items()}
    every["offloaded"] = job("sft", "offloaded", "unsloth", {**LORA, "gradient_checkpointing": "unsloth"})
    every |= {f"refused {n}": job(a, f"refused-{n}", "unsloth", k) for n, (_, a, k) in REFUSED.items()}
    assert set(every) == {name for names in PROCESSES for name in names}
    each = [jobs("trl"), *({name: every[name] for name in names} for names in PROCESSES)]
    with ThreadPoolExecutor(len(each)) as pool:
        started = [pool.submit(in_a_process, j, root / f"process-{n}", 560) for n, j in enumerate(each)]
        trl, *others = [future.result() for future in started]
    unsloth: dict[str, Any] = {}
    for found in others:
        unsloth |= found
    unsloth["stdout"] = "".join(found["stdout"] for found in others)
    return {"trl": trl, "unsloth": unsloth, "root": {"path": root}}


def both(runs: dict[str, dict[str, Any]], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    trl, unsloth = runs["trl"][name], runs["unsloth"][name]
    for found in (trl, unsloth):
        assert "error" not in found, found["trace"]
    return trl, unsloth


def losses(found: dict[str, Any]) -> list[float]:
    return [entry["loss"] for entry in found["log"]]


@pytest.mark.parametrize("name", SAME)
def test_the_same_run_on_both(runs: dict[str, dict[str, Any]], name: str) -> None:
    trl, unsloth = both(runs, name)
    own = {"run.output_dir", "rewards.functions", "data.num_proc"}  # never the maths
    assert {k: v for k, v in unsloth["effective"].items() if k not in own and v != trl["effective"][k]} == {}
    assert unsloth["steps"] == trl["steps"]
    rates = [[e["learning_rate"] for e in found["log"]] for found in (trl, unsloth)]
    assert rates[0] == rates[1]
    assert [b[:2] for b in unsloth["batches"]] == [b[:2] for b in trl["batches"]]
    algorithm = SAME[name][0]
    rel, near_zero = TOLERANCE[algorithm], NEAR_ZERO.get(algorithm, 0.0)
    assert losses(unsloth) == pytest.approx(losses(trl), rel=rel, abs=near_zero)
    if near_zero:
        assert max(map(abs, losses(trl))) > 5 * near_zero
        norms = [[e["grad_norm"] for e in found["log"]] for found in (trl, unsloth)]
        assert norms[1] == pytest.approx(norms[0], rel=rel)
    if name.startswith("dpo"):
        assert losses(unsloth)[0] == pytest.approx(math.log(2), abs=1e-2)


@pytest.mark.parametrize("name", SAME)
def test_the_same_trainable_weights_in_float32(runs: dict[str, dict[str, Any]], name: str) -> None:
    import torch

    both(runs, name)
    root = runs["root"]["path"] / name
    trl, unsloth = (torch.load(root / backend / "start.pt") for backend in ("trl", "unsloth"))
    assert set(unsloth) == set(trl)
    assert {p.dtype for p in unsloth.values()} == {torch.float32}
    assert [k for k in trl if not torch.equal(trl[k], unsloth[k])] == []


@pytest.mark.parametrize("name", [name for name, (algorithm, _) in SAME.items() if algorithm == "sft"])
def test_the_same_tokens_are_counted(runs: dict[str, dict[str, Any]], name: str) -> None:
    """Unsloth's loss on a GPU counts none: the plugin does."""
    both(runs, name)
    root = runs["root"]["path"] / name
    trl, unsloth = (
        [line for line in events.read(root / backend / "metrics.jsonl") if "loss" in line]
        for backend in ("trl", "unsloth")
    )
    assert [line["tokens"] for line in unsloth] == [line["tokens"] for line in trl]
    assert all(line["tokens_per_second"] > 0 for line in unsloth)


@pytest.mark.parametrize("name", ONLINE)
def test_online_algorithms_learn_from_what_they_sample(runs: dict[str, dict[str, Any]], name: str) -> None:
    trl, unsloth = both(runs, name)
    assert unsloth["steps"] == trl["steps"] == COMMON["max_steps"]
    assert all(math.isfinite(loss) for loss in losses(unsloth))
    assert any(entry["grad_norm"] > 0 for entry in unsloth["log"])
    assert all("reward" in entry for entry in unsloth["log"])
    own = {"run.output_dir", "rewards.functions", "data.num_proc"}  # never the maths
    assert {k: v for k, v in unsloth["effective"].items() if k not in own and v != trl["effective"][k]} == {}


def test_an_adapter_of_unsloth_is_read_by_plain_peft(
    runs: dict[str, dict[str, Any]], model_dir: Path, driver: dict[str, Any]
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    both(runs, "sft-lora")
    root = runs["root"]["path"] / "sft-lora"
    for backend in ("trl", "unsloth"):
        base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.bfloat16).cuda()
        adapted = PeftModel.from_pretrained(base, root / backend)
        trained = torch.load(root / backend / "logits.pt")
        assert (driver["logits"](adapted) - trained).abs().max() < 0.05 * trained.std()
        merged = AutoModelForCausalLM.from_pretrained(root / backend / "merged", dtype=torch.bfloat16).cuda()
        assert (driver["logits"](merged) - trained).abs().max() < 0.1 * trained.std()


def test_offloaded_checkpoints_are_in_force(runs: dict[str, dict[str, Any]]) -> None:
    found = runs["unsloth"]["offloaded"]
    assert "error" not in found, found["trace"]
    assert found["effective"]["optim.gradient_checkpointing"] == "'unsloth'"
    assert losses(found) == pytest.approx(losses(runs["unsloth"]["sft-lora"]), rel=TOLERANCE["sft"])


@pytest.mark.parametrize("name", PAGE)
def test_the_calls_of_the_page_run(runs: dict[str, dict[str, Any]], name: str) -> None:
    found = runs["unsloth"][name]
    assert "error" not in found, found["trace"]
    epochs, rows = PAGE[name][1]["num_epochs"], 8 if PAGE[name][0] == "sft" else 4
    assert found["steps"] == epochs * rows // PAGE[name][1]["batch_size"]
    assert all(math.isfinite(loss) for loss in losses(found))


@pytest.mark.parametrize("name", REFUSED)
def test_what_unsloth_would_change_is_refused(runs: dict[str, dict[str, Any]], name: str) -> None:
    said = runs["unsloth"][f"refused {name}"].get("error", "nothing")
    assert said.startswith(("ConfigError", "ContractViolation"))
    assert REFUSED[name][0] in said


def test_nothing_is_left_in_the_working_directory(runs: dict[str, dict[str, Any]]) -> None:
    assert runs["unsloth"]["left"] == ["jobs.json", "out.json"]
    assert runs["unsloth"]["stdout"] == ""

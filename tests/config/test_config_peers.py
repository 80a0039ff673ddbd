"""Keywords of other libraries: each means a field of ours, or its error says what to do; hints are for slips only."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from aligntune_core.algorithms import find, known
from aligntune_core.config import keywords as kw
from aligntune_core.config import paths, resolve_config
from aligntune_core.config.read.peers import DEFAULTS, NOT_OFFERED, TRANSLATED
from aligntune_core.errors import ConfigError
from aligntune_core.wording import nearest

if TYPE_CHECKING:
    from tests.config.conftest import Make, Refused

PEERS: dict[str, str] = yaml.safe_load(
    Path(__file__).with_name("peer_names.yaml").read_text(encoding="utf-8")
)

# Defaults of theirs that ask for something else than ours do.
OTHER_DEFAULTS = {
    ("ModelConfig", "dtype"),  # float32; ours follows precision
    ("KTOConfig", "train_sampling_strategy"),  # sequential; ours draws at random
    ("LoraConfig", "runtime_config"),  # an object
    ("ScriptArguments", "dataset_name"),
    ("ModelConfig", "model_name_or_path"),
}
# What people convert; the algorithms of the others are not offered.
USED = {
    "SFTConfig", "DPOConfig", "GRPOConfig", "KTOConfig", "RewardConfig", "ModelConfig", "ScriptArguments",
    "TrainingArguments", "LoraConfig",
}  # fmt: skip


@cache
def of_peers() -> frozenset[str]:
    parameters = {name for a in known().values() for name in kw.parameter_names(a.parameters)}
    inside = {name for section in kw.sections() for name in kw.in_section(section)}
    return frozenset({*kw.sections(), *kw.flat(), *TRANSLATED, *NOT_OFFERED, *parameters, *inside})


def configurations() -> Iterator[tuple[str, type]]:
    """Name and class of every configuration that the installed libraries have, and that scripts set."""
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    trl = pytest.importorskip("trl")
    for name in dir(trl):
        member = getattr(trl, name, None) if name.endswith(("Config", "Arguments")) else None
        if isinstance(member, type) and dataclasses.is_dataclass(member):
            yield name, member
    yield "TrainingArguments", transformers.TrainingArguments
    yield "LoraConfig", peft.LoraConfig


def experimental() -> Iterator[tuple[str, str]]:
    """Configuration and field of the folders of TRL that may change at any time; read, since importing takes long."""
    spec = find_spec("trl")
    assert spec is not None
    assert spec.origin is not None
    for path in sorted(Path(spec.origin).with_name("experimental").glob("*/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Config"):
                for part in node.body:
                    if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                        yield node.name, part.target.id


@pytest.mark.backend
def test_every_argument_of_the_installed_libraries_means_something_here() -> None:
    stable = [
        (name, f.name) for name, configuration in configurations() for f in dataclasses.fields(configuration)
    ]
    unread = {f"{name}.{field}" for name, field in [*stable, *experimental()] if field not in of_peers()}
    assert not unread, "put them into aligntune_core/config/read/peers"


@pytest.mark.parametrize("peer", PEERS)
def test_every_setting_of_a_peer_means_something_here(peer: str) -> None:
    assert not [name for name in PEERS[peer].split() if name not in of_peers()]


def _default(field: Any) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


@pytest.mark.backend
def test_the_defaults_of_the_installed_libraries_ask_for_nothing_that_is_not_offered() -> None:
    wrong = []
    for name, configuration in configurations():
        if name not in USED:
            continue
        try:
            algorithm = find(name.removesuffix("Config")).name
        except ConfigError:
            algorithm = "sft"
        for field in dataclasses.fields(configuration):
            value = _default(field)
            if (name, field.name) in OTHER_DEFAULTS or field.name == "r":
                continue
            try:
                resolve_config(
                    algorithm=algorithm, **{"model_name": "m", "dataset_name": "d", field.name: value}
                )
            except ConfigError as error:
                wrong.append(f"{name}: {error}")
    assert not wrong, "\n".join(wrong)


def test_what_is_translated_or_not_offered_is_so_in_one_place() -> None:
    assert not set(TRANSLATED) & set(NOT_OFFERED)
    assert set(DEFAULTS) <= set(TRANSLATED) | set(NOT_OFFERED)


def test_what_is_not_offered_comes_with_a_reason() -> None:
    assert not [name for name, why in NOT_OFFERED.items() if len(why.split()) < 3]


@pytest.mark.parametrize(
    ("keywords", "path", "value"),
    [
        ({"cutoff_len": 77}, "data.max_seq_length", 77),
        ({"sequence_len": 77}, "data.max_seq_length", 77),
        ({"micro_batch_size": 3}, "optim.batch_size", 3),
        ({"model_revision": "v1"}, "model.revision", "v1"),
        ({"preprocessing_num_workers": 3}, "data.num_proc", 3),
        ({"finetuning_type": "full"}, "peft.enabled", False),
        ({"adapter": "qlora"}, "model.quantization.load_in_4bit", True),
        ({"full_finetuning": True}, "peft.enabled", False),
        ({"lora_target": "all"}, "peft.target_modules", "all-linear"),
        ({"lora_target": "q_proj, v_proj"}, "peft.target_modules", ["q_proj", "v_proj"]),
        ({"lora_target_linear": True}, "peft.target_modules", "all-linear"),
        ({"additional_target": "embed_tokens,lm_head"}, "peft.modules_to_save", ["embed_tokens", "lm_head"]),
        ({"init_lora_weights": "pissa"}, "peft.init", "pissa"),
        ({"init_lora_weights": True}, "peft.init", "default"),
        ({"quantization_bit": 4}, "model.quantization.load_in_4bit", True),
        ({"quant_bits": 8}, "model.quantization.load_in_8bit", True),
        ({"quantization_config": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}},
         "model.quantization.bnb_4bit_quant_type", "fp4"),
        ({"random_state": 7}, "run.seed", 7),
        ({"bf16": "auto"}, "model.precision", "auto"),
        ({"train_on_inputs": True}, "data.completion_only_loss", False),
        ({"train_on_prompt": False}, "data.completion_only_loss", True),
        ({"warmup_steps": 0.1}, "optim.warmup_ratio", 0.1),
        ({"sample_packing": True}, "data.packing", True),
        ({"columns": {"q": "prompt"}}, "data.column_mapping", {"q": "prompt"}),
        ({"prompt_key": "q", "output_key": "a"}, "data.column_mapping", {"q": "prompt", "a": "completion"}),
        ({"flash_attn": "fa2"}, "model.attn_implementation", "flash_attention_2"),
        ({"compile": True}, "optim.torch_compile", True),
        ({"disable_gradient_checkpointing": True}, "optim.gradient_checkpointing", False),
        ({"evaluation_strategy": "epoch", "eval_split": "test"}, "run.eval_strategy", "epoch"),
        ({"use_dft_loss": True}, "parameters.loss_type", "dft"),
    ],
)  # fmt: skip
def test_a_keyword_of_a_peer_means_our_field(
    sft: Make, keywords: dict[str, Any], path: str, value: Any
) -> None:
    assert paths(sft(**keywords))[path] == value


def test_parameters_under_the_names_of_peers(rl: Make, refused: Refused) -> None:
    assert rl("dpo", pref_beta=0.3, pref_loss="hinge") == rl("dpo", beta=0.3, loss_type="hinge")
    assert rl("kto", kto_chosen_weight=2.0) == rl("kto", desirable_weight=2.0)
    assert rl("grpo", clip_ratio=0.3, n_samples_per_prompt=4) == rl("grpo", epsilon=0.3, num_generations=4)
    assert rl("ppo", eps_clip=0.3) == rl("ppo", cliprange=0.3)
    assert refused(rl, "dpo", kto_desirable_weight=2.0) == [
        "kto_desirable_weight=2.0 is not offered for dpo: it is desirable_weight of kto"
    ]
    assert refused(rl, "dpo", train_on_inputs=True) == [
        "train_on_inputs=True is not offered for dpo: it is completion_only_loss of sft"
    ]
    assert rl("dpo", stage="dpo", sample_packing=False) == rl("dpo")


@pytest.mark.parametrize(
    ("keywords", "part"),
    [
        ({"stage": "dpo"}, 'write algorithm="dpo"'),
        ({"stage": "pt"}, "text_column"),
        ({"rl": "ipo"}, 'loss_type="ipo"'),
        ({"rlhf_type": "orpo"}, "no algorithm of ours"),
        ({"adapter": "oft"}, "use_peft"),
        ({"val_set_size": 500}, 'eval_split="train[-500:]"'),
        ({"resume_from_checkpoint": True}, "--resume"),
        ({"quantization_bit": 3}, "load_in_4bit"),
        ({"pref_ftx": 0.1}, "loss_weights"),
        ({"orpo_alpha": 0.1}, "not offered"),
        ({"save_safetensors": False}, "written as safetensors"),
        ({"dataloader_drop_last": True}, "every row"),
        ({"train_batch_size": 64}, "gradient_accumulation_steps"),
        ({"eot_tokens": ["x"]}, "chat template"),
        ({"truncation_strategy": "delete"}, "truncation_mode"),
    ],
)
def test_what_has_no_counterpart_says_what_to_do(
    sft: Make, refused: Refused, keywords: dict[str, Any], part: str
) -> None:
    [problem] = refused(sft, **keywords)
    assert part in problem
    assert "Did you mean" not in problem


@pytest.mark.parametrize(
    ("name", "part"),
    [("ipo", 'loss_type="ipo"'), ("orpo", "not offered"), ("pt", "text_column"), ("gkd", "distillation"),
     ("xyz", "there is no algorithm"), ("gppo", "there is no algorithm")],
)  # fmt: skip
def test_an_algorithm_of_the_field_is_not_taken_for_another(name: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find(name)
    assert part in str(caught.value)
    assert "Did you mean" not in str(caught.value)


def test_the_reward_model_stage_is_the_reward_algorithm() -> None:
    assert find("rm") is find("reward")


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("eos_token", ["token"]), ("orpo_alpha", ["lora_alpha"]), ("base_model", ["sync_ref_model"]),
        ("resume_from_checkpoint", ["use_gradient_checkpointing"]), ("min_steps", ["max_steps"]),
        ("adam_beta3", ["adam_beta2"]), ("load_in_2bit", ["load_in_4bit"]), ("use_qlora", ["use_lora"]),
        ("question_id", ["question", "prompt"]), ("ipo", ["ppo"]), ("", ["a"]), ("-", ["_"]),
    ],
)  # fmt: skip
def test_another_word_is_no_slip(name: str, others: list[str]) -> None:
    assert nearest(name, others) is None


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("learnign_rate", "learning_rate"), ("batchsize", "batch_size"), ("eval_step", "eval_steps"),
        ("asistant", "assistant"), ("chosn", "chosen"), ("maxseq_length", "max_seq_length"), ("seeed", "seed"),
        ("warmup", "warmup_steps"), ("LEARNING-RATE", "learning_rate"),
    ],
)  # fmt: skip
def test_a_slip_names_what_is_meant(name: str, meant: str) -> None:
    assert nearest(name, ["eval_batch_size", "token", meant, "prompt"]) == meant


@pytest.mark.parametrize(
    "value", [True, 3, 0.5, "x", [[1]], {"a": [1]}, object(), b"x"], ids=lambda v: type(v).__name__
)
def test_no_value_of_a_peers_keyword_is_more_than_refused(value: Any) -> None:
    problems = [_problems(name, value) for name in TRANSLATED]
    assert any(problems)
    assert not [text for text in problems if "Did you mean" in text]


def _problems(name: str, value: Any) -> str:
    try:
        resolve_config(algorithm="sft", **{"model_name": "m", "dataset_name": "d", name: value})
    except ConfigError as error:
        return str(error)
    return ""


def test_a_hint_fits_the_value(sft: Make, refused: Refused) -> None:
    assert refused(sft, warmup_stepz=5)[0].endswith('Did you mean "warmup_steps"?')
    assert "Did you mean" not in refused(sft, warmup_stepz="linear")[0]
    assert "Did you mean" not in refused(sft, seeds=[1, 2])[0]
    assert "Did you mean" not in refused(sft, rant=4)[0]
    assert "Did you mean" not in refused(sft, save=True)[0]
    assert refused(sft, train="x")[0].endswith("Keywords that begin so: train_dataset, train_split.")


@pytest.mark.parametrize("name", ["fa2", "flash_attn", "xformers"])
def test_kernels_of_peers_are_named_as_here(sft: Make, refused: Refused, name: str) -> None:
    assert refused(sft, attn_implementation=name)[0].endswith('" here')

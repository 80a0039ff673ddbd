"""What fields say of themselves beside type and range: on resuming, and for the kit."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from aligntune_core.algorithms import find
from aligntune_core.algorithms.catalogue import own
from aligntune_core.config import load_config, paths
from aligntune_core.config.keywords import entry_of, on_resume, parameters_of, sections, tree
from aligntune_core.fields import OnResume, extra_of, option
from aligntune_core.testing.fixtures import changes

HELD = {
    *("algorithm", "model.name", "optim.learning_rate", "optim.optimizer", "optim.weight_decay"),
    *("optim.adam_beta1", "optim.adam_beta2", "optim.adam_epsilon", "optim.loraplus_lr_ratio"),
}
CHANGES = {
    *("model.precision", "model.quantization", "model.tokenizer", "model.revision"),
    *("model.chat_template", "model.chat_template_kwargs", "model.eos_token"),
    *("optim.lr_scheduler", "optim.max_grad_norm", "optim.warmup_steps", "optim.warmup_ratio", "optim.tf32"),
    *("optim.num_epochs", "optim.max_steps", "optim.batch_size", "optim.gradient_accumulation_steps"),
    *("run.seed", "run.data_seed", "run.eval_strategy", "run.eval_steps", "run.load_best_model_at_end"),
    *("run.metric_for_best_model", "run.greater_is_better"),
    *("data.dataset", "data.config_name", "data.split", "data.eval_dataset", "data.eval_split"),
    *("data.max_samples", "data.max_eval_samples", "data.column_mapping", "data.text_column"),
    *("data.streaming", "data.on_bad_rows", "data.system_prompt", "data.rendered", "data.train_on"),
    *("data.max_seq_length", "data.truncation_mode", "data.packing", "data.packing_strategy"),
    *("data.completion_only_loss", "data.group_by_length"),
    *("optim.lr_scheduler_kwargs", "optim.min_learning_rate", "optim.neftune_noise_alpha"),
    *("run.early_stopping_patience", "run.early_stopping_threshold", "run.evals_per_epoch"),
}


def test_what_a_checkpoint_holds_and_what_changes_from_there_on() -> None:
    sft = find("sft")
    meaning = {path: on_resume(path, sft) for path in tree() if path not in sections()}
    peft = {path for path in meaning if path.startswith("peft.")}
    rewards = {path for path in meaning if path.startswith("rewards.")}
    quantization = {path for path in meaning if path.startswith("model.quantization.")}
    assert {path for path, is_ in meaning.items() if is_ == "held"} == HELD | peft
    assert {path for path, is_ in meaning.items() if is_ == "changes"} == CHANGES | rewards | quantization


def test_every_field_of_rows_schedule_and_run_has_a_decided_meaning() -> None:
    sft = find("sft")
    undecided = [
        path
        for path in tree()
        if path.startswith(("data.", "optim.", "run.")) and on_resume(path, sft) not in get_args(OnResume)[1:]
    ]
    assert undecided == []


def test_parameters_change_from_there_on() -> None:
    for algorithm in own():
        for entry in parameters_of(algorithm.parameters).values():
            assert on_resume(entry.path, algorithm) == "changes"


def test_a_key_within_a_field_is_as_the_field() -> None:
    assert on_resume("parameters.vllm_options.vllm_gpu_memory_utilization", find("grpo")) == "changes"
    assert on_resume("peft.target_modules.x", find("sft")) == "held"
    assert on_resume("model.device_map.lm_head", find("sft")) == ""
    assert on_resume("parameters.of_another_version", find("sft")) == "changes"
    assert on_resume("a.field.of.another.version", find("sft")) == ""


def test_a_parameter_is_found_by_its_algorithm() -> None:
    beta = entry_of("parameters.beta", find("dpo"))
    assert beta is not None
    assert beta.info.default == 0.1
    assert entry_of("parameters.beta", find("sft")) is None
    assert entry_of("optim.tf32", find("sft")) is tree()["optim.tf32"]


@pytest.mark.parametrize("example", [False, 0, "", [], "sgd"])
def test_an_example_is_kept_whatever_it_is(example: Any) -> None:
    assert extra_of(option("a field", example=example))["example"] == example
    assert "example" not in extra_of(option("a field"))


# Takes objects that only a process with transformers can make.
WITHOUT = {"run.callbacks"}


@pytest.mark.parametrize("path", sorted(set(changes.backend_paths()) - WITHOUT))
def test_every_field_that_a_backend_may_honour_has_a_second_value(path: str) -> None:
    honoured = changes.backend_paths()
    algorithms = [a for a in own() if a.has(tree()[path].only)]
    found = [changes.change(path, changes.base(a.name, "a-model", honoured), honoured) for a in algorithms]
    assert any(found)
    for change in filter(None, found):
        base = {p: v for p, v in change.items() if p != path}
        assert paths(load_config(change))[path] != paths(load_config(base)).get(path)


@pytest.mark.parametrize("algorithm", [a.name for a in own()])
def test_every_parameter_has_a_second_value_unless_it_makes_the_algorithm(algorithm: str) -> None:
    honoured = changes.backend_paths()
    base = changes.base(algorithm, "a-model", honoured)
    fixed = [
        entry.field
        for entry in parameters_of(find(algorithm).parameters).values()
        if changes.change(entry.path, base, honoured) is None
    ]
    made_by = {
        "gspo": ["loss_type", "importance_sampling_level"],
        "dapo": ["loss_type", "importance_sampling_level"],
        "dr_grpo": ["loss_type", "importance_sampling_level"],
    }
    assert sorted(fixed) == sorted(made_by.get(algorithm, []))

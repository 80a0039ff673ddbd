"""The contract that plugins are built on, written down: a change here is a change for every plugin author."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from aligntune_core import hookspecs, toolkit, types
from aligntune_core.backends.validation import hook_arguments

# Within a major version arguments and fields may be added (fields with a default), never removed or renamed.
HOOKS = {
    "backend_info": "() -> BackendInfo | None",
    "supports_algorithm": "(algorithm: str) -> bool | Support | None",
    "problems": "(config: Any) -> Sequence[str] | None",
    "prepare": "(config: Any) -> Prepared | None",
    "planned": "(config: Any, prepared: Prepared) -> Mapping[str, Any] | None",
    "remarks": "(config: Any, prepared: Prepared) -> Sequence[str] | None",
    "tokenize": (
        "(rows: Sequence[Mapping[str, Any]], loss: LossOn, config: Any, prepared: Prepared)"
        " -> Sequence[RowTokens] | None"
    ),
    "load_model": "(config: Any, prepared: Prepared) -> LoadedModel | None",
    "apply_peft": "(loaded: LoadedModel, config: Any, prepared: Prepared) -> LoadedModel | None",
    "build_trainer": (
        "(loaded: LoadedModel, config: Any, datasets: Datasets, prepared: Prepared, run: RunContext)"
        " -> Engine | None"
    ),
}
# Of these every answer counts: a backend's and those of its extensions. Of the others the first does.
COLLECTED = {"backend_info", "problems", "remarks"}
FIELDS = {
    "BackendInfo": (
        "summary=... honours=... options=... devices=... opt_in_devices=... quantizations=... strategies=... "
        "generators=... priority=... import_first=... forbids=... url=..."
    ),
    "Support": "ok reason=...",
    "Device": "kind name=... bf16=... count=... memory_bytes=...",
    "Topology": "rank=... local_rank=... world_size=...",
    "Prepared": "device tokenizer=... vocabulary=... versions=... topology=... state=...",
    "LoadedModel": "model tokenizer roles=...",
    "RowTokens": "length=... truncated=... problem=... column=... remark=... columns=...",
    "Datasets": "train eval=... fingerprint=... report=...",
    "RunContext": "output_dir cache_dir artifact checkpoint_dir emit stop topology=...",
    "Sampling": "max_new_tokens=... temperature=... top_p=... n=... stop=... seed=...",
    "TrainResult": "steps metrics=... stopped=... final_loss=... training_time=... model_path=...",
}
ENGINE = {
    "native": "property",
    "model": "property",
    "effective": "(self) -> Mapping[str, Any]",
    "train": "(self, resume_from: Path | None = None) -> TrainResult",
    "evaluate": "(self, rows: Any = None) -> Mapping[str, float]",
    "save": "(self, path: Path, form: Form) -> None",
    "generate": "(self, prompts: Sequence[Any], sampling: Sampling) -> list[str]",
    "close": "(self) -> None",
}
# What a plugin may import beside the types. Names are added, never taken away.
TOOLKIT = """
Algorithm Argument BackendUnavailable Batch CheckpointError ConfigError DataError Default Generation HookError
NonFiniteLoss Reward RewardError RewardSet RunError Section Table Targets a_type adapter_config build_rewards
built_targets cache_folder
check_base check_ends check_model check_positions checkpoints classifier_problems compare completion_text covers
did_you_mean epochs find_algorithm installed_version keep keyword_of language_model_problems learning_rate listed
load_tokenizer model_skeleton named one_line option parameter_arguments paths plain prepare_by_default probe prompt_text
read read_rewards recorded_environment resolve_targets same seed_everything shorten step_of target_problems
text_part_remark torch_device value_at versions weight_format_problems weights_problem world write written
"""


def signature(function: object) -> str:
    return str(inspect.signature(function)).replace("'", "")  # type: ignore[arg-type]


def test_hooks() -> None:
    assert list(hook_arguments()) == list(HOOKS)
    assert {name: signature(getattr(hookspecs, name)) for name in HOOKS} == HOOKS
    collected = {name for name in HOOKS if not getattr(hookspecs, name).aligntune_spec["firstresult"]}
    assert collected == COLLECTED


@pytest.mark.parametrize("name", FIELDS)
def test_types(name: str) -> None:
    kind = getattr(types, name)
    fields = [
        field.name
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        else f"{field.name}=..."
        for field in dataclasses.fields(kind)
    ]
    assert " ".join(fields) == FIELDS[name]
    assert kind.__dataclass_params__.frozen


def test_engine() -> None:
    members = {n: v for n, v in vars(types.Engine).items() if not n.startswith("_")}
    signatures = {n: "property" if isinstance(v, property) else signature(v) for n, v in members.items()}
    assert signatures == ENGINE


def test_toolkit() -> None:
    assert set(toolkit.__all__) >= set(TOOLKIT.split())
    for name in toolkit.__all__:
        assert getattr(toolkit, name) is not None

"""The contract that plugins are built on, written down: a change here is a change for every plugin author."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from aligntune_core import hookspecs, types
from aligntune_core.backends.validation import hook_arguments

# Within a major version arguments and fields may be added (fields with a default), never removed or renamed.
HOOKS = {
    "backend_info": "() -> BackendInfo | None",
    "supports_algorithm": "(algorithm: str) -> bool | Support | None",
    "prepare": "(config: Config) -> Prepared | None",
    "load_model": "(config: Config, prepared: Prepared) -> LoadedModel | None",
    "apply_peft": "(loaded: LoadedModel, config: Config) -> LoadedModel | None",
    "build_trainer": (
        "(loaded: LoadedModel, config: Config, datasets: Datasets, run: RunContext) -> Engine | None"
    ),
}
FIELDS = {
    "BackendInfo": (
        "summary honours=... options=... devices=... opt_in_devices=... quantizations=... import_first=... "
        "forbids=... url=..."
    ),
    "Support": "ok reason=...",
    "Device": "kind name=... bf16=... count=... memory_bytes=...",
    "Prepared": "device tokenizer=... planned=... versions=...",
    "LoadedModel": "model tokenizer adapter=... reference=...",
    "Datasets": "train eval=... fingerprint=... report=...",
    "RunContext": "output_dir cache_dir checkpoint_dir emit stop",
    "TrainResult": "steps metrics=... stopped=... final_loss=... training_time=... model_path=...",
}
ENGINE = {
    "native": "property",
    "model": "property",
    "effective": "(self) -> Mapping[str, Any]",
    "train": "(self, resume_from: Path | None = None) -> TrainResult",
    "evaluate": "(self, dataset: Any = None) -> Mapping[str, float]",
    "save_model": "(self, path: Path, merged: bool = False) -> None",
    "generate": (
        "(self, prompts: Sequence[Any], max_new_tokens: int = 128, temperature: float = 0.0, top_p: float = 1.0)"
        " -> list[str]"
    ),
}


def signature(function: object) -> str:
    return str(inspect.signature(function)).replace("'", "")  # type: ignore[arg-type]


def test_hooks() -> None:
    assert list(hook_arguments()) == list(HOOKS)
    assert {name: signature(getattr(hookspecs, name)) for name in HOOKS} == HOOKS
    assert all(getattr(hookspecs, name).aligntune_spec["firstresult"] for name in HOOKS)


@pytest.mark.parametrize("name", FIELDS)
def test_types(name: str) -> None:
    kind = getattr(types, name)
    found = [
        field.name
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        else f"{field.name}=..."
        for field in dataclasses.fields(kind)
    ]
    assert " ".join(found) == FIELDS[name]
    assert kind.__dataclass_params__.frozen


def test_engine() -> None:
    members = {n: v for n, v in vars(types.Engine).items() if not n.startswith("_")}
    found = {n: "property" if isinstance(v, property) else signature(v) for n, v in members.items()}
    assert found == ENGINE

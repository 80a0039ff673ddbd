"""For every config field a second value, so that the kit can see whether a change of it arrives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from aligntune_core.algorithms import find
from aligntune_core.config import covers, load_config, paths
from aligntune_core.config.build import default_of
from aligntune_core.config.keywords import parameters_of, section_of, sections, tree
from aligntune_core.config.tree import Config
from aligntune_core.errors import ConfigError
from aligntune_core.fields import extra_of
from aligntune_core.testing import rows

# Values where the type alone does not give one, best first.
VALUES: Mapping[str, tuple[Any, ...]] = {
    "model.revision": ("a-branch",),
    "model.token": ("hf_of_the_kit",),
    "model.device_map": ("auto",),
    "model.attn_implementation": ("eager",),
    "model.precision": ("bf16", "fp32"),
    "peft.target_modules": (["q_proj", "v_proj"],),
    "peft.modules_to_save": (["lm_head"],),
    "peft.layers_to_transform": ([0],),
    "peft.init": ("gaussian",),
    "optim.optimizer": ("sgd",),
    "optim.lr_scheduler": ("cosine",),
    "run.run_name": ("a-name",),
    "run.report_to": (["tensorboard"],),
    "run.metric_for_best_model": ("eval_loss",),
    "run.save_strategy": ("epoch",),
    "run.eval_strategy": ("steps",),
    "rewards.functions": ([rows.REWARD],),
    "rewards.weights": ([0.5],),
    "rewards.model": ("a-reward-model",),
}
CALLBACKS, REWARD_MODEL = "run.callbacks", "rewards.model"
"""Take objects that only the worker can make, since they need transformers."""

# What has to be set beside a field so that it has a meaning.
BESIDE: Mapping[str, dict[str, Any]] = {
    "peft.layers_to_transform": {"peft.target_modules": ["q_proj", "v_proj"]},
    "optim.num_epochs": {"optim.max_steps": None},
    "optim.warmup_ratio": {"optim.max_steps": 20},
    "run.load_best_model_at_end": {"run.save_strategy": "epoch", "run.eval_strategy": "epoch"},
    "run.metric_for_best_model": {
        "run.load_best_model_at_end": True,
        "run.save_strategy": "epoch",
        "run.eval_strategy": "epoch",
    },
    "run.greater_is_better": {
        "run.load_best_model_at_end": True,
        "run.save_strategy": "epoch",
        "run.eval_strategy": "epoch",
    },
    "data.packing_strategy": {"data.packing": True},
    "model.quantization.bnb_4bit_quant_type": {"model.quantization.load_in_4bit": True},
    "model.quantization.bnb_4bit_use_double_quant": {"model.quantization.load_in_4bit": True},
    "model.quantization.bnb_4bit_compute_dtype": {"model.quantization.load_in_4bit": True},
}


@dataclass(frozen=True)
class Change:
    """One field changed.

    Attributes:
        path: the field.
        value: its second value, as a call may write it.
        settings: keywords of a whole call with this change in it.
    """

    path: str
    value: Any
    settings: Mapping[str, Any]


@cache
def backend_paths() -> tuple[str, ...]:
    """The fields that a backend may honour."""
    return tuple(
        path
        for path, entry in tree().items()
        if path not in sections()
        and extra_of(entry.info).get("owner") == "backend"
        and section_of(entry.info) is None
    )


def base(algorithm: str, model: Any, honoured: Iterable[str], **more: Any) -> dict[str, Any]:
    """The call that is changed: the tiny model, the kit's rows, a few steps where the backend lets that be set."""
    honoured = set(honoured)
    settings: dict[str, Any] = {
        "algorithm": algorithm,
        "model_name": model,
        "dataset_name": rows.rows(algorithm),
        "eval_dataset": rows.rows(algorithm, rows.HELD_OUT, rows.ROWS),
    }
    settings |= {path: value for path, value in FEW_STEPS.items() if covers(honoured, path)}
    if find(algorithm).online:
        settings |= {"rewards.functions": [rows.REWARD]}
        settings |= {f"parameters.{name}": v for name, v in ONLINE.items() if name in _parameters(algorithm)}
    return settings | more


FEW_STEPS = {"optim.max_steps": 3, "optim.batch_size": 2}
ONLINE = {"num_generations": 2, "max_completion_length": 8, "max_prompt_length": 64}
"""Small values for algorithms that generate."""


def change(path: str, settings: Mapping[str, Any], honoured: Any = ()) -> Change | None:
    """The first second value of ``path`` that the configuration accepts; None where there is none.

    Args:
        path: a field of the tree, or "parameters.NAME".
        settings: the call to change.
        honoured: paths that may be set beside it.
    """
    config = load_config(dict(settings))
    beside = {p: v for p, v in BESIDE.get(path, {}).items() if p in honoured or v is None}
    for value in _candidates(config, path):
        changed = {**settings, **beside, path: value}
        changed = {p: v for p, v in changed.items() if v is not None}
        try:
            found = load_config(changed)
        except ConfigError:
            continue
        if paths(found).get(path) != paths(config).get(path) and paths(found)[path] != default_of(
            found, path
        ):
            return Change(path, value, changed)
    return None


def _parameters(algorithm: str) -> Mapping[str, Any]:
    return parameters_of(find(algorithm).parameters)


def _candidates(config: Config, path: str) -> Iterator[Any]:
    yield from VALUES.get(path, ())
    entry = tree().get(path) or _parameters(config.algorithm)[path.partition(".")[2]]
    yield from _by_type(entry.info, paths(config).get(path))


def _by_type(info: FieldInfo, value: Any) -> Iterator[Any]:
    """Other values of the field's type, near the present one."""
    kinds = list(_flat(info.annotation))
    if bool in kinds:
        yield from (not value, bool(value))
    for kind in kinds:
        if get_origin(kind) is Literal:
            yield from (choice for choice in get_args(kind) if choice != value)
    if int in kinds:
        start = value if isinstance(value, int) and not isinstance(value, bool) else 1
        yield from (start + 1, start * 2, start + 4, max(1, start - 1))
    if float in kinds:
        near = value if isinstance(value, float) else 0.5
        yield from (near * 0.5, near + 0.125, 0.5, 0.25, 1.5)
    if dict in [get_origin(kind) for kind in kinds]:
        yield {}


def _flat(annotation: Any) -> Iterator[Any]:
    """The members of a union, and of its parts; a list of literals counts as its literals."""
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal or not arguments:
        yield annotation
        return
    yield annotation
    for argument in arguments:
        yield from _flat(argument)

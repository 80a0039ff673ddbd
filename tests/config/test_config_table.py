"""The one mechanism between config paths and a library's arguments."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core.algorithms import find
from aligntune_core.config.table import (
    Argument,
    compare,
    parameter_arguments,
    plain,
    read,
    same,
    value_at,
    write,
)
from aligntune_core.errors import ConfigError

if TYPE_CHECKING:
    from tests.config.conftest import Make


class Schedule(Enum):
    """As a library might keep the name of its schedule."""

    COSINE = "cosine"


@dataclass
class Arguments:
    """As a library might keep its arguments."""

    learning_rate: float = 1e-3
    lr: Schedule = Schedule.COSINE
    use_cpu: bool = True
    no_cuda: bool = True


TABLE = (
    Argument("optim.learning_rate", "args", "learning_rate"),
    Argument("optim.lr_scheduler", "args", "lr"),
    Argument("model.attn_implementation", "load", "attention", libraries_choice=True),
    Argument("data.packing", "args", "packs", only="supervised"),
    Argument("data.completion_only_loss", "args", "completions", only="supervised", off=(None, True)),
    Argument(
        "optim.gradient_checkpointing",
        "memory",
        ("recompute", "keep_cache"),
        to=lambda value: (value, not value),
        back=lambda recompute, keep_cache: recompute and not keep_cache,
    ),
)


def test_a_configuration_is_written_part_by_part(sft: Make) -> None:
    config = sft(learning_rate=0.5, packing=True, gradient_checkpointing=True)
    assert write(TABLE, config, "args") == {
        "learning_rate": 0.5,
        "lr": "linear",
        "packs": True,
        "completions": True,
    }
    assert write(TABLE, config, "memory") == {"recompute": True, "keep_cache": False}
    assert write(TABLE, config, "another") == {}


def test_none_leaves_a_choice_to_the_library_where_the_table_says_so(sft: Make) -> None:
    assert write(TABLE, sft(), "load") == {}
    assert write(TABLE, sft(attn_implementation="eager"), "load") == {"attention": "eager"}
    assert read(TABLE, sft(), "load", {"attention": "sdpa"}) == {}
    assert read(TABLE, sft(attn_implementation="eager"), "load", {"attention": "sdpa"}) == {
        "model.attn_implementation": "sdpa"
    }


def test_none_is_written_where_it_means_something(sft: Make) -> None:
    assert write((Argument("run.run_name", "args", "run_name"),), sft(), "args") == {"run_name": None}


def test_what_other_algorithms_have_is_neither_written_nor_read(rl: Make) -> None:
    config = rl("dpo")
    assert set(write(TABLE, config, "args")) == {"learning_rate", "lr"}
    assert set(read(TABLE, config, "args", Arguments())) == {"optim.learning_rate", "optim.lr_scheduler"}


@pytest.mark.parametrize(("off", "written"), [((None, False, 3), {}), ((None, False), None)])
def test_a_field_that_the_library_lacks_is_refused_unless_it_is_off(
    rl: Make, off: tuple[Any, ...], written: dict[str, Any] | None
) -> None:
    table = tuple(
        Argument(path, "args", path, only="generates", off=off)
        for path in ("optim.batch_size", "run.logging_steps")
    )
    config = rl("dpo", batch_size=3, logging_steps=3)
    if written is not None:
        assert write(table, config, "args") == written
        return
    with pytest.raises(ConfigError) as refusal:
        write(table, config, "args", "TRL")
    assert refusal.value.problems == [
        "optim.batch_size: got 3, but TRL does not offer it for dpo; leave it out",
        "run.logging_steps: got 3, but TRL does not offer it for dpo; leave it out",
    ]


def test_values_are_read_back_from_objects_and_from_mappings(sft: Make) -> None:
    config = sft()
    arguments = Arguments()
    table = TABLE[:2]
    assert read(table, config, "args", arguments) == {
        "optim.learning_rate": 1e-3,
        "optim.lr_scheduler": "cosine",
    }
    assert read(table, config, "args", vars(arguments)) == read(table, config, "args", arguments)
    both = {"recompute": True, "keep_cache": False}
    assert read(TABLE, config, "memory", both) == {"optim.gradient_checkpointing": True}
    assert read(TABLE, config, "memory", {**both, "keep_cache": True}) == {
        "optim.gradient_checkpointing": False
    }


def test_an_argument_that_the_library_lacks_is_an_error(sft: Make) -> None:
    with pytest.raises(AttributeError, match="packs"):
        read(TABLE, sft(packing=True), "args", Arguments())
    with pytest.raises(KeyError, match="learning_rate"):
        read(TABLE, sft(), "args", {})


def test_as_many_values_as_names() -> None:
    argument = Argument("optim.tf32", "args", ("one", "two"), to=lambda value: (value,))
    with pytest.raises(ValueError, match="shorter"):
        argument.written(True)


def test_parameters_of_an_algorithm_have_equal_names_unless_the_plugin_says_otherwise(rl: Make) -> None:
    own = (
        Argument("parameters.beta", "args", "kl"),
        Argument("parameters.loss_type", "loss", "kind", to=tuple, back=list),
    )
    table = parameter_arguments(find("dpo").parameters, own=own)
    assert [argument.path for argument in table] == [
        f"parameters.{name}" for name in find("dpo").parameters.model_fields
    ]
    config = rl("dpo", beta=0.3, loss_type="ipo")
    arguments = write(table, config, "args")
    assert (arguments["kl"], arguments["ld_alpha"]) == (0.3, None)
    assert not {"beta", "loss_type"} & set(arguments)
    assert write(table, config, "loss") == {"kind": ("ipo",)}
    assert read(table, config, "loss", {"kind": ("ipo",)}) == {"parameters.loss_type": ["ipo"]}
    assert compare({"parameters.beta": 0.3}, read(table, config, "args", arguments)) == []


def test_values_are_found_by_path_and_none_below_a_section_that_is_none(sft: Make) -> None:
    config = sft(lora_r=3)
    assert value_at(config, "peft.r") == 3
    assert value_at(config, "model.quantization.load_in_4bit") is None
    with pytest.raises(AttributeError, match="rank"):
        value_at(config, "peft.rank")


def test_differences_are_those_that_mean_another_run() -> None:
    values = {
        "optim.learning_rate": 1.0,
        "run.output_dir": "a",
        "peft.r": 8,
        "optim.optimizer": "adamw_torch",
    }
    assert compare(values, values) == []
    assert compare(values, {"peft.r": 9, "optim.learning_rate": 2.0, "peft.alpha": 1}) == [
        "optim.learning_rate",
        "peft.r",
    ]
    assert compare(values, {"run.output_dir": "b", "optim.optimizer": "adamw_torch_fused"}) == []


@pytest.mark.parametrize(
    ("path", "value", "other", "equal"),
    [
        ("optim.learning_rate", 0.3, 0.1 + 0.2, True),
        ("optim.learning_rate", 0.3, 0.3001, False),
        ("optim.adam_epsilon", 1e-8, 1.1e-8, False),
        ("peft.target_modules", ["b", "a"], {"a", "b"}, True),
        ("peft.target_modules", ["a"], ["a", "b"], False),
        ("optim.optimizer", "adamw_torch", "adamw_torch_fused", True),
        ("optim.optimizer", "adamw_torch", "sgd", False),
        ("optim.optimizer", "adamw_torch", None, False),
        ("run.dataloader_num_workers", 0, 4, True),
        ("run.seed", None, 0, False),
    ],
)
def test_two_values_of_a_field(path: str, value: Any, other: Any, equal: bool) -> None:
    assert same(path, value, other) is equal


def test_an_enum_of_a_library_stands_for_its_value() -> None:
    assert (plain(Schedule.COSINE), plain("cosine")) == ("cosine", "cosine")

"""Recipes: found by their files, light; and what is found out once is handed on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.config import resolve_config
from aligntune_core.errors import ConfigError
from aligntune_trl import api, plugin
from aligntune_trl.algorithms import recipe

Build = Callable[..., Any]

HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")


@pytest.fixture
def registered() -> Iterator[dict[str, api.Recipe]]:
    before = dict(recipe._registered)
    yield recipe._registered
    recipe._registered.clear()
    recipe._registered.update(before)


def test_each_file_holds_the_recipe_of_its_name() -> None:
    for name in recipe.names():
        entry = recipe.find(name)
        assert entry is not None
        assert entry.name == name
        assert plugin.supports_algorithm(name)
        assert entry.build or entry.trainer
    assert recipe.find("no such algorithm") is None
    assert not plugin.supports_algorithm("recipe")


def test_every_problem_of_a_configuration_is_told_at_once_and_lightly() -> None:
    code = f"""
import json, sys
from aligntune_core.config import resolve_config
from aligntune_trl import plugin
config = resolve_config("sft", model_name="m", dataset_name="d", lr_scheduler="reduce_lr_on_plateau", padding_free=True,
                        metric_for_best_model="acuracy", gradient_checkpointing="unsloth")
online = resolve_config("rl", algorithm="grpo", model_name="m", dataset_name="d", rewards=["length"], beta=0.1,
                        lora_bias="all")
told = [plugin.problems(config), plugin.problems(online)]
print(json.dumps([told, [name for name in {HEAVY!r} if name in sys.modules]]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (sft, grpo), heavy = json.loads(done.stdout)
    assert heavy == []
    for part in ("lr_scheduler", "padding_free", "metric_for_best_model", 'backend="unsloth"'):
        assert sum(part in sentence for sentence in sft) == 1
    assert len(sft) == 4
    [biases] = grpo
    assert "lora_bias='all': the KL of grpo" in biases


def test_auto_passes_over_a_backend_with_problems() -> None:
    from aligntune_core.backends.registry import registry
    from aligntune_core.pipeline.refusals import why_not

    config = resolve_config("sft", model_name="m", dataset_name="d", gradient_checkpointing="unsloth")
    assert 'gradient_checkpointing="unsloth"' in (why_not(registry().get("trl"), config, ["cpu"]) or "")


@pytest.mark.backend
def test_the_model_is_looked_at_once(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    from aligntune_trl.model import source

    looked: list[Any] = []
    find = source.find

    def counted(config: Any) -> Any:
        looked.append(config)
        return find(config)

    monkeypatch.setattr(source, "find", counted)
    build("sft")
    assert len(looked) == 1


@pytest.mark.backend
def test_the_trainer_has_the_arguments_that_were_planned(tiny_model_dir: Path) -> None:
    from aligntune_core.config.resolve.resolution import resolve
    from aligntune_trl import table

    config = resolve_config("sft", model_name=str(tiny_model_dir), dataset_name="d", output_dir="out")
    prepared = plugin.prepare(config)
    config = resolve(config, prepared.device)
    planned = table.planned_arguments(config, prepared)
    assert table.training_arguments(config, prepared) is planned
    assert table.training_arguments(config, prepared) is not planned  # a trainer may have changed that one
    table.planned_arguments(config, prepared)
    counted = config.model_copy(update={"optim": config.optim.model_copy(update={"max_steps": 7})})
    assert table.training_arguments(counted, prepared).max_steps == 7


@pytest.mark.backend
def test_what_an_argument_class_lacks_is_refused_where_it_is_set(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KTO's class of TRL 1.16 has no truncation_mode; here it stands for an extension's."""
    from aligntune_core.config.resolve.resolution import resolve
    from aligntune_trl import table

    reward = recipe.find("reward")
    assert reward is not None
    monkeypatch.setattr(table, "find", lambda _: replace(reward, name="dpo"))
    common = {"algorithm": "dpo", "model_name": str(tiny_model_dir), "dataset_name": "d", "output_dir": "out"}
    config = resolve_config("rl", **common, truncation_mode="keep_end")
    prepared = plugin.prepare(config)
    with pytest.raises(
        ConfigError, match="truncation_mode: got 'keep_end', but TRL does not offer it for dpo"
    ):
        table.planned_arguments(resolve(config, prepared.device), prepared)


def test_one_recipe_an_algorithm(registered: dict[str, api.Recipe]) -> None:
    mine = api.Recipe(name="mine", arguments="trl:SFTConfig", trainer="trl:SFTTrainer")
    api.register(mine)
    api.register(mine)  # a module that is imported again
    assert recipe.find("mine") == mine
    assert not plugin.supports_algorithm("mine")  # that is the extension's to say
    with pytest.raises(ValueError, match='a recipe of "mine" already'):
        api.register(replace(mine, trainer="trl:DPOTrainer"))
    with pytest.raises(ValueError, match='a recipe of "dpo" already'):
        api.register(replace(mine, name="dpo"))


def test_all_that_the_api_promises_is_there() -> None:
    assert all(getattr(api, name) is not None for name in api.__all__)

"""What backends declare decides who runs: priority, strategies, generators, and every problem of a call at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core.config import Config, resolve_config
from aligntune_core.errors import BackendUnavailable, ConfigError, NotHonoured
from aligntune_core.pipeline.choose import choose

if TYPE_CHECKING:
    from tests.site import Site

Install = Callable[..., None]

HONOURS = frozenset({"optim.learning_rate", "optim.max_steps", "rewards.functions"})
INFO = """
@hookimpl
def backend_info():
    return BackendInfo(summary="for tests", honours={honours}, devices=("cpu",), {more})
"""
PROBLEMS = """
@hookimpl
def problems(config):
    return ["streaming: not here; leave it out"] if config.data.streaming else []
"""


@pytest.fixture
def install(site: Site, source: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a backend with more in its information; only those installed here are looked at."""
    names: list[str] = []

    def add(name: str, more: str = "", **hooks: str) -> None:
        names.append(name)
        monkeypatch.setenv("ALIGNTUNE_BACKENDS", ",".join(names))
        everything = hooks.pop(
            "supports_algorithm", "@hookimpl\ndef supports_algorithm(algorithm): return True\n"
        )
        site.backend(
            name,
            source(
                backend_info=INFO.format(honours=HONOURS, more=more), supports_algorithm=everything, **hooks
            ),
        )

    return add


def sft(**keywords: Any) -> Config:
    return resolve_config("sft", model_name="m", dataset_name="d", max_steps=1, **keywords)


def test_auto_takes_the_highest_priority_and_names_decide_ties(install: Install) -> None:
    install("beech")
    install("alder")
    assert choose(sft())[0].name == "alder"
    install("birch", "priority=1")
    assert choose(sft())[0].name == "birch"
    install("zelkova", "priority=-1")
    assert choose(sft())[0].name == "birch"


def test_a_backend_with_a_problem_is_passed_over_and_the_reason_is_told(install: Install) -> None:
    install("birch", "priority=9", problems=PROBLEMS)
    install("alder", "")
    assert choose(sft())[0].name == "birch"
    backend, reason = choose(sft(streaming=True))
    assert backend.name == "alder"
    assert "birch: streaming: not here; leave it out" in reason


def test_every_problem_of_a_call_is_told_at_once(install: Install) -> None:
    install("birch", problems=PROBLEMS)
    with pytest.raises(NotHonoured) as caught:
        choose(sft(backend="birch", streaming=True, weight_decay=0.1, quantization={"load_in_4bit": True}))
    told = caught.value.problems
    assert len(told) == 4, told
    assert any('backend "birch" does not honour weight_decay (optim.weight_decay)' in text for text in told)
    assert any("does not honour load_in_4bit (model.quantization.load_in_4bit)" in text for text in told)
    assert any("does not train on 4bit weights (quantization); it offers: none" in text for text in told)
    assert told[-1] == "streaming: not here; leave it out"
    with pytest.raises(ConfigError) as alone:
        choose(sft(backend="birch", streaming=True))
    assert alone.value.problems == told[-1:]
    assert not isinstance(alone.value, NotHonoured)


def test_several_processes_need_a_backend_that_trains_in_several(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("birch", "priority=9")
    install("alder", 'strategies=("single", "ddp")')
    assert choose(sft())[0].name == "birch"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert choose(sft())[0].name == "alder"
    with pytest.raises(NotHonoured) as caught:
        choose(sft(backend="birch"))
    assert str(caught.value) == (
        'backend "birch" trains in one process, and this is one of 2: start one process; backends that train in '
        "several: alder"
    )


def test_a_generator_that_is_not_declared_is_refused(install: Install) -> None:
    install("birch")
    install("alder", 'generators=("transformers", "vllm")')

    def grpo(**keywords: Any) -> Config:
        keywords |= {
            "algorithm": "grpo",
            "model_name": "m",
            "dataset_name": "d",
            "reward_functions": ["length"],
        }
        return resolve_config("rl", **keywords)

    assert choose(grpo(backend="birch"))[0].name == "birch"
    with pytest.raises(
        NotHonoured, match=r"does not generate with vllm \(generation\); it offers: transformers"
    ):
        choose(grpo(backend="birch", generation="vllm"))
    assert choose(grpo(backend="auto", generation="vllm"))[0].name == "alder"


def test_where_none_will_do_each_reason_is_told(install: Install) -> None:
    install("birch", problems=PROBLEMS)
    install("alder", problems=PROBLEMS.replace("not here", "nor here"))
    with pytest.raises(BackendUnavailable) as caught:
        choose(sft(streaming=True))
    assert "alder: streaming: nor here" in str(caught.value)
    assert "birch: streaming: not here" in str(caught.value)

"""From the configuration to rewards: names, refusals, weights, parameters, imports, registered rewards."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.config.schema.sections import RewardsConfig
from aligntune_core.errors import ConfigError, UnknownReward
from aligntune_core.rewards import RewardSet, build_rewards, list_rewards, read_rewards
from aligntune_core.rewards.catalogue import BUILT_IN, UNAVAILABLE

Register = Callable[..., None]


def build(*functions: Any, **more: Any) -> RewardSet:
    return build_rewards(RewardsConfig(functions=list(functions), **more))


# What a built-in needs before it can be made.
NEEDED: dict[str, dict[str, Any]] = {
    "regex": {"pattern": "a"},
    "keyword": {"words": ["a"]},
    "overlong": {"max_completion_length": 10},
}


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_built_in_reward_is_made_by_its_name(name: str) -> None:
    found = build({"type": name, "params": NEEDED.get(name, {})})
    assert found.names == (name,)
    if name != "reasoning_gym":
        [value] = found.score(["q"], ["a"], {"answer": ["a"]}, [[1]]).values[0]
        assert -1 <= value <= 1


def test_names_do_not_mind_case_and_hyphens() -> None:
    assert build("Think-Format").names == ("think_format",)


@pytest.mark.parametrize("name", sorted(UNAVAILABLE))
def test_names_of_tutorials_are_refused_with_the_nearest_that_we_have(name: str) -> None:
    nearest, sentence = UNAVAILABLE[name]
    assert nearest in BUILT_IN
    assert name not in BUILT_IN
    assert not sentence.endswith(".")
    with pytest.raises(
        UnknownReward,
        match=f'reward_functions\\[0\\]: there is no reward "{name}"; the nearest is "{nearest}"',
    ):
        read_rewards(RewardsConfig(functions=[name]))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("lenght", 'Did you mean "length"?'),
        ("think_fromat", 'Did you mean "think_format"?'),
        ("zzz", "Names: exact_answer"),
    ],
)
def test_an_unknown_name_is_refused(name: str, says: str) -> None:
    with pytest.raises(UnknownReward) as caught:
        build(name)
    assert says in str(caught.value)
    assert "owner/name" in str(caught.value)


def test_every_problem_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        build("lenght", "length", {"type": "length", "wieght": 1}, 3)
    assert len(caught.value.problems) == 3
    assert 'reward_functions[2]: a reward has no "wieght". Did you mean "weight"?' in caught.value.problems[1]
    assert caught.value.problems[2].startswith("reward_functions[3]: 3 is no reward")


def test_no_reward_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"no reward is given\. Give reward_functions .* reward_model_name"):
        build()


# --- weights ---------------------------------------------------------------------------------------------------------


def test_weights_in_a_list_in_entries_and_in_pairs() -> None:
    def f(text: str) -> float:
        return 1.0

    assert build("length", f).weights == (1.0, 1.0)
    assert build("length", f, weights=[0.5, 2]).weights == (0.5, 2.0)
    assert build({"type": "length", "weight": 0.3}, (f, 0.7), ["math", 2]).weights == (0.3, 0.7, 2.0)
    assert build({"type": "length", "weight": 0.3}, f, weights=[0.3, 2]).weights == (0.3, 2.0)


def test_a_reward_model_may_have_a_weight_too() -> None:
    assert build("length", model="some/model").weights == (1.0, 1.0)
    assert build("length", model="some/model", weights=[0.5]).weights == (0.5, 1.0)
    found = build("length", model="some/model", weights=[0.5, 3])
    assert (found.names, found.weights) == (("length", "model"), (0.5, 3.0))


@pytest.mark.parametrize(
    ("functions", "weights", "says"),
    [
        (["length", "math"], [1.0], "has 1 values for 2 reward functions: length, math"),
        (["length"], [1.0, 2.0], "has 2 values for 1 reward functions"),
        ([{"type": "length", "weight": 0.3}], [0.4], "weight 0.3 in its own entry and 0.4"),
        ([("length", float("nan"))], None, "must be finite"),
        ([{"type": "length", "weight": "much"}], None, "weight must be a number, not 'much'"),
        ([("length", "math")], None, r"a pair is \(reward, weight\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    functions: list[Any], weights: list[float] | None, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        build(*functions, weights=weights)


# --- parameters ------------------------------------------------------------------------------------------------------


def test_params_reach_the_reward() -> None:
    found = build({"type": "length", "params": {"min_length": 1, "max_length": 2, "unit": "characters"}})
    assert found.score(["q"] * 3, ["a", "aaa", "aaaa"]).total == [1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"type": "length", "params": {"max_len": 2}}, 'no parameter "max_len". Did you mean "max_length"?'),
        (
            {"type": "length", "params": {"max_length": "many"}},
            "max_length = 'many': Input should be a valid integer",
        ),
        (
            {"type": "length", "params": {"unit": "tokens"}},
            "unit = 'tokens': Input should be 'words' or 'characters'",
        ),
        (
            {"type": "length", "params": {"min_length": 5, "max_length": 2}},
            "min_length 5 is greater than max_length 2",
        ),
        ({"type": "regex"}, '"regex" needs pattern in its params'),
        ({"type": "regex", "params": {"pattern": "("}}, "unterminated subpattern"),
        ({"type": "json_schema", "params": {"schema": {"type": "objekt"}}}, "'objekt' is not valid"),
        ({"type": "keyword"}, "give words, forbidden, or both"),
        ({"type": "keyword", "params": {"words": "cat"}}, "words = 'cat': Input should be a valid tuple"),
        ({"type": "overlong"}, '"overlong" needs max_completion_length in its params'),
        ({"type": "math", "params": {"check_format": True}}, 'no parameter "check_format". It takes none'),
        ({"type": "length", "function": len}, "name two rewards"),
        ({"weight": 1}, 'needs a "type"'),
        ({"type": "reward_model"}, "FOLDER_OR_HUB_ID"),
        (
            {"type": "reward_model", "params": {"model": "a/b", "batchsize": 2}},
            "unexpected keyword argument 'batchsize'",
        ),
        ({"type": "reward_model", "params": {"model": "a/b", "batch_size": 0}}, "at least 1"),
        ({"type": "reward_model", "params": {"model": 3}}, "3 is no reward model"),
    ],
)
def test_params_that_do_not_fit_are_refused_before_anything_is_scored(
    entry: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        build(entry)
    assert says in str(caught.value)


def test_a_parameter_that_a_function_does_not_take_is_refused() -> None:
    def f(text: str, bonus: float = 1) -> float:
        return bonus

    with pytest.raises(ConfigError, match=r'no parameter "bonsu"\. Did you mean "bonus"'):
        build({"function": f, "params": {"bonsu": 2}})


def test_values_of_the_run_fill_parameters_that_are_not_set() -> None:
    config = RewardsConfig(
        functions=["overlong", {"type": "overlong", "params": {"max_completion_length": 2}}, "length"]
    )
    found = build_rewards(config, defaults={"max_completion_length": 100})
    assert found.score(["q"], ["a"], {}, [[1, 2]]).values == [[0.0], [-1.0], [0.1]]


def test_a_tokenizer_counts_tokens_where_the_caller_does_not() -> None:
    config = RewardsConfig(
        functions=[{"type": "overlong", "params": {"max_completion_length": 10, "soft_punish_cache": 5}}]
    )
    calls = []

    def tokenizer(text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        calls.append(text)
        assert not add_special_tokens
        return {"input_ids": list(range(len(text)))}

    found = build_rewards(config, tokenizer=tokenizer)
    assert found.score(["q", "q"], ["a" * 5, [{"role": "assistant", "content": "a" * 7}]]).total == [
        0.0,
        -0.4,
    ]
    assert found.score(["q"], ["a"], {}, [[0] * 10]).total == [-1.0]
    assert len(calls) == 2


# --- functions by name -----------------------------------------------------------------------------------------------


def test_a_function_by_module_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_1.py").write_text(
        "class Group:\n    @staticmethod\n    def long(text, factor=1):\n        return factor * len(text)\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(tmp_path))])
    found = build(
        "mine_1:Group.long", {"type": "mine_1:Group.long", "params": {"factor": 2}, "name": "twice"}
    )
    assert found.names == ("long", "twice")
    assert found.score(["q"], ["abc"]).values == [[3.0], [6.0]]
    with pytest.raises(ConfigError, match=r"there is no shrot in mine_1"):
        build("mine_1:shrot")
    with pytest.raises(ConfigError, match="is an int, which cannot be called"):
        build("mine_1:number")
    with pytest.raises(ConfigError, match=r'"mine_0:f": there is no module mine_0; looked in') as caught:
        build("mine_0:f")
    assert 'reward "f" could not be imported from mine_0:f' in caught.value.__notes__[0]
    (tmp_path / "mine_2.py").write_text("import no_such_module_here")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_here"):
        build("mine_2:f")  # not the name that was given: its own error


def test_reading_a_configuration_imports_no_function(tmp_path: Path) -> None:
    [spec] = read_rewards(RewardsConfig(functions=["no_such_module_here:f"]))
    assert (spec.kind, spec.name) == ("import", "f")


@pytest.mark.parametrize("where", ["owner/model", "./folder", "~/judge", "/abs/judge/"])
def test_models_are_told_by_their_form(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    [spec] = read_rewards(RewardsConfig(functions=[where]))
    assert spec.kind == "model"
    assert spec.target == os.path.expanduser(where)
    assert spec.name == where.rstrip("/").rpartition("/")[2]


def test_a_registered_reward(register: Register) -> None:
    register(
        "acme-rewards",
        "def score(text, bonus=1):\n    return len(text) + bonus\n",
        "acme = acme_rewards:score",
    )
    [info] = [r for r in list_rewards() if r.name == "acme"]
    assert info.distribution == "acme-rewards 1.0"
    assert "acme_rewards" not in sys.modules
    found = build("acme", {"type": "ACME", "params": {"bonus": 2}})
    assert found.names == ("acme", "acme_2")
    assert found.score(["q"], ["abc"]).values == [[4.0], [5.0]]
    with pytest.raises(UnknownReward, match='Did you mean "acme"'):
        build("acmee")


def test_a_registered_reward_that_cannot_be_imported_is_named(register: Register) -> None:
    register("acme-broken", "raise RuntimeError('boom')", "acme = acme_broken:score")
    with pytest.raises(RuntimeError, match="boom") as caught:
        build("acme")
    assert 'reward "acme" could not be imported from acme_broken:score' in caught.value.__notes__[0]


def test_a_built_in_keeps_its_name(register: Register, caplog: pytest.LogCaptureFixture) -> None:
    register("acme-one", "def f(text):\n    return 7\n", "Length = acme_one:f")
    with caplog.at_level("WARNING", logger="aligntune"):
        found = build({"type": "length", "params": {"min_length": 1, "max_length": 2}}, "acme_one:f")
    assert found.score(["q"], ["one two"]).values == [[1.0], [7.0]]
    assert caplog.messages[0] == (
        'the reward "Length" of acme-one 1.0 is left out: that name belongs to aligntune itself; name its function: '
        '"acme_one:f"'
    )
    assert [r.distribution for r in list_rewards() if r.name.lower() == "length"] == ["aligntune"]


def test_a_name_that_two_claim_is_refused(register: Register) -> None:
    register("acme-one", "", "acme = acme_one:f")
    register("acme-two", "", "acme = acme_two:f")
    with pytest.raises(ConfigError, match=r'"acme" is claimed by acme-one 1.0 and by acme-two 1.0'):
        build("acme")


BACKEND = """
from aligntune_core import BackendInfo, Support, hookimpl

@hookimpl
def backend_info():
    return BackendInfo(summary="goes no further than prepare", honours=frozenset({"rewards.functions"}))

@hookimpl
def supports_algorithm(algorithm):
    return Support(True)

@hookimpl
def prepare(config):
    raise RuntimeError("prepare was reached")

@hookimpl
def load_model(config, prepared): ...

@hookimpl
def apply_peft(loaded, config): ...

@hookimpl
def build_trainer(loaded, config, datasets, prepared, run): ...
"""


@pytest.mark.parametrize(
    ("rewards", "says"),
    [({}, "no reward is given"), ({"reward_functions": ["lenght"]}, 'Did you mean "length"')],
)
def test_a_run_without_usable_rewards_is_refused_before_anything_heavy(
    register: Register, rewards: dict[str, Any], says: str
) -> None:
    from aligntune_core import create_rl_trainer

    register("acme-backend", BACKEND, "acme = acme_backend", "aligntune.backends")
    call: dict[str, Any] = {"model_name": "m", "dataset_name": "d", "backend": "acme"}
    with pytest.raises(ConfigError, match=says):
        create_rl_trainer(algorithm="grpo", **call, **rewards)
    with pytest.raises(RuntimeError, match="prepare was reached"):
        create_rl_trainer(algorithm="grpo", **call, reward_functions=["length"])
    with pytest.raises(RuntimeError, match="prepare was reached"):
        create_rl_trainer(algorithm="dpo", **call)


# --- light -----------------------------------------------------------------------------------------------------------


def test_making_rewards_imports_nothing_heavy() -> None:
    code = """
import sys
from aligntune_core.config.schema.sections import RewardsConfig
from aligntune_core.rewards import build_rewards, list_rewards
assert len(list_rewards()) >= 11
found = build_rewards(RewardsConfig(functions=["length", "exact_answer", "think_format"], model="owner/model"))
heavy = {"torch", "transformers", "datasets", "trl", "peft", "sympy", "math_verify", "reasoning_gym", "jsonschema"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_library_is_named_before_anything_is_scored() -> None:
    code = """
import sys
sys.modules.update(math_verify=None, jsonschema=None, reasoning_gym=None)
from aligntune_core.config.schema.sections import RewardsConfig
from aligntune_core.errors import ConfigError
from aligntune_core.data import reasoning_gym_rows
from aligntune_core.rewards import build_rewards
makes = [
    lambda: build_rewards(RewardsConfig(functions=["math"])),
    lambda: build_rewards(RewardsConfig(functions=[{"type": "json_schema", "params": {"schema": {}}}])),
    lambda: reasoning_gym_rows("chain_sum", 1, 0),
]
for make in makes:
    try:
        make()
    except ConfigError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [line.rpartition(": ")[2] for line in done.stdout.splitlines()] == [
        "pip install math-verify",
        "pip install jsonschema",
        "pip install reasoning-gym",
    ]

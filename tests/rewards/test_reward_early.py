"""What is wrong with a run's rewards is said before any weights load: of models, and of columns that rows lack."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core.errors import ConfigError

if TYPE_CHECKING:
    from tests.site import Site

Create = Callable[..., Any]

ROWS = [{"prompt": f"say {word}", "answer": word, "level": 1} for word in "abcdefgh"]

BACKEND = """
from aligntune_core import BackendInfo, Support, hookimpl

@hookimpl
def backend_info():
    honours = frozenset({"rewards.functions", "rewards.model", "rewards.weights"})
    return BackendInfo(summary="stops at weights", honours=honours, devices=("cpu",))

@hookimpl
def supports_algorithm(algorithm):
    return Support(True)

@hookimpl
def load_model(config, prepared):
    raise RuntimeError("weights were reached")

@hookimpl
def apply_peft(loaded, config): ...

@hookimpl
def build_trainer(loaded, config, datasets, prepared, run): ...
"""


@pytest.fixture
def create(site: Site, tiny_model_dir: Path, tmp_path: Path) -> Create:
    """Create a GRPO trainer on a backend that gets as far as the weights and raises there."""
    from aligntune_core import create_rl_trainer

    site.backend("acme", BACKEND)

    def call(**keywords: Any) -> Any:
        settings = {"dataset_name": ROWS, "algorithm": "grpo", "output_dir": str(tmp_path / "run")} | keywords
        return create_rl_trainer(model_name=str(tiny_model_dir), backend="acme", **settings)

    return call


@pytest.mark.parametrize(
    "rewards",
    [
        {"reward_model_name": "/no/such/nope"},
        {"reward_functions": ["/no/such/nope"]},
        {"reward_functions": ["length", {"type": "reward_model", "params": {"model": "/no/such/nope"}}]},
    ],
)
def test_a_reward_model_that_is_not_there_is_refused_before_weights(
    create: Create, rewards: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError) as caught:
        create(**rewards)
    assert caught.value.problems == [
        'reward "nope": there is no model folder "/no/such/nope". Looked in /no/such.'
    ]


def test_a_folder_beside_it_and_a_hub_id_are_looked_for(
    create: Create, reward_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(reward_model, tmp_path / "judges")
    with pytest.raises(
        ConfigError, match=r'"judge": there is no model folder "\./judge"\. Did you mean "judges"'
    ):
        create(reward_model_name="./judge")
    with pytest.raises(ConfigError, match='reward "nobody": model "no/nobody" was looked for on the hub'):
        create(reward_model_name="no/nobody")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r'reward "empty": "(\./)?empty" is no model folder'):
        create(reward_model_name="./empty")


def test_an_adapter_whose_base_is_gone_is_refused(create: Create, tmp_path: Path) -> None:
    (tmp_path / "judge").mkdir()
    (tmp_path / "judge/adapter_config.json").write_text('{"base_model_name_or_path": "/no/such/base"}')
    with pytest.raises(ConfigError, match=r'reward "judge": .*base_model_name_or_path is "/no/such/base"'):
        create(reward_model_name=str(tmp_path / "judge"))


def test_a_language_model_is_no_reward_model(create: Create, tiny_model_dir: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no reward model: its head has 2 outputs"):
        create(reward_model_name=str(tiny_model_dir))


def test_the_tokenizer_of_a_reward_model_is_looked_for(create: Create, reward_model: Path) -> None:
    entry = {"type": "reward_model", "params": {"model": str(reward_model), "tokenizer": "/no/such/words"}}
    with pytest.raises(ConfigError, match=r'reward "judge": there is no model folder "/no/such/words"'):
        create(reward_functions=[entry])


@pytest.mark.parametrize(
    ("reward", "says"),
    [
        (lambda completions, nosuchcol: [0.0] * len(completions), '"lambda" needs nosuchcol'),
        (lambda text, nosuchcol: 0.0, '"lambda" needs nosuchcol'),
    ],
)
def test_a_column_that_the_rows_lack_is_refused_before_weights(
    create: Create, reward: Callable[..., Any], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        create(reward_functions=[reward])
    assert caught.value.problems == [
        f"reward {says}, which the training rows do not have; they have answer, level, prompt. "
        "Map a column to that name by column_mapping, or set it in the reward's params"
    ]


def test_a_function_of_a_batch_is_told_the_plural(create: Create) -> None:
    with pytest.raises(ConfigError, match='"lambda" needs prompt; a function of a batch is given prompts'):
        create(reward_functions=[lambda completions, prompt: [0.0]])


def test_held_out_rows_are_looked_at_too(create: Create) -> None:
    rows = [{"prompt": "say z", "answer": "z"}]
    with pytest.raises(
        ConfigError, match="needs level, which the held-out rows do not have; they have answer, prompt"
    ):
        create(reward_functions=[lambda text, level: 0.0], eval_dataset=rows)


def test_a_reward_of_right_answers_needs_some(create: Create) -> None:
    with pytest.raises(ConfigError, match=r'"exact_answer" needs reference.*column_mapping'):
        create(dataset_name=[{"prompt": "p"}], reward_functions=["exact_answer"])


@pytest.mark.parametrize(
    "reward",
    [
        lambda completions, answer, trainer_state, log_extra, log_metric, completion_ids: [],
        lambda completions, nosuchcol=None, **columns: [],
        lambda prompts, completions, reference: [],
        lambda text, prompt, response, solution, level, completion_ids: 0.0,
        {"function": lambda text, nosuchcol: 0.0, "params": {"nosuchcol": 3}},
        "exact_answer",
    ],
)
def test_what_trainers_and_rows_give_goes_on_to_the_weights(
    create: Create, reward: Any, reward_model: Path
) -> None:
    with pytest.raises(RuntimeError, match="weights were reached"):
        create(reward_functions=[reward], reward_model_name=str(reward_model))

"""The packages in examples/extensions, installed with their own metadata: an algorithm, a reward, wrappers."""

from __future__ import annotations

import json
import logging
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from aligntune import create_rl_trainer, create_sft_trainer
from aligntune.cli.app import app
from aligntune_core.algorithms import catalogue
from aligntune_core.backends.registry import registry
from aligntune_core.config import resolve_config
from aligntune_core.errors import BackendUnavailable, ConfigError, UnknownAlgorithm, UnsupportedAlgorithm
from aligntune_core.run import events
from aligntune_core.testing.fixtures import rows

if TYPE_CHECKING:
    from tests.site import Site

HOME = Path(__file__).parents[2] / "examples/extensions"

Install = Callable[[str], None]


@pytest.fixture
def install(site: Site, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a package on the path, with the entry points and requirements that its pyproject.toml states."""

    def run(name: str) -> None:
        folder = HOME / name
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        monkeypatch.syspath_prepend(str(folder / "src"))
        site.install(
            project["name"],
            project["entry-points"],
            version=project["version"],
            requires=project["dependencies"],
            editable=folder,
        )
        catalogue.refresh()

    return run


@pytest.fixture
def train(tiny_model_dir: Path, tmp_path: Path) -> Callable[..., Any]:
    def make(algorithm: str, backend: str = "trl", **keywords: Any) -> Any:
        data = rows.rows("dpo" if algorithm == "orpo" else algorithm)
        settings = {
            "max_steps": 3,
            "batch_size": 2,
            "save_strategy": "no",
            "output_dir": str(tmp_path / "run"),
        }
        common = {**settings, "backend": backend, **keywords}
        if algorithm == "sft":
            return create_sft_trainer(str(tiny_model_dir), data, **common)
        return create_rl_trainer(str(tiny_model_dir), data, algorithm=algorithm, **common)

    return make


def others() -> dict[tuple[str, str], Any]:
    return {(row.group, row.name): row for row in registry().third_party()}


# --- an algorithm ----------------------------------------------------------------------------------------------------


def test_orpo_is_unknown_before_it_is_installed(install: Install) -> None:
    with pytest.raises(UnknownAlgorithm):
        resolve_config("rl", algorithm="orpo", model_name="m", dataset_name="d")
    install("aligntune-orpo")
    config = resolve_config("rl", algorithm="ORPO", model_name="m", dataset_name="d", beta=0.3)
    assert config.parameters.beta == 0.3
    assert (config.optim.learning_rate, config.optim.num_epochs) == (8e-5, 1.0)
    with pytest.raises(ConfigError, match='Did you mean "beta"'):
        resolve_config("rl", algorithm="orpo", model_name="m", dataset_name="d", betta=0.3)


def test_orpo_is_trained_by_trl_and_by_nobody_else(install: Install, train: Callable[..., Any]) -> None:
    install("aligntune-orpo")
    output = CliRunner().invoke(app, ["algorithms", "--json"]).stdout
    row = next(row for row in json.loads(output) if row["name"] == "orpo")
    assert {name for name, support in row["backends"].items() if support["ok"]} == {"trl"}
    assert registry().get("trl").supports("dpo")  # its own answers stay
    with pytest.raises(UnsupportedAlgorithm, match=r'"torch" does not train "orpo".*Backends that do: trl'):
        train("orpo", "torch")


@pytest.mark.backend
def test_orpo_trains_with_the_loss_of_its_paper(
    install: Install, train: Callable[..., Any], tiny_model_dir: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    install("aligntune-orpo")
    trainer = train("orpo", "auto", beta=0.4, learning_rate=1e-3, batch_size=6, precision="fp32")
    assert trainer.backend == "trl"
    assert trainer.effective["parameters.beta"] == 0.4
    trainer.train()
    losses = [line["loss"] for line in events.read(tmp_path / "run/metrics.jsonl") if "loss" in line]
    assert len(losses) == 3
    assert losses[-1] < losses[0]

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)

    def logps(row: Any, column: str) -> tuple[Any, int]:
        """Log-probabilities of prompt and answer, ended as TRL ends them; and where the answer starts."""
        both = tokenizer.apply_chat_template(row["prompt"] + row[column], tokenize=False)
        prompt = tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
        ids = torch.tensor([[*tokenizer(both)["input_ids"], tokenizer.eos_token_id]])
        with torch.no_grad():
            each = model(ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
        return each, len(tokenizer(prompt)["input_ids"]) - 1

    nll, ratios, tokens = 0.0, [], 0
    for row in rows.rows("dpo"):
        (chosen, start), (rejected, _) = logps(row, "chosen"), logps(row, "rejected")
        nll, tokens = nll - float(chosen.sum()), tokens + len(chosen)
        means = chosen[start:].mean(), rejected[start:].mean()
        odds = [mean - torch.log1p(-mean.exp()) for mean in means]
        ratios.append(float(torch.nn.functional.logsigmoid(odds[0] - odds[1])))
    expected = nll / tokens - 0.4 * sum(ratios) / len(ratios)
    assert losses[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.backend
def test_what_the_orpo_trainer_cannot_do_is_refused(install: Install, train: Callable[..., Any]) -> None:
    install("aligntune-orpo")
    with pytest.raises(ConfigError, match="truncation_mode"):
        train("orpo", truncation_mode="keep_end")


# --- a reward --------------------------------------------------------------------------------------------------------


def test_brevity_is_a_reward_by_name(install: Install) -> None:
    from aligntune_core.rewards import build_rewards

    install("aligntune-brevity")
    names = {"functions": ["brevity", {"type": "brevity", "params": {"most": 10}}]}
    config = resolve_config(
        "rl", algorithm="grpo", model_name="m", dataset_name="d", rewards=names["functions"]
    )
    scores = build_rewards(config.rewards).score(["p", "p"], ["x" * 5, "x" * 20], {})
    assert scores.total == pytest.approx([0.975 + 0.5, 0.9 + 0.0])


@pytest.mark.backend
def test_a_run_is_scored_by_it(install: Install, train: Callable[..., Any], tmp_path: Path) -> None:
    install("aligntune-brevity")
    small = {"num_generations": 2, "max_completion_length": 8, "max_steps": 1}
    train("grpo", reward_functions=["brevity"], **small).train()
    line = next(line for line in events.read(tmp_path / "run/metrics.jsonl") if "loss" in line)
    assert any("brevity" in key for key in line), line
    assert 0 < line["reward"] < 1


# --- wrappers --------------------------------------------------------------------------------------------------------


@pytest.mark.backend
def test_hooks_are_timed(
    install: Install, train: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    install("aligntune-house")
    with caplog.at_level(logging.INFO, logger="aligntune.house"):
        train("sft")
    messages = [record.message for record in caplog.records if record.name == "aligntune.house"]
    assert [re.sub(r"[\d.]+ s", "N s", text) for text in messages] == [
        "prepare took N s",
        "load_model took N s",
        "build_trainer took N s",
    ]


def test_a_rule_of_the_house_holds_for_every_run(
    install: Install, train: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    install("aligntune-house")
    with (
        caplog.at_level(logging.INFO, logger="aligntune.house"),
        pytest.raises(ConfigError, match="this house runs no code") as caught,
    ):
        train("sft", trust_remote_code=True)
    assert len(caught.value.problems) == 1
    assert caplog.records == []  # timing saw no prepare: the rule comes before the first heavy hook
    with pytest.raises(BackendUnavailable, match=r"trl: .*this house runs no code"):
        train("sft", "auto", trust_remote_code=True, packing=True)


# --- the listing -----------------------------------------------------------------------------------------------------


def test_everything_that_was_found_is_listed(install: Install, site: Site) -> None:
    for name in ("aligntune-orpo", "aligntune-brevity", "aligntune-house"):
        install(name)
    expected = {
        ("aligntune.algorithms", "orpo"): ("aligntune-orpo", "0.1.0"),
        ("aligntune.extensions.trl", "orpo"): ("aligntune-orpo", "0.1.0"),
        ("aligntune.extensions.trl", "timing"): ("aligntune-house", "0.1.0"),
        ("aligntune.extensions.trl", "policy"): ("aligntune-house", "0.1.0"),
        ("aligntune.rewards", "brevity"): ("aligntune-brevity", "0.1.0"),
    }
    rows_by_name = others()
    lines = CliRunner().invoke(app, ["backends", "-v"], env={"COLUMNS": "40"}).stdout.splitlines()
    listing = json.loads(CliRunner().invoke(app, ["backends", "-v", "--json"]).stdout)
    assert "trl" in {row["name"] for row in listing["backends"]}
    printed = {(row["group"], row["name"]): row for row in listing["others"]}
    for key, (distribution, version) in expected.items():
        row = rows_by_name[key]
        assert (row.distribution, row.version, row.state, row.editable) == (
            distribution,
            version,
            "ready",
            True,
        )
        assert row.path == str(HOME / distribution)
        at = lines.index(f"{key[0]} {key[1]}: ready")  # whole, however narrow the terminal
        assert lines[at + 1 : at + 3] == [
            f"  distribution: {distribution} {version}",
            f"  path: {row.path} (editable)",
        ]
        assert printed[key] == row.as_dict()

"""Algorithms: names, spellings, parameters, and those of other distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from aligntune_core.algorithms import Batch, find, known, names
from aligntune_core.algorithms.dapo import DapoParameters
from aligntune_core.algorithms.dpo import DpoParameters
from aligntune_core.algorithms.dr_grpo import DrGrpoParameters
from aligntune_core.algorithms.grpo import GrpoParameters
from aligntune_core.algorithms.gspo import GspoParameters
from aligntune_core.config import resolve_config
from aligntune_core.enums import RLAlgorithm
from aligntune_core.errors import ConfigError, UnknownAlgorithm

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.config.conftest import Make, Refused


@pytest.mark.parametrize(
    "spelling", ["dr_grpo", "drgrpo", "dr-grpo", "DrGRPO", "Dr. GRPO", RLAlgorithm.DR_GRPO]
)
def test_every_spelling_finds_dr_grpo(spelling: str) -> None:
    assert find(spelling).name == "dr_grpo"


def test_every_enum_member_is_a_known_algorithm() -> None:
    assert {member.value for member in RLAlgorithm} == {a.name for a in known().values() if a.kind == "rl"}


def test_unknown_algorithm_names_the_nearest() -> None:
    with pytest.raises(UnknownAlgorithm, match=r'no algorithm "gropo".*Did you mean "grpo"'):
        find("gropo")


def test_those_that_generate_are_scored_by_rewards() -> None:
    assert {a.name for a in known().values() if a.generates} == {"ppo", "grpo", "gspo", "dapo", "dr_grpo"}
    assert {a.name for a in known().values() if a.scored_by} == {
        a.name for a in known().values() if a.generates
    }


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (GspoParameters, {"importance_sampling_level": "sequence", "loss_type": "grpo", "epsilon": 3e-4}),
        (GspoParameters, {"epsilon_high": 4e-4, "beta": 0.0}),
        (DapoParameters, {"loss_type": "dapo", "epsilon": 0.2, "epsilon_high": 0.28, "beta": 0.0}),
        (
            DapoParameters,
            {"mask_truncated_completions": True, "dynamic_sampling": True, "on_exhausted": "error"},
        ),
        (DrGrpoParameters, {"loss_type": "dr_grpo", "scale_rewards": "none"}),
    ],
)
def test_the_family_has_the_settings_of_its_papers(
    model: type[GrpoParameters], settings: dict[str, Any]
) -> None:
    parameters = model()
    assert {name: getattr(parameters, name) for name in settings} == settings


def test_the_loss_that_makes_an_algorithm_cannot_be_exchanged(rl: Make, refused: Refused) -> None:
    [problem] = refused(rl, "gspo", loss_type="dapo")
    assert problem.startswith("loss_type='dapo' must be 'grpo'")


@pytest.mark.parametrize(("given", "stored"), [(True, "group"), (False, "none"), ("batch", "batch")])
def test_scale_rewards_takes_booleans(given: Any, stored: str) -> None:
    assert GrpoParameters(scale_rewards=given).scale_rewards == stored


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"beta": -0.1}, "greater than or equal to 0"),
        ({"loss_type": "sigmod"}, "sigmoid"),
        ({"loss_type": []}, "at least 1 item"),
        ({"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0]}, "1 entries for 2 loss types"),
        ({"label_smoothing": 0.1}, "not by sigmoid; for noisy labels take loss_type=robust"),
        ({"loss_type": "robust", "label_smoothing": 0.5}, "less than 0.5"),
        ({"loss_type": "exo_pair"}, "above 0 with loss_type=exo_pair"),
        ({"loss_type": "aot", "f_divergence_type": "forward_kl"}, "reverse_kl only"),
        ({"loss_type": "aot", "use_weighting": True}, "no aot loss"),
        ({"sync_ref_model": True, "precompute_ref_log_probs": True}, "take one"),
        ({"ld_alpha": 1.1}, "less than or equal to 1"),
    ],
)
def test_dpo_parameters_are_checked_together(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        DpoParameters(**settings)


def test_one_dpo_loss_is_a_list_of_one() -> None:
    assert DpoParameters(loss_type="ipo").loss_type == ["ipo"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parameters", "batch", "steps"),
    [
        ({"num_generations": 4}, Batch(rows=100, size=8, accumulation=1), 50),
        (
            {"num_generations": 4},
            Batch(rows=101, size=8, accumulation=1),
            50,
        ),  # the odd prompt makes no batch
        ({"num_generations": 4, "num_iterations": 2}, Batch(rows=100, size=8, accumulation=1), 100),
        ({"num_generations": 4}, Batch(rows=100, size=8, accumulation=4), 12),
        ({"num_generations": 4, "steps_per_generation": 4}, Batch(rows=100, size=8, accumulation=1), 48),
        ({"num_generations": 4}, Batch(rows=100, size=8, accumulation=2, world_size=2), 12),
        (
            {"num_generations": 4, "steps_per_generation": 4},
            Batch(rows=100, size=8, accumulation=2, world_size=2),
            12,
        ),
        ({"num_generations": 8}, Batch(rows=100, size=4, accumulation=1), 0),
    ],
)
def test_grpo_counts_whole_batches_of_groups(parameters: dict[str, Any], batch: Batch, steps: int) -> None:
    count = find("grpo").updates_per_epoch
    assert count is not None
    assert count(GrpoParameters(**parameters), batch) == steps


STRANGER = """
from typing import Annotated
from pydantic import BaseModel, Field
from aligntune_core.algorithms import Algorithm, Default

class Parameters(BaseModel):
    margin: Annotated[float, Field(ge=0, description="distance between the two")] = 1.0
    old: Annotated[int, Field(alias="older")] = 3

MARGIN = Algorithm(name="margin_loss", parameters=Parameters, formats=("preference",))
"""


def test_an_installed_algorithm_brings_its_keywords(installed: Callable[[str], None], rl: Make) -> None:
    installed(STRANGER)
    config = rl("Margin-Loss", margin=2, older=5)
    assert (config.algorithm, config.parameters.margin, config.parameters.old) == ("margin_loss", 2.0, 5)
    assert config.optim.num_epochs == 3.0
    assert "margin_loss" in known()


def test_a_parameter_of_an_installed_algorithm_is_checked_and_placed(
    installed: Callable[[str], None], rl: Make, sft: Make, refused: Refused
) -> None:
    installed(STRANGER)
    assert refused(rl, "margin_loss", margin=-1) == [
        "margin=-1 must be greater than or equal to 0: distance between the two"
    ]
    assert refused(rl, "margin_loss", older="x")[0].startswith("older='x' must be a valid integer")
    assert refused(sft, margin=2.0) == ["margin belongs to margin_loss; this is sft"]


def test_defaults_of_an_installed_algorithm(installed: Callable[[str], None], rl: Make) -> None:
    defaults = '{"optim.learning_rate": Default(1e-3, 2e-3, "its paper"), "optim.lr_scheduler": "cosine"}'
    installed(STRANGER.replace("formats=", f"defaults={defaults}, formats="))
    config = rl("margin_loss", use_peft=False)
    assert (config.optim.learning_rate, config.optim.lr_scheduler) == (1e-3, "cosine")
    assert (
        config.sources["optim.learning_rate"] == "default for margin_loss with full fine-tuning (its paper)"
    )
    assert rl("margin_loss", lr_scheduler="linear").optim.lr_scheduler == "linear"


def test_a_broken_algorithm_stops_only_itself(
    installed: Callable[[str], None], sft: Make, caplog: pytest.LogCaptureFixture
) -> None:
    installed("BROKEN = 3\n" + STRANGER + "\nSFT = Algorithm(**{**vars(MARGIN), 'name': 'S.F.T'})\n")
    assert "margin_loss" in known()
    assert sft().algorithm == "sft"
    with pytest.raises(
        ConfigError, match=r"broken.*could not be loaded: stranger 2.0: TypeError: .* is an int"
    ):
        find("broken")
    assert 'algorithm "sft" is left out: stranger 2.0: that name belongs to aligntune itself' in caplog.text


def test_a_parameter_named_like_a_keyword_is_refused(
    installed: Callable[[str], None], refused: Refused
) -> None:
    installed(STRANGER.replace("margin:", "batch_size:"))
    [problem] = refused(resolve_config, "rl", algorithm="margin_loss", model_name="m", dataset_name="d")
    assert problem == (
        'algorithm "margin" could not be loaded: stranger 2.0: its parameter batch_size has the name of a keyword of '
        "ours"
    )
    assert "margin_loss" not in known()


def test_names_are_those_of_the_known_algorithms() -> None:
    assert names() == list(known())

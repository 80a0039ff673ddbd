"""A backend that trains by generating only is asked the same, and so is an algorithm of a third party."""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.kit.conftest import Judge, Outcomes
    from tests.site import Site

pytestmark = [pytest.mark.backend, pytest.mark.slow]

GRPO = """
from aligntune_core import Support, hookimpl
from aligntune_trl import plugin as trl
from aligntune_trl.plugin import apply_peft, backend_info, load_model, planned, prepare

@hookimpl
def supports_algorithm(algorithm):
    return Support(True) if algorithm == "grpo" else Support(False, "grpo only")

@hookimpl
def build_trainer(loaded, config, datasets, prepared, run):
    from dataclasses import replace
{body}
"""

# name -> (body of build_trainer, the test that fails)
FAULTS = {
    "takes_each_answer_twice": (
        """
        engine = trl.build_trainer(loaded, config, datasets, prepared, run)
        once = engine.native.compute_loss
        engine.native.compute_loss = lambda *a, **k: (once(*a, **k) + once(*a, **k)) / 2
        return engine
        """,
        "test_live_samples_per_step[grpo]",
    ),
    "repeats_the_prompt": (
        """
        engine = trl.build_trainer(loaded, config, datasets, prepared, run)
        class Bad(type(engine)):
            def generate(self, prompts, sampling):
                answers = super().generate(prompts, sampling)
                texts = [p if isinstance(p, str) else p[-1]["content"] for p in prompts]
                return [texts[i // sampling.n] + answer for i, answer in enumerate(answers)]
        engine.__class__ = Bad
        return engine
        """,
        "test_live_generate[grpo]",
    ),
}


ORPO = Path(__file__).parents[2] / "examples/extensions/aligntune-orpo"


def _with_orpo(site: Site) -> None:
    """Install the example, so that trl trains an algorithm that core has never heard of."""
    (site.folder / "aligntune_orpo").symlink_to(ORPO / "src/aligntune_orpo")
    project = tomllib.loads((ORPO / "pyproject.toml").read_text())["project"]
    site.install(project["name"], project["entry-points"], requires=project["dependencies"])


@pytest.fixture(scope="module")
def found(judge: Judge) -> Outcomes:
    """The bad backends through the live tier, and of trl what is about the third party's algorithm."""
    bodies = {name: textwrap.indent(textwrap.dedent(body), "    ") for name, (body, _) in FAULTS.items()}
    sources = {name: GRPO.format(body=body) for name, body in bodies.items()}
    selection = "(live or ready) and not Test_trl or Test_trl and orpo"
    return judge(sources, "-k", selection, install=_with_orpo, others=["trl"])


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fails_its_test_and_no_other(
    name: str, found: Outcomes, failures: Callable[..., dict[str, str]]
) -> None:
    assert list(failures(found[name])) == [FAULTS[name][1]], failures(found[name])


def test_a_third_partys_algorithm_is_exercised(
    found: Outcomes, failures: Callable[..., dict[str, str]]
) -> None:
    trl = found["trl"]
    assert failures(trl) == {}
    passed = {test.partition("[")[0] for test, outcome in trl.items() if outcome == "passed"}
    assert passed >= {
        "test_argument_default_call",
        "test_argument_parameters",
        "test_live_trains",
        "test_live_number_of_steps",
        "test_live_only_the_adapter_trains",
        "test_live_saved_model_reloads",
        "test_live_merged_model_reloads",
        "test_live_evaluate",
        "test_live_same_call_same_run",
        "test_live_stop",
        "test_live_resume",
        "test_live_sampling",
        "test_live_close",
    }

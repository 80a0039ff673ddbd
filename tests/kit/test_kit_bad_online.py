"""A backend that trains an online algorithm only is asked the same: whether it stops, repeats, generates, saves."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.kit.conftest import Judge, Outcomes

pytestmark = pytest.mark.backend

GRPO = """
from aligntune_core import Support, hookimpl
from aligntune_trl import plugin as trl
from aligntune_trl.plugin import apply_peft, backend_info, load_model, prepare

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
    "does_not_stop": (
        """
        return trl.build_trainer(loaded, config, datasets, replace(run, stop=lambda: None))
        """,
        "test_live_stop",
    ),
    "takes_each_answer_twice": (
        """
        engine = trl.build_trainer(loaded, config, datasets, prepared, run)
        once = engine.native.compute_loss
        engine.native.compute_loss = lambda *a, **k: (once(*a, **k) + once(*a, **k)) / 2
        return engine
        """,
        "test_live_samples_per_step[online]",
    ),
    "repeats_the_prompt": (
        """
        engine = trl.build_trainer(loaded, config, datasets, prepared, run)
        class Bad(type(engine)):
            def generate(self, prompts, *more, **keywords):
                answers = super().generate(prompts, *more, **keywords)
                texts = [p if isinstance(p, str) else p[-1]["content"] for p in prompts]
                return [text + answer for text, answer in zip(texts, answers)]
        engine.__class__ = Bad
        return engine
        """,
        "test_live_generate",
    ),
}


@pytest.fixture(scope="module")
def found(judge: Judge) -> Outcomes:
    bodies = {name: textwrap.indent(textwrap.dedent(body), "    ") for name, (body, _) in FAULTS.items()}
    return judge({name: GRPO.format(body=body) for name, body in bodies.items()}, "-k", "live or ready")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fails_its_test_and_no_other(
    name: str, found: Outcomes, failures: Callable[..., dict[str, str]]
) -> None:
    assert list(failures(found[name])) == [FAULTS[name][1]], failures(found[name])

"""An engine that is no torch module passes the kit through its probe, and its faults are seen through it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.kit.conftest import Judge, Outcomes

pytestmark = pytest.mark.backend

SOUND = Path(__file__).with_name("bigram.py").read_text()

# name -> (the line that differs, what it becomes, the test that fails)
FAULTS = {
    "half_the_loss": ('"loss": loss,', '"loss": loss / 2,', "test_live_loss"),
    "slow": ("rate = self.rate()", "rate = self.rate() / 2", "test_live_learning_rate"),
    "moves_the_embedding": (
        "array -= rate *",
        "self.arrays[EMBEDDING] = self.arrays[EMBEDDING] * np.float32(1 + 2e-7); array -= rate *",
        "test_live_only_the_adapter_trains",
    ),
}


@pytest.fixture(scope="module")
def found(judge: Judge) -> Outcomes:
    sources = {name: SOUND.replace(line, other) for name, (line, other, _) in FAULTS.items()}
    assert all(source != SOUND for source in sources.values())
    return judge({"bigram": SOUND, **sources}, "-k", "Test_bigram or live or ready")


def test_a_backend_in_numpy_passes(found: Outcomes, failures: Callable[..., dict[str, str]]) -> None:
    bigram = found["bigram"]
    assert failures(bigram) == {}
    looked_at = {
        "test_live_trains[full]",
        "test_live_weights_are_the_models[sft]",
        "test_live_only_the_adapter_trains[sft]",
        "test_live_order_of_samples[sft]",
        "test_live_tokens[sft]",
        "test_live_loss[sft]",
        "test_live_optimizer[sft]",
        "test_live_gradient_clipping[sft]",
        "test_live_evaluate[sft]",
        "test_live_sampling[sft]",
        "test_live_resume[sft]",
    }
    assert {test for test in looked_at if bigram[test] != "passed"} == set()
    assert "probe" in bigram["test_live_adapter_shapes[sft]"]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fails_its_test_and_no_other(
    name: str, found: Outcomes, failures: Callable[..., dict[str, str]]
) -> None:
    failed = failures(found[name])
    assert {test.partition("[")[0] for test in failed} == {FAULTS[name][2]}, failed

"""The live tier: a few steps on a tiny model, watched from inside. Does the run do what the contract says?"""

from __future__ import annotations

import math
from itertools import accumulate

import pytest

from aligntune_core.testing.fixtures import rows
from aligntune_core.testing.fixtures.runs import COMPARED, EVERY, RUNS
from aligntune_core.testing.process.session import Session
from aligntune_core.testing.tiers.watched import Record, Watched, losses
from aligntune_core.testing.watch import contract
from aligntune_core.wording import listed


class LiveTier(Watched):
    """What happens in the steps of a run, and what the events tell of it."""

    # --- training ----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("run", [*EVERY, "full"])
    def test_live_trains(self, run: str, session: Session) -> None:
        """model -> adapter -> trainer -> steps; every loss is finite; a run that nobody stopped does not say so."""
        with self.waits.on("test_argument_default_call", algorithm=session.trains(RUNS[run][0])):
            record = self.kept(session, run, run)
        told = losses(record)
        assert told, "no event with a loss was emitted"
        assert all(math.isfinite(loss) for loss in told)
        assert math.isfinite(record["result"]["train_loss"])
        assert not record["result"]["stopped"], "TrainResult.stopped is set, and nobody asked it to stop"

    @pytest.mark.parametrize("run", EVERY)
    def test_live_weights_are_the_models(self, run: str, session: Session) -> None:
        """The policy starts from the weights of ``model_name``, unchanged."""
        strange = self.record(session, run)["loaded"]
        assert not strange, (
            f"before training, these weights of the model were nowhere in the policy: {strange}"
        )

    @pytest.mark.parametrize("run", EVERY)
    def test_live_only_the_adapter_trains(self, run: str, session: Session) -> None:
        """With LoRA, the model's own weights stay bit for bit; everything that was added moves."""
        record = self.record(session, run)
        assert record["base_changed"] == [], "weights of the model itself changed"
        assert record["others"], "there is no adapter"
        assert record["others_unchanged"] == [], "these parts of the adapter did not move"

    @pytest.mark.parametrize("run", [*EVERY, "full"])
    def test_live_number_of_steps(self, run: str, session: Session) -> None:
        """``max_steps`` optimiser steps are taken, told of and returned."""
        record = self.record(session, run)
        wanted = record["config"]["optim.max_steps"]
        assert record["result"]["steps"] == wanted
        assert [event["step"] for event in record["events"] if "loss" in event] == [*range(1, wanted + 1)]
        if record["config"]["algorithm"] != "ppo":  # whose steps are updates of several optimiser steps
            assert len(record["steps"]) == wanted, "steps of the optimiser"

    @pytest.mark.parametrize("run", EVERY)
    def test_live_learning_rate(self, run: str, session: Session) -> None:
        """The optimiser runs at the learning rate of schedule and warm-up, and the events tell it."""
        record = self.record(session, run)
        config = record["config"]
        curve = [contract.learning_rate(step, config) for step in range(config["optim.max_steps"])]
        if config["algorithm"] != "ppo":
            found = [step["group"]["lr"] for step in record["steps"]][: len(curve)]
            assert found == pytest.approx(curve[: len(found)], rel=1e-6, abs=1e-12)
        told = [event.get("learning_rate") for event in record["events"] if "loss" in event][: len(curve)]
        with self.waits_for_run(run):
            assert told == pytest.approx(curve[: len(told)], rel=1e-6, abs=1e-12), "what the events tell"

    @pytest.mark.parametrize("run", EVERY)
    def test_live_optimizer(self, run: str, session: Session) -> None:
        """Weight decay, betas and epsilon of the optimiser are those that were asked for."""
        record = self.record(session, run)
        names = {
            "weight_decay": "optim.weight_decay",
            "beta1": "optim.adam_beta1",
            "beta2": "optim.adam_beta2",
            "eps": "optim.adam_epsilon",
        }
        wanted = {name: record["config"][path] for name, path in names.items()}
        for step in record["steps"]:
            assert {name: step["group"][name] for name in names} == pytest.approx(wanted)

    # --- what a step takes -------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("run", EVERY)
    def test_live_samples_per_step(self, run: str, session: Session) -> None:
        """A step takes batch_size x gradient_accumulation_steps rows; the last of an epoch those that are left.

        Online, those are answers. PPO's steps are several of the optimiser, and are not counted here.
        """
        record = self.record(session, run)
        config = record["config"]
        if config["algorithm"] == "ppo":
            pytest.skip("declares ppo as its online algorithm, whose steps are several of the optimiser")
        wanted = [sum(map(len, step)) for step in record["expected_rows"]]
        if run == "online":
            wanted = [config["optim.batch_size"] * config["optim.gradient_accumulation_steps"]] * len(wanted)
        found = _samples(record)
        assert found[: len(wanted)] == wanted[: len(found)]

    @pytest.mark.parametrize("run", COMPARED)
    def test_live_order_of_samples(self, run: str, session: Session) -> None:
        """Rows come in the permutation that the seed and the epoch give."""
        record = self.record(session, run)
        wanted = [row for step in record["expected_rows"] for micro in step for row in micro]
        found = [row for step in record["steps"] for row in step["rows"]]
        assert found[: len(wanted)] == wanted[: len(found)]

    @pytest.mark.parametrize("run", [*COMPARED, "full"])
    def test_live_tokens(self, run: str, session: Session) -> None:
        """The chat template is applied once, and long rows are cut where they should."""
        record = self.record(session, run)
        strange = [step["strange"] for step in record["steps"] if step["strange"]]
        assert not strange, f"a sequence went in that is no row under the contract: {strange[0]!r}"

    @pytest.mark.parametrize("run", [*COMPARED, "full"])
    def test_live_loss(self, run: str, session: Session) -> None:
        """The loss, and the gradient that the optimiser gets, are the contract's for the rows that went in."""
        record = self.record(session, run)
        steps, told = record["steps"], losses(record)
        expected = [step["expected_loss"] for step in steps]
        assert None not in expected, "the forward passes of a step do not add up to whole rows"
        with self.waits_for_run(run):
            assert told[: len(expected)] == pytest.approx(expected[: len(told)], rel=2e-4)
        if run != "full":  # whose gradient is clipped
            errors = [step["gradient_error"] for step in steps]
            assert max(errors) < 2e-3, f"relative distance of the gradient from the contract's: {errors}"

    def test_live_gradient_clipping(self, session: Session) -> None:
        """The gradient's norm is brought down to ``max_grad_norm`` before the optimiser gets it."""
        record = self.like_full(session, {"optim.max_grad_norm": 0.05})
        limit = record["config"]["optim.max_grad_norm"]
        for step in record["steps"]:
            if record["config"]["algorithm"] in COMPARED:
                wanted = min(limit, step["expected_grad_norm"])
                assert step["grad_norm"] == pytest.approx(wanted, rel=1e-2)
            assert step["grad_norm"] <= 1.01 * limit

    # --- what the events tell ----------------------------------------------------------------------------------------

    @pytest.mark.parametrize("run", EVERY)
    def test_live_events(self, run: str, session: Session) -> None:
        """A step's event has step, epoch, loss, learning_rate, grad_norm and tokens, and the algorithm's own figure."""
        record = self.record(session, run)
        for event in (event for event in record["events"] if "loss" in event):
            lacking = {"step", "epoch", "learning_rate", "grad_norm", "tokens"} - event.keys()
            assert not lacking, f"an event lacks {listed(sorted(lacking))}"
            assert event["tokens"] > 0
            own = {"dpo": "margin", "online": "reward"}.get(run, "")
            assert any(own in key for key in event), f'an event of {run} has no key with "{own}"'
        if run in COMPARED and record["config"]["run.eval_strategy"] != "no":
            assert any("eval_loss" in event for event in record["events"]), "no evaluation was told of"
        with self.waits_for_run(run):
            _assert_true_events(run, record)


def _samples(record: Record) -> list[float]:
    """How many rows each step took; online, how many answers."""
    each = 2 if record["config"]["algorithm"] == "dpo" else 1
    return [step["sequences"] / each for step in record["steps"]]


def _assert_true_events(run: str, record: Record) -> None:
    """Compare what the events tell of each step with what was seen; PPO's steps are several of the optimiser."""
    events, steps = [event for event in record["events"] if "loss" in event], record["steps"]
    epochs = [event["epoch"] for event in events]
    assert min(epochs) > 0, "epoch counts what is done of the rows, and some were"
    assert epochs == sorted(epochs)
    if record["config"]["algorithm"] == "ppo":
        return
    norms = [step["grad_norm"] for step in steps]
    told = [event["grad_norm"] for event in events]
    assert told[: len(norms)] == pytest.approx(norms[: len(told)], rel=1e-2), "grad_norm"
    if run in COMPARED:
        done = [taken / rows.ROWS for taken in accumulate(_samples(record))]
        assert epochs[: len(done)] == pytest.approx(done[: len(epochs)], abs=0.01), "epoch"
        tokens = [step["tokens"] for step in steps]
        assert [event["tokens"] for event in events][: len(tokens)] == tokens[: len(events)], "tokens"

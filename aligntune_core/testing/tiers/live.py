"""The live tier: a few steps on a tiny model, watched from inside. Does the run do what the contract says?"""

from __future__ import annotations

import math
from itertools import accumulate

import pytest

from aligntune_core.algorithms import Algorithm, catalogue, find
from aligntune_core.testing.fixtures import rows
from aligntune_core.testing.fixtures.runs import FULL
from aligntune_core.testing.process.session import Session
from aligntune_core.testing.tiers.watched import Record, Watched, losses, runs
from aligntune_core.testing.watch import contract
from aligntune_core.testing.watch.losses import LOSSES
from aligntune_core.wording import listed


class LiveTier(Watched):
    """What happens in the steps of a run, and what the events tell of it."""

    # --- training ----------------------------------------------------------------------------------------------------

    @runs("every", full=True)
    def test_live_trains(self, run: str, session: Session) -> None:
        """model -> adapter -> trainer -> steps; every loss is finite; a run that nobody stopped does not say so."""
        with self.waits.on("test_argument_default_call", algorithm=self.algorithm_of(session, run)):
            record = self.kept(session, run, run)
        curve = losses(record)
        assert curve, "no event with a loss was emitted"
        assert all(math.isfinite(loss) for loss in curve)
        assert math.isfinite(record["result"]["train_loss"])
        assert not record["result"]["stopped"], "TrainResult.stopped is set, and nobody asked it to stop"

    @runs("every")
    def test_live_weights_are_the_models(self, run: str, session: Session) -> None:
        """The policy starts from the weights of ``model_name``, unchanged."""
        strange = self.record(session, run)["loaded"]
        assert not strange, (
            f"before training, these weights of the model were nowhere in the policy: {strange}"
        )

    @runs("every")
    def test_live_only_the_adapter_trains(self, run: str, session: Session) -> None:
        """With LoRA, the model's own weights stay bit for bit; everything that was added moves."""
        record = self.record(session, run)
        assert record["base_changed"] == [], "weights of the model itself changed"
        assert record["others"], "there is no adapter"
        assert record["others_unchanged"] == [], "these parts of the adapter did not move"

    @runs("every", full=True)
    def test_live_number_of_steps(self, run: str, session: Session) -> None:
        """``max_steps`` optimiser steps are taken, told of and returned."""
        record = self.record(session, run)
        count = record["config"]["optim.max_steps"]
        assert record["result"]["steps"] == count
        assert [event["step"] for event in record["events"] if "loss" in event] == [*range(1, count + 1)]
        assert len(record["steps"]) == count, "steps of the optimiser"

    @runs("every")
    def test_live_learning_rate(self, run: str, session: Session) -> None:
        """The optimiser runs at the learning rate of schedule and warm-up, and the events tell it."""
        record = self.record(session, run)
        config = record["config"]
        curve = [contract.learning_rate(step, config) for step in range(config["optim.max_steps"])]
        rates = [step["group"]["lr"] for step in record["steps"]][: len(curve)]
        assert rates == pytest.approx(curve[: len(rates)], rel=1e-6, abs=1e-12)
        logged = [event.get("learning_rate") for event in record["events"] if "loss" in event][: len(curve)]
        with self.waits_for_run(run):
            assert logged == pytest.approx(curve[: len(logged)], rel=1e-6, abs=1e-12), "what the events tell"

    @runs("every")
    def test_live_optimizer(self, run: str, session: Session) -> None:
        """Weight decay, betas and epsilon of the optimiser are those that were asked for."""
        record = self.record(session, run)
        names = {
            "weight_decay": "weight_decay",
            "beta1": "adam_beta1",
            "beta2": "adam_beta2",
            "eps": "adam_epsilon",
        }
        settings = {name: record["config"][f"optim.{field}"] for name, field in names.items()}
        for step in record["steps"]:
            assert {name: step["group"][name] for name in names} == pytest.approx(settings)

    # --- what a step takes -------------------------------------------------------------------------------------------

    @runs("every")
    def test_live_samples_per_step(self, run: str, session: Session) -> None:
        """A step takes batch_size x gradient_accumulation_steps rows; the last of an epoch those that are left.

        Where an algorithm generates, those are answers.
        """
        record = self.record(session, run)
        config = record["config"]
        counts: list[float] = [sum(map(len, step)) for step in record["expected_rows"]]
        if find(run).generates:
            counts = [config["optim.batch_size"] * config["optim.gradient_accumulation_steps"]] * len(counts)
        taken = _samples(record)
        assert taken[: len(counts)] == counts[: len(taken)]

    @runs("judged")
    def test_live_order_of_samples(self, run: str, session: Session) -> None:
        """Rows come in the permutation that the seed and the epoch give."""
        record = self.record(session, run)
        permutation = [row for step in record["expected_rows"] for micro in step for row in micro]
        order = [row for step in record["steps"] for row in step["rows"]]
        assert order[: len(permutation)] == permutation[: len(order)]

    @runs("judged", full=True)
    def test_live_tokens(self, run: str, session: Session) -> None:
        """The chat template is applied once, and long rows are cut where they should."""
        record = self.record(session, run)
        strange = [step["strange"] for step in record["steps"] if step["strange"]]
        assert not strange, f"a sequence went in that is no row under the contract: {strange[0]!r}"

    @runs("judged", full=True)
    def test_live_loss(self, run: str, session: Session) -> None:
        """The loss, and the gradient that the optimiser gets, are the contract's for the rows that went in."""
        record = self.record(session, run)
        steps, curve = record["steps"], losses(record)
        expected = [step["expected_loss"] for step in steps]
        assert None not in expected, "the forward passes of a step do not add up to whole rows"
        with self.waits_for_run(run):
            assert curve[: len(expected)] == pytest.approx(expected[: len(curve)], rel=2e-4)
        # The gradient of "full" is clipped, and a probe tells its norm only.
        if run != FULL and not record["probed"]:
            errors = [step["gradient_error"] for step in steps]
            assert max(errors) < 2e-3, f"relative distance of the gradient from the contract's: {errors}"

    @runs("first")
    def test_live_gradient_clipping(self, run: str, session: Session) -> None:
        """The gradient's norm is brought down to ``max_grad_norm`` before the optimiser gets it."""
        record = self.like_full(session, run, {"optim.max_grad_norm": 0.05})
        limit = record["config"]["optim.max_grad_norm"]
        for step in record["steps"]:
            if step["expected_grad_norm"] is not None:
                clipped = min(limit, step["expected_grad_norm"])
                assert step["grad_norm"] == pytest.approx(clipped, rel=1e-2)
            assert step["grad_norm"] <= 1.01 * limit

    # --- what the events tell ----------------------------------------------------------------------------------------

    @runs("every")
    def test_live_events(self, run: str, session: Session) -> None:
        """A step's event has step, epoch, loss, learning_rate, grad_norm and tokens, and the algorithm's own figure."""
        record = self.record(session, run)
        for event in (event for event in record["events"] if "loss" in event):
            lacking = {"step", "epoch", "learning_rate", "grad_norm"} - event.keys()
            if run in catalogue.own_names():  # a library counts the tokens of batches that it knows
                lacking |= {"tokens"} - event.keys()
            assert not lacking, f"an event lacks {listed(sorted(lacking))}"
            assert event.get("tokens", 1) > 0
            own = _own_figures(find(run))
            assert not own or any(name in key for key in event for name in own), (
                f"an event of {run} has none of {listed(own)}"
            )
        if find(run).figures and record["config"]["run.eval_strategy"] != "no":
            assert any("eval_loss" in event for event in record["events"]), "no evaluation was told of"
        with self.waits_for_run(run):
            _assert_true_events(run, record)


def _own_figures(algorithm: Algorithm) -> list[str]:
    """What a step's event tells beside the loss, one of them at least: the reward, or a figure of evaluations.

    Libraries have names of their own for those of a step, so the last word of a figure will do.
    """
    if algorithm.supervised:
        return []
    figures = sorted({name.rpartition("_")[2] for name in algorithm.figures})
    return ["reward"] if algorithm.scored_by == "rewards" else figures


def _samples(record: Record) -> list[float]:
    """How many rows each step took, or answers where they are generated; a row has a sequence for each answer."""
    row = rows.rows(record["config"]["algorithm"], 1)[0]
    each = sum(column in contract.COMPLETIONS for column in row) or 1
    return [step["sequences"] / each for step in record["steps"]]


def _assert_true_events(run: str, record: Record) -> None:
    """Compare what the events tell of each step with what was seen."""
    events, steps = [event for event in record["events"] if "loss" in event], record["steps"]
    epochs = [event["epoch"] for event in events]
    assert min(epochs) > 0, "epoch counts what is done of the rows, and some were"
    assert epochs == sorted(epochs)
    norms = [step["grad_norm"] for step in steps]
    logged = [event["grad_norm"] for event in events]
    assert logged[: len(norms)] == pytest.approx(norms[: len(logged)], rel=1e-2), "grad_norm"
    if run in LOSSES:
        done = [taken / rows.ROWS for taken in accumulate(_samples(record))]
        assert epochs[: len(done)] == pytest.approx(done[: len(epochs)], abs=0.01), "epoch"
        tokens = [step["tokens"] for step in steps]
        assert [event["tokens"] for event in events][: len(tokens)] == tokens[: len(events)], "tokens"

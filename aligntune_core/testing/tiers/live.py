"""The live tier: a few steps on a tiny model, watched from inside. Does the run do what the contract says?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from aligntune_core.algorithms import known
from aligntune_core.config import covers
from aligntune_core.errors import listed
from aligntune_core.testing import changes, contract
from aligntune_core.testing.runs import COMPARED, EVERY, NEW_TOKENS, RUNS, STOP_AFTER
from aligntune_core.testing.session import Session, named, parameters
from aligntune_core.testing.tiers.base import Kit
from aligntune_core.testing.worker import Refused

Record = Mapping[str, Any]


class LiveTier(Kit):
    """Runs are made once and looked at by many tests; a run that fails, fails ``test_live_trains``."""

    def record(self, session: Session, run: str, first: bool = False) -> Record:
        """What was seen of a run."""
        algorithm, settings = RUNS[run]
        algorithm = session.trains(algorithm)
        return self._kept(session, run, first, algorithm=algorithm, settings=settings)

    def _kept(self, session: Session, run: str, first: bool, **arguments: Any) -> Record:
        try:
            kept: Record = session.once(
                run, lambda: session.ask("train", name=self._key(session, run), **arguments)
            )
        except (Refused, pytest.fail.Exception) as error:
            if first:
                raise
            pytest.fail(
                f"there is no run to look at, {type(error).__name__}: see test_live_trains", pytrace=False
            )
        return kept

    def _key(self, session: Session, run: str) -> str:
        return f"{session.name}:{run}"

    def look(self, session: Session, run: str, at: str, **more: Any) -> Any:
        """Look at something that a run left."""
        self.record(session, run)
        key = (run, at)
        return session.once(
            key, lambda: session.worker.ask("look", name=self._key(session, run), at=at, **more)
        )

    # --- training ----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("run", [*EVERY, "full"])
    def test_live_trains(self, run: str, session: Session) -> None:
        """model -> adapter -> trainer -> steps; every loss is finite."""
        record = self.record(session, run, first=True)
        losses = _losses(record)
        assert losses, "no event with a loss was emitted"
        assert all(math.isfinite(loss) for loss in losses)
        assert math.isfinite(record["result"]["train_loss"])

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

    @pytest.mark.parametrize("run", EVERY)
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

    @pytest.mark.parametrize("run", COMPARED)
    def test_live_samples_per_step(self, run: str, session: Session) -> None:
        """A step takes batch_size x gradient_accumulation_steps rows; the last of an epoch those that are left."""
        record = self.record(session, run)
        wanted = [sum(map(len, step)) for step in record["expected_rows"]]
        each = 2 if record["config"]["algorithm"] == "dpo" else 1
        found = [step["sequences"] / each for step in record["steps"]]
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
        steps, losses = record["steps"], _losses(record)
        expected = [step["expected_loss"] for step in steps]
        assert None not in expected, "the forward passes of a step do not add up to whole rows"
        assert losses[: len(expected)] == pytest.approx(expected[: len(losses)], rel=2e-4)
        if run != "full":  # whose gradient is clipped
            errors = [step["gradient_error"] for step in steps]
            assert max(errors) < 2e-3, f"relative distance of the gradient from the contract's: {errors}"

    def test_live_gradient_clipping(self, session: Session) -> None:
        """The gradient's norm is brought down to ``max_grad_norm`` before the optimiser gets it."""
        record = self.record(session, "full")
        for step in record["steps"]:
            wanted = min(record["config"]["optim.max_grad_norm"], step["expected_grad_norm"])
            assert step["grad_norm"] == pytest.approx(wanted, rel=1e-2)

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

    # --- adapter and files -------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("run", EVERY)
    def test_live_adapter_shapes(self, run: str, session: Session) -> None:
        """The saved adapter has matrices A (r x in) and B (out x r) on each target module, and no others."""
        record, saved = self.record(session, run), self.look(session, run, "saved")
        assert saved["adapted"], "output_dir has no adapter_config.json"
        config = record["config"]
        wanted = {}
        for module, (rows_out, rows_in) in _targets(record["linear"], config["peft.target_modules"]).items():
            wanted[f"{module}.lora_A"] = [config["peft.r"], rows_in]
            wanted[f"{module}.lora_B"] = [rows_out, config["peft.r"]]
        assert {_short(name): shape for name, shape in saved["shapes"].items()} == wanted
        assert saved["adapter"]["r"] == config["peft.r"]
        assert saved["adapter"]["lora_alpha"] == pytest.approx(config["peft.alpha"])

    @pytest.mark.parametrize("run", [*EVERY, "full"])
    def test_live_saved_model_reloads(self, run: str, session: Session) -> None:
        """Plain peft and transformers load what was saved, and give the trained policy's logits."""
        saved = self.look(session, run, "saved")
        assert saved["difference"] < 1e-4, f"logits differ by {saved['difference']}"
        assert saved["moved"] > 1e-5, "training left the policy as it was"
        assert saved["tokenizer"], "the saved tokenizer differs"

    def test_live_merged_model_reloads(self, session: Session) -> None:
        """``save_model(merged=True)`` writes a plain model with the policy's logits, and leaves the policy alone."""
        merged = self.look(session, "sft", "merged")
        assert merged["whole"], "an adapter was written"
        assert merged["difference"] < 1e-3, f"logits differ by {merged['difference']}"
        assert merged["policy_moved"] == 0, "merging changed the policy in memory"

    def test_live_full_fine_tuning(self, session: Session) -> None:
        """``use_peft=False`` trains every weight and adds none."""
        if not covers(session.info.honours, "peft.enabled"):
            pytest.skip("declares that it trains adapters only: peft.enabled is not honoured")
        record = self.record(session, "full")
        assert record["others"] == [], "there are weights that the model does not have"
        assert record["base_unchanged"] == [], "these weights did not move"

    def test_live_checkpoints(self, session: Session) -> None:
        """Checkpoints are written where they are due, complete, and old ones are removed."""
        for path in ("run.save_strategy", "run.save_steps", "run.save_total_limit"):
            if not covers(session.info.honours, path):
                pytest.skip(f"declares that it does not honour {path}")
        assert self.record(session, "full")["checkpoints"] == {"checkpoint-2": None}

    # --- evaluate and generate ---------------------------------------------------------------------------------------

    def test_live_evaluate(self, session: Session) -> None:
        """``evaluate`` returns finite figures with the true loss of the held-out rows, and trains nothing."""
        found = self.look(session, "sft", "evaluation")
        assert found["finite"]
        loss = found["found"].get("eval_loss", found["found"].get("loss"))
        whole = covers(
            session.info.honours, "optim.eval_batch_size"
        )  # then they are one batch: no mean of means
        assert loss == pytest.approx(found["expected_loss"], rel=1e-4 if whole else 5e-3)
        assert found["changed"] == []

    def test_live_generate(self, session: Session) -> None:
        """One greedy answer a prompt, without the prompt, of at most ``max_new_tokens``; messages work too."""
        found = self.look(session, "sft", "generation", max_new_tokens=NEW_TOKENS)
        answers = found["answers"]
        assert [type(answer) for answer in answers] == [str, str]
        assert answers == found["again"], "temperature 0 is not deterministic"
        assert answers == found["to_messages"], "a string means something else than a user's message with it"
        for answer, prompt, first in zip(answers, found["prompts"], found["firsts"], strict=True):
            assert prompt not in answer, "the prompt is in the answer"
            assert answer.startswith(first), f"the likeliest first token is {first!r}"
        assert max(found["lengths"]) <= NEW_TOKENS
        assert [type(answer) for answer in found["sampled"]] == [str]

    # --- the same call, stopping, resuming ---------------------------------------------------------------------------

    def repeated(self, session: Session, run: str, **more: Any) -> Record:
        """The run "sft" once more, kept under another name."""
        return self._kept(
            session, run, False, algorithm=session.trains("sft"), settings=RUNS["sft"][1], **more
        )

    def test_live_same_call_same_run(self, session: Session) -> None:
        """The same call gives the same losses."""
        whole, again = self.record(session, "sft"), self.repeated(session, "again")
        assert _losses(again) == pytest.approx(_losses(whole), rel=1e-5)

    def test_live_stop(self, session: Session) -> None:
        """When ``run.stop()`` gives a reason, a complete checkpoint is written and train returns."""
        record = self.repeated(session, "stopped", stop_after=STOP_AFTER)
        assert len(record["steps"]) == STOP_AFTER, "steps that were taken"
        assert record["result"]["steps"] == STOP_AFTER
        assert record["result"]["stopped"], "TrainResult.stopped is empty"
        assert record["checkpoints"].get(f"checkpoint-{STOP_AFTER}", "missing") is None

    def test_live_resume(self, session: Session) -> None:
        """Resumed from a checkpoint, the run ends with the weights of an uninterrupted one."""
        whole, origin = self.record(session, "sft"), "sft"
        checkpoint = f"checkpoint-{STOP_AFTER}"
        if checkpoint not in whole["checkpoints"]:  # save_steps is not honoured: a stop leaves one
            origin = "stopped"
            self.repeated(session, origin, stop_after=STOP_AFTER)
        key = self._key(session, origin)
        resumed = self.repeated(session, "resumed", resume=(key, checkpoint))
        assert resumed["result"]["steps"] == whole["result"]["steps"]
        left = [step["rows"] for step in whole["steps"][STOP_AFTER:]]
        assert [step["rows"] for step in resumed["steps"]] == left
        assert _losses(resumed) == pytest.approx(_losses(whole)[STOP_AFTER:], rel=1e-4)
        assert resumed["fingerprint"] == pytest.approx(whole["fingerprint"], rel=1e-4)

    # --- refusals ----------------------------------------------------------------------------------------------------

    def test_live_unknown_option_is_refused(self, session: Session) -> None:
        """``backend_options`` that the backend does not have are an error that names them."""
        algorithm = next(a for a in known() if session.supports(a))
        with pytest.raises(Refused, match="no_such_option") as caught:
            session.ask("create", algorithm=algorithm, settings={"backend_options": {"no_such_option": 1}})
        assert "ConfigError" in caught.value.classes

    def test_live_unsupported_algorithm_is_refused(self, session: Session) -> None:
        """An algorithm that the backend declines is an error that names both."""
        declined = [a for a in known() if not session.supports(a)]
        if not declined:
            pytest.skip("declares that it trains every known algorithm")
        for algorithm in declined:
            with pytest.raises(Refused, match=algorithm) as caught:
                session.ask("create", algorithm=algorithm, settings={})
            assert "UnsupportedAlgorithm" in caught.value.classes

    # --- fields that planned says nothing of -------------------------------------------------------------------------

    def test_live_fields(self, session: Session) -> None:
        """Each honoured field that ``planned`` says nothing of is seen in ``effective`` when it changes."""
        fields: dict[str, list[str]] = {}
        for path in changes.backend_paths():
            algorithm = session.algorithm_for(path)
            if algorithm and session.testable(path):
                fields.setdefault(algorithm, []).append(path)
        problems = [p for algorithm in fields for p in _problems(session, algorithm, fields[algorithm])]
        assert not problems, "\n".join(problems)

    @pytest.mark.parametrize("algorithm", sorted(known()))
    def test_live_parameters(self, algorithm: str, session: Session) -> None:
        """Each parameter of a trained algorithm that changes is seen in ``effective``, or refused by name."""
        session.trains(algorithm)
        problems = _problems(session, algorithm, parameters(algorithm))
        assert not problems, "\n".join(problems)


def _problems(session: Session, algorithm: str, fields: Iterable[str]) -> list[str]:
    """What is wrong with the fields that are left to this tier."""
    left = session.left_to_live(algorithm, fields)
    found = [_problem(session, algorithm, path, left) for path in left]
    return [problem for problem in found if problem]


def _problem(session: Session, algorithm: str, path: str, others: Sequence[str]) -> str:
    try:
        found = session.effective(algorithm, path, others)
    except Refused as refusal:
        if named(path, str(refusal)):
            return ""
        return f"{path} was changed and refused, but the message does not name it: {refusal}"
    if found["found"] == "absent":
        return f"{path} was changed, and neither planned nor effective tells what is in force"
    if found["found"] == "different":
        return f"{path}: asked for {found['asked']}, effective says {found['value']}"
    return ""


def _losses(record: Record) -> list[float]:
    return [event["loss"] for event in record["events"] if "loss" in event]


def _targets(linear: Mapping[str, Sequence[int]], modules: str | Sequence[str]) -> dict[str, Sequence[int]]:
    """The linear layers that carry an adapter: all but the output head, or those named."""
    if modules == "all-linear":
        return {name: shape for name, shape in linear.items() if name != "lm_head"}
    return {name: shape for name, shape in linear.items() if name.rpartition(".")[2] in modules}


def _short(name: str) -> str:
    """A tensor's name in a saved adapter as "module.lora_A"."""
    return name.removeprefix("base_model.model.").removesuffix(".weight")

"""The live tier, second half: what a run leaves, and what can be done with it afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial

import pytest

from aligntune_core.algorithms import find, known
from aligntune_core.config import covers
from aligntune_core.testing.fixtures import changes
from aligntune_core.testing.fixtures.runs import DRAWN, FULL, NEW_TOKENS, PROMPTS, STOP_AFTER, covering
from aligntune_core.testing.process.live import Refused
from aligntune_core.testing.process.session import Session, parameters
from aligntune_core.testing.tiers.base import field_problem
from aligntune_core.testing.tiers.watched import Record, Watched, losses, runs
from aligntune_core.testing.watch.losses import LOSSES
from aligntune_core.wording import listed


class LiveAfterTier(Watched):
    """Files, checkpoints, evaluation, generation, stopping, resuming, refusals, and fields that ``effective`` tells."""

    # --- adapter and files -------------------------------------------------------------------------------------------

    @runs("every")
    def test_live_adapter_shapes(self, run: str, session: Session) -> None:
        """The saved adapter has matrices A (r x in) and B (out x r) on each target module, and no others."""
        record = self.record(session, run)
        if record["probed"]:
            pytest.skip("declares through its probe that its model is none of transformers' and peft's")
        with self.waits.on("test_live_trains", "test_live_saved_model_reloads", run=run):
            saved = self.look(session, run, "saved")
            assert saved["adapted"], "output_dir has no adapter_config.json"
            self._assert_shapes(record, saved)

    def _assert_shapes(self, record: Record, saved: Record) -> None:
        config = record["config"]
        shapes = {}
        for module, (rows_out, rows_in) in _targets(record["linear"], config["peft.target_modules"]).items():
            shapes[f"{module}.lora_A"] = [config["peft.r"], rows_in]
            shapes[f"{module}.lora_B"] = [rows_out, config["peft.r"]]
        lora = {_short(name): shape for name, shape in saved["shapes"].items()}
        if find(config["algorithm"]).head != "lm":  # whose head is saved beside the adapter
            lora = {name: shape for name, shape in lora.items() if "lora_" in name}
        assert lora == shapes
        assert saved["adapter"]["r"] == config["peft.r"]
        assert saved["adapter"]["lora_alpha"] == pytest.approx(config["peft.alpha"])

    @runs("every", full=True)
    def test_live_saved_model_reloads(self, run: str, session: Session) -> None:
        """Plain peft and transformers load what was saved, and give the trained policy's logits.

        ``save_model(path)`` writes to another folder just as well.
        """
        with self.waits.on("test_live_trains", run=run):
            saved = self.look(session, run, "saved")
            assert not saved["lacking"], f"output_dir has no {listed(saved['lacking'])}"
            if not saved["probed"]:
                assert saved["difference"] < 1e-4, f"logits differ by {saved['difference']}"
            assert saved["moved"] > 1e-5, "training left the policy as it was"
            assert saved["tokenizer"], "the saved tokenizer differs"
            elsewhere = saved["lacking_elsewhere"]
            assert not elsewhere, f"save_model(path) left no {listed(elsewhere)} in that folder"

    @runs("first", full=True)
    def test_live_merged_model_reloads(self, run: str, session: Session) -> None:
        """``save_model(merged=True)`` writes a plain model with the policy's logits, and leaves the policy alone.

        A model without adapter is written whole.
        """
        with self.waits.on("test_live_saved_model_reloads", run=run):
            merged = self.look(session, run, "merged")
            assert merged["whole"], "an adapter was written"
            assert not merged["lacking"], f"the folder has no {listed(merged['lacking'])}"
            if merged["difference"] is not None:
                assert merged["difference"] < 1e-3, f"logits differ by {merged['difference']}"
            assert merged["moved"] == 0, "merging changed the policy in memory"

    @runs("first")
    def test_live_full_fine_tuning(self, run: str, session: Session) -> None:
        """``use_peft=False`` trains every weight and adds none."""
        if not covers(session.info.honours, "peft.enabled"):
            pytest.skip("declares that it trains adapters only: peft.enabled is not honoured")
        record = self.like_full(session, run, {"peft.enabled": False, "peft.r": None})
        if find(record["config"]["algorithm"]).head == "lm":
            assert record["others"] == [], "there are weights that the model does not have"
        assert record["base_unchanged"] == [], "these weights did not move"

    @runs("first")
    def test_live_checkpoints(self, run: str, session: Session) -> None:
        """Checkpoints are written where they are due, complete, and old ones are removed."""
        for path in ("run.save_strategy", "run.save_steps", "run.save_total_limit"):
            if not covers(session.info.honours, path):
                pytest.skip(f"declares that it does not honour {path}")
        whole = FULL if self.has_full(session, run) else run
        with self.waits.on("test_live_saved_model_reloads", run=whole):
            every = {"run.save_strategy": "steps", "run.save_steps": 1, "run.save_total_limit": 1}
            record = self.like_full(session, run, every)
            last = f"checkpoint-{record['config']['optim.max_steps']}"
            assert record["checkpoints"] == {last: None}, "with save_steps=1 and save_total_limit=1"
        record = self.record(session, run)
        if record["config"]["run.save_strategy"] != "steps":
            settings = {"run.save_strategy": "steps", "run.save_steps": STOP_AFTER}
            record = self.kept(session, run, f"{run} saving", settings=settings)
        steps = {step for name in record["checkpoints"] if (step := int(name.rpartition("-")[2])) < 3}
        assert steps == {STOP_AFTER}, f"with save_steps={STOP_AFTER}, of three steps"

    # --- evaluate and generate ---------------------------------------------------------------------------------------

    @runs("every")
    def test_live_evaluate(self, run: str, session: Session) -> None:
        """``evaluate`` returns the algorithm's figures, finite, and the true loss of the rows; it trains nothing."""
        algorithm = find(run)
        if algorithm.generates and not algorithm.figures and run != covering(session.trained)[0]:
            pytest.skip("declares no figure of an evaluation")
        evaluation = self.look(session, run, "evaluation")
        assert evaluation["finite"]
        assert evaluation["changed"] == []
        lacking = algorithm.figures.keys() - evaluation["own"].keys()
        assert not lacking, f"evaluate() gives no {listed(sorted(lacking))}, which {run} declares"
        if evaluation["expected_loss"] is None:
            return
        # With an eval_batch_size that is honoured they are one batch: no mean of means.
        tolerance = 1e-4 if covers(session.info.honours, "optim.eval_batch_size") else 5e-3
        for figures, expected, which in (
            ("own", "expected_loss", "held-out rows"),
            ("others", "expected_of_others", "rows given to evaluate(dataset)"),
        ):
            loss = evaluation[figures].get("eval_loss", evaluation[figures].get("loss"))
            with self.waits.on("test_live_loss", run=run):
                assert loss == pytest.approx(evaluation[expected], rel=tolerance), which

    @runs("writing")
    def test_live_generate(self, run: str, session: Session) -> None:
        """One greedy answer a prompt, without the prompt, of at most ``max_new_tokens``; messages work too."""
        generation = self.look(session, run, "generation")
        answers = generation["answers"]
        assert [type(answer) for answer in answers] == [str, str]
        assert answers == generation["again"], "temperature 0 is not deterministic"
        assert answers == generation["to_messages"], (
            "a string means something else than a user's message with it"
        )
        for answer, prompt in zip(answers, PROMPTS, strict=True):
            assert prompt not in answer, "the prompt is in the answer"
        if generation["greedy"] is not None:
            likeliest = [answer.strip() for answer in generation["greedy"]]
            assert [a.strip() for a in answers] == likeliest, (
                f"the likeliest {NEW_TOKENS} tokens, one after the other"
            )
        assert [type(answer) for answer in generation["sampled"]] == [str]

    @runs("writing")
    def test_live_sampling(self, run: str, session: Session) -> None:
        """``n`` answers a prompt, the same with the same seed; a text of ``stop`` ends an answer and is left out."""
        with self.waits.on("test_live_generate", run=run):
            sampling = self.look(session, run, "sampling")
            drawn, end = sampling["drawn"], sampling["end"]
            assert len(drawn) == DRAWN * len(PROMPTS), "n answers a prompt"
            assert len(set(drawn)) > 1, "at temperature 1.5 all answers are one"
            assert drawn == sampling["again"], "the same seed draws other answers"
            assert sampling["other_seed"] != drawn[:DRAWN], "another seed draws the same answers"
            if end:
                cut = [text.partition(end)[0] for text in sampling["greedy"]]
                assert sampling["ended"] == cut, f"stop={end!r}"

    # --- the same call, stopping, resuming ---------------------------------------------------------------------------

    @runs("first")
    def test_live_same_call_same_run(self, run: str, session: Session) -> None:
        """The same call gives the same losses."""
        whole, again = self.record(session, run), self.kept(session, run, f"{run} again")
        assert losses(again) == pytest.approx(losses(whole), rel=1e-5)

    def stopped(self, session: Session, run: str) -> Record:
        """A run again, asked to stop."""
        return self.kept(session, run, f"{run} stopped", stop_after=STOP_AFTER)

    @runs("first")
    def test_live_stop(self, run: str, session: Session) -> None:
        """When ``run.stop()`` gives a reason, a complete checkpoint is written and train returns."""
        waits = ("test_live_trains", "test_live_saved_model_reloads", "test_live_checkpoints")
        with self.waits.on(*waits, run=run):
            record = self.stopped(session, run)
            result = record["result"]
            assert len(record["steps"]) == STOP_AFTER, "steps that were taken"
            assert result["steps"] == STOP_AFTER
            assert result["stopped"], "TrainResult.stopped is empty"
            assert record["checkpoints"].get(f"checkpoint-{result['steps']}", "missing") is None

    @runs("first")
    def test_live_logging_steps(self, run: str, session: Session) -> None:
        """An event comes every ``logging_steps`` steps; the last step may have one too."""
        if not covers(session.info.honours, "run.logging_steps"):
            pytest.skip("declares that it does not honour run.logging_steps")
        with self.waits.on("test_live_fields"), self.waits_for_run(run):
            record = self.kept(session, run, f"{run} terse", settings={"run.logging_steps": 2})
            steps = [event["step"] for event in record["events"] if "loss" in event]
            assert steps[:1] == [2], "the first of three steps that is told of with logging_steps=2"

    @runs("first")
    def test_live_resume(self, run: str, session: Session) -> None:
        """Resumed from a checkpoint, the run ends with the weights of an uninterrupted one."""
        whole = self.record(session, run)
        # Where save_steps is not honoured, or not set, a stop leaves the checkpoint.
        saves = f"checkpoint-{STOP_AFTER}" in whole["checkpoints"]
        stop = nullcontext() if saves else self.waits.on("test_live_stop", run=run)
        with self.waits.on("test_live_checkpoints", run=run), stop, self.waits_for_run(run):
            resume = (run, f"checkpoint-{STOP_AFTER}")
            if not saves:
                resume = (f"{run} stopped", f"checkpoint-{self.stopped(session, run)['result']['steps']}")
            _assert_goes_on(whole, self.kept(session, run, f"{run} resumed", resume=resume))

    @runs("first")
    def test_live_close(self, run: str, session: Session) -> None:
        """``close()`` lets go of a trainer that has trained, and may be called twice."""
        with self.waits.on("test_live_same_call_same_run", "test_live_trains", run=run):
            self.kept(session, run, f"{run} again")
            session.ask("look", name=f"{run} again", at="close")

    # --- refusals ----------------------------------------------------------------------------------------------------

    def test_live_unknown_option_is_refused(self, session: Session) -> None:
        """``backend_options`` that the backend does not have are an error that names them."""
        algorithm = session.trained[0]
        settings = {"backend_options": {"no_such_option": 1}}
        with self.waits.on("test_argument_default_call", algorithm=algorithm):
            with pytest.raises(Refused, match="no_such_option") as caught:
                session.ask("create", algorithm=algorithm, settings=settings)
            assert "ConfigError" in caught.value.classes

    def test_live_unsupported_algorithm_is_refused(self, session: Session) -> None:
        """An algorithm that the backend declines is an error that names both."""
        declined = [a for a in known() if a not in session.trained]
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
        for algorithm, paths in fields.items():
            self._assert_told(session, algorithm, paths)

    @pytest.mark.parametrize("algorithm", sorted(known()))
    def test_live_parameters(self, algorithm: str, session: Session) -> None:
        """Each parameter of a trained algorithm that changes is seen in ``effective``, or refused by name."""
        session.trains(algorithm)
        self._assert_told(session, algorithm, parameters(algorithm))

    def _assert_told(self, session: Session, algorithm: str, fields: Iterable[str]) -> None:
        trained = algorithm in covering(session.trained)
        trains = self.waits.on("test_live_trains", run=algorithm) if trained else nullcontext()
        with self.waits.on("test_argument_default_call", algorithm=algorithm), trains:
            left = session.left_to_live(algorithm, fields)
            asks = {path: partial(session.effective, algorithm, path, left) for path in left}
            problems = [field_problem(path, "effective", ask) for path, ask in asks.items()]
            assert not any(problems), "\n".join(filter(None, problems))


def _assert_goes_on(whole: Record, resumed: Record) -> None:
    """Compare a resumed run with an uninterrupted one. Generated answers may differ, so then only steps count."""
    assert resumed["result"]["steps"] == whole["result"]["steps"]
    taken, left = len(resumed["steps"]), len(whole["steps"])
    assert 0 < taken < left, "steps of the optimiser that were taken once more"
    algorithm = find(whole["config"]["algorithm"])
    if algorithm.generates:
        return
    if algorithm.name in LOSSES:
        assert [step["rows"] for step in resumed["steps"]] == [s["rows"] for s in whole["steps"][STOP_AFTER:]]
    assert losses(resumed) == pytest.approx(losses(whole)[STOP_AFTER:], rel=1e-4)
    assert resumed["fingerprint"] == pytest.approx(whole["fingerprint"], rel=1e-4)


def _targets(linear: Mapping[str, Sequence[int]], modules: str | Sequence[str]) -> dict[str, Sequence[int]]:
    """The linear layers that carry an adapter: all but the output head, or those named."""
    if modules == "all-linear":
        return {name: shape for name, shape in linear.items() if name != "lm_head"}
    return {name: shape for name, shape in linear.items() if name.rpartition(".")[2] in modules}


def _short(name: str) -> str:
    """A tensor's name in a saved adapter as "module.lora_A"."""
    return name.removeprefix("base_model.model.").removesuffix(".weight")

"""The engine over a built transformers Trainer: train, evaluate, save, generate, and say what is in force."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aligntune_core import Datasets, LoadedModel, RunContext, Sampling, TrainResult
from aligntune_core.toolkit import (
    CheckpointError,
    RunError,
    find_algorithm,
    has_optimizer,
    step_of,
    weights_alone,
    written,
)
from aligntune_core.types import Form
from aligntune_trl import evaluation, table
from aligntune_trl.algorithms.recipe import Counts, find
from aligntune_trl.model import adapter, merging, reward_head
from aligntune_trl.online.generation import generate
from aligntune_trl.quiet import known_warnings_hidden, no_bars

logger = logging.getLogger("aligntune")


class TrlEngine:
    """``aligntune_core.Engine`` for every algorithm whose trainer is a transformers ``Trainer``.

    Args:
        trainer: the built trainer.
        loaded: the model with its tokenizer.
        config: resolved configuration.
        datasets: canonical rows.
        run: run folder, metric sink, stop flag.
    """

    def __init__(
        self, trainer: Any, loaded: LoadedModel, config: Any, datasets: Datasets, run: RunContext
    ) -> None:
        from aligntune_trl import additions, callbacks, order

        additions.attach(trainer, config)
        self._trainer = trainer
        self._tokenizer = loaded.tokenizer
        self._config = config
        self._run = run
        recipe = find(config.algorithm)
        means = evaluation.attach(trainer, recipe.counts if recipe is not None else Counts())
        self._stop, self._memory = callbacks.attach(trainer, run, means)
        if config.data.group_by_length:
            order.attach(trainer)

    @property
    def native(self) -> Any:
        """TRL's trainer."""
        return self._trainer

    @property
    def model(self) -> Any:
        """The policy: a transformers model, or peft's around one."""
        return self._trainer.accelerator.unwrap_model(self._trainer.model)

    # --- what is in force ---------------------------------------------------------------------------------------------

    def effective(self) -> Mapping[str, Any]:
        """Config path -> value, read from trainer, model and adapter."""
        from aligntune_trl import additions

        trainer, config = self._trainer, self._config
        values = table.read_arguments(config, trainer.args)
        values |= self._optimiser() | self._precision() | self._adapter()
        values |= additions.read(trainer, config)
        values["run.seed"] = trainer.args.seed
        values["run.output_dir"] = trainer.args.output_dir
        if config.run.callbacks:
            present = trainer.callback_handler.callbacks
            values["run.callbacks"] = [c for c in config.run.callbacks if any(c is p for p in present)]
        if config.model.attn_implementation is not None:
            values["model.attn_implementation"] = self.model.config._attn_implementation
        if config.model.quantization is not None:
            values |= table.read(config, "quantization", self.model.config.quantization_config)
        rows = _accepted_rows(trainer)
        return values if rows is None else values | {"data.rows": rows}

    def _optimiser(self) -> dict[str, Any]:
        """Learning rate and betas as the optimiser's constructor will get them."""
        _, arguments = self._trainer.get_optimizer_cls_and_kwargs(self._trainer.args, self._trainer.model)
        values = {"optim.learning_rate": arguments["lr"]}
        if "betas" in arguments:
            values["optim.adam_beta1"], values["optim.adam_beta2"] = arguments["betas"]
        if "eps" in arguments:
            values["optim.adam_epsilon"] = arguments["eps"]
        return values

    def _precision(self) -> dict[str, Any]:
        """The precision, if the weights are as the run contract has it; else what they are."""
        import torch

        args, model = self._trainer.args, self.model
        named = "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32"
        trained = {p.dtype for p in model.parameters() if p.requires_grad}
        frozen = {p.dtype for p in model.parameters() if not p.requires_grad and p.dtype.is_floating_point}
        base = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[named]
        plain = not getattr(model, "is_quantized", False) and not adapter.has_reference(model)
        if trained - {torch.float32} or (plain and frozen - {base}):
            named += f" with trainable weights {_names(trained)} and frozen weights {_names(frozen)}"
        return {"model.precision": named}

    def _adapter(self) -> dict[str, Any]:
        model, config = self.model, self._config
        if not adapter.is_adapted(model):
            return {"peft.enabled": False}
        values = table.read(config, "lora", model.peft_config[adapter.NAME])
        if adapter.is_fresh(model):
            values["peft.init"] = getattr(model, "aligntune_init", values["peft.init"])
            values["peft.target_modules"] = adapter.targets(model, config.peft.target_modules)
            values |= adapter.built(model, config)
        else:  # continued: its own settings hold, and model/problems.py has compared those of the configuration
            values = {path: value for path, value in values.items() if path in written(config)}
        if config.peft.target_modules == adapter.ALL_LINEAR and not adapter.is_fresh(model):
            values.pop("peft.target_modules", None)  # a saved adapter has names in its place
        if reward_head.scores(config):
            values |= reward_head.own_modules(values, config)
        return {"peft.enabled": True, **values}

    # --- train and evaluate -------------------------------------------------------------------------------------------

    def train(self, resume_from: Path | None = None) -> TrainResult:
        """Train to the end, or until ``run.stop()`` gives a reason: then a checkpoint is saved first."""
        from aligntune_trl import additions

        adapter.place_merged_base(self._run.output_dir, self._config)
        additions.begin(self._trainer)
        self._stop.reason = None
        if resume_from is not None:
            _check_origin(resume_from)
        with known_warnings_hidden(), no_bars():
            if resume_from is not None and self._is_finished(resume_from):
                loss = self._take(str(resume_from))
            else:
                loss = self._trained(resume_from)
        state = self._trainer.state
        metrics = {} if loss is None else {"train_loss": loss}
        return TrainResult(steps=state.global_step, metrics=metrics, stopped=self._stop.reason)

    def _trained(self, start: Path | None) -> float | None:
        """Train; the mean loss of all steps, also of those before a resume, which transformers leaves out."""
        from aligntune_trl.memory import held_by

        trainer = self._trainer
        self._memory.start = start
        loss = trainer.train(resume_from_checkpoint=start and str(start)).training_loss
        if start is None:
            return float(loss)
        if trainer.state.global_step == step_of(start):
            logger.warning("%s: no row is left to train on within num_epochs", start.name)
        if held_by(start) is None:
            return _mean_logged(trainer.state)
        return float(trainer._total_loss_scalar / max(trainer.state.global_step, 1))

    def _is_finished(self, checkpoint: Path) -> bool:
        """Whether ``max_steps`` are done, or a callback had ended the run; transformers would take one step more."""
        if 0 < self._trainer.args.max_steps <= step_of(checkpoint):
            return True
        ending = self._memory.ended(checkpoint)
        if ending:
            logger.warning(
                "%s: the run was ended at step %s by its callbacks (%s): nothing is left to train",
                checkpoint.name,
                step_of(checkpoint),
                ending,
            )
        return bool(ending)

    def _take(self, checkpoint: str) -> float | None:
        """What is left of a finished run: its weights, and the mean loss that it logged."""
        from transformers import TrainerState

        trainer = self._trainer
        trainer.state = TrainerState.load_from_json(str(Path(checkpoint) / "trainer_state.json"))
        trainer._load_from_checkpoint(checkpoint)
        if trainer.args.load_best_model_at_end and trainer.state.best_model_checkpoint:
            trainer._load_best_model()
        return _mean_logged(trainer.state)

    def evaluate(self, rows: Any = None) -> Mapping[str, float]:
        """Loss and the algorithm's figures on ``rows``, by default on the run's held-out rows.

        Returns:
            dict: ``eval_loss``; the algorithm's figures by our names, as its recipe has them; and TRL's own figures
            with ``eval_`` before them.

        Raises:
            RunError: there are no rows.
        """
        if rows is None and self._trainer.eval_dataset is None:
            raise RunError(
                "nothing to evaluate on: pass rows, or create the trainer with eval_dataset or eval_split"
            )
        with known_warnings_hidden(), no_bars():
            figures = dict(self._trainer.evaluate(rows) if rows is not None else self._trainer.evaluate())
        recipe = find(self._config.algorithm)
        for name, figure in recipe.figures.items() if recipe is not None else ():
            if f"eval_{figure.name}" in figures:
                figures[name] = figure.of(figures[f"eval_{figure.name}"])
        return figures

    # --- save and generate --------------------------------------------------------------------------------------------

    @no_bars()
    @known_warnings_hidden()
    def save(self, path: Path, form: Form) -> None:
        """Write the adapter or model, with the tokenizer.

        Args:
            path: folder.
            form: "merged" folds the adapter into its base; what was written is loaded again and compared.

        Raises:
            RunError: the weights are quantised, or the written model differs from the trained one.
        """
        adapter.place_merged_base(self._run.output_dir, self._config)
        if form == "merged":
            merging.save_merged(self.model, self._tokenizer, path, self._trainer)
        elif adapter.is_adapted(self.model):
            if self._trainer.is_world_process_zero():
                adapter.save(self.model, path)
        else:
            self._trainer.save_model(str(path))
        if self._trainer.is_world_process_zero():
            self._tokenizer.save_pretrained(str(path))

    def generate(self, prompts: Sequence[Any], sampling: Sampling) -> list[str]:
        """Complete each prompt; see ``aligntune_trl.online.generation``.

        Raises:
            RunError: what was trained writes no text.
        """
        if find_algorithm(self._config.algorithm).head != "lm":
            raise RunError(
                "generate: a reward model scores texts and writes none; "
                "aligntune_core.rewards.RewardModel(folder) scores"
            )
        return generate(self.model, self._tokenizer, prompts, sampling)

    def close(self) -> None:
        """Let go of what accelerate holds of the model and the optimiser."""
        self._trainer.accelerator.free_memory()


def _names(dtypes: set[Any]) -> str:
    return "/".join(sorted(str(d).removeprefix("torch.") for d in dtypes)) or "none"


def _mean_logged(state: Any) -> float | None:
    """Mean loss of the steps that were logged, from their log."""
    losses: list[float] = [entry["loss"] for entry in state.log_history if "loss" in entry]
    return sum(losses) / len(losses) if losses else None


def _accepted_rows(trainer: Any) -> int | None:
    """Rows of the training set before packing; None where it cannot be told."""
    dataset = trainer.train_dataset
    if not hasattr(dataset, "__len__"):
        return None
    if not getattr(trainer.args, "packing", False):
        return len(dataset)
    if "seq_lengths" not in dataset.column_names:
        return None
    return sum(len(lengths) for lengths in dataset["seq_lengths"])


def _check_origin(checkpoint: Path) -> None:
    """Refuse a checkpoint that another library's trainer wrote, and one without its optimiser."""
    if "log_history" not in json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8")):
        raise CheckpointError(
            f"{checkpoint} is another backend's, whose optimiser TRL cannot go on with. Resume it on the backend that "
            "wrote it, or start a new run from its weights with model_name and another output_dir"
        )
    if not has_optimizer(checkpoint):
        raise CheckpointError(weights_alone(checkpoint))  # transformers would start another optimiser, unsaid

"""The training loop, top to bottom."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from peft import PeftModel
from peft.optimizers import create_loraplus_optimizer
from transformers import get_scheduler

from aligntune_core import LoadedModel, TrainResult
from aligntune_core.toolkit import RunError, built_targets, find_algorithm, read, write
from aligntune_torch import algorithms, checkpoint, load
from aligntune_torch.batches import Batch, Batches, Encoder, Sample, collate
from aligntune_torch.losses import Means, share_of
from aligntune_torch.patience import Patience
from aligntune_torch.table import MIXED_PRECISION, TABLE

if TYPE_CHECKING:
    from aligntune_core import Config, Datasets, RunContext, Sampling
    from aligntune_core.types import Form


@dataclass(frozen=True)
class Loop:
    """What the loop goes by; fields as in the configuration's ``optim`` and ``run``."""

    lr_scheduler: str
    lr_scheduler_kwargs: Mapping[str, Any] | None
    warmup_steps: int
    warmup_ratio: float
    num_epochs: float
    max_steps: int
    eval_batch_size: int
    max_grad_norm: float
    logging_steps: int
    logging_first_step: bool
    save_strategy: str
    save_steps: int
    save_total_limit: int | None
    save_only_model: bool
    eval_strategy: str
    eval_steps: int
    eval_on_start: bool


class Engine:
    """One algorithm over one model."""

    def __init__(self, loaded: LoadedModel, config: Config, datasets: Datasets, run: RunContext) -> None:
        def arguments(part: str) -> dict[str, Any]:
            return write(TABLE, config, part, 'backend "torch"')

        self.run, self.config, self.tokenizer = run, config, loaded.tokenizer
        self.loop, self.patience = Loop(**arguments("loop")), Patience(**arguments("patience"))
        self.encoder = Encoder(self.tokenizer, **arguments("encoder"))
        self.rows = [self.encoder.samples(row) for row in datasets.train]
        self.eval_rows = [self.encoder.samples(row) for row in datasets.eval or ()]
        self.batches = Batches(len(self.rows), **arguments("batches"))
        AcceleratorState._reset_state(True)  # of a run before this one, as transformers does
        self.accelerator = Accelerator(cpu=loaded.model.device.type == "cpu", **arguments("accelerator"))
        optimizer = adamw(loaded.model, **arguments("optimizer"))
        loop = self.loop
        steps = (loop.warmup_steps, loop.max_steps)
        self.schedule = get_scheduler(loop.lr_scheduler, optimizer, *steps, loop.lr_scheduler_kwargs)
        self.policy, self.optimizer = self.accelerator.prepare(loaded.model, optimizer)
        others = {
            role: self.accelerator.prepare_model(model, evaluation_mode=True)
            for role, model in loaded.roles.items()
        }
        self.objective = algorithms.objective(config, LoadedModel(self.policy, self.tokenizer, others))
        self.step, self.epoch, self.loss_sum = 0, 0.0, 0.0
        self.unlogged: list[dict[str, float]] = []

    @property
    def native(self) -> Engine:
        return self

    @property
    def model(self) -> Any:
        return self.accelerator.unwrap_model(self.policy)

    @property
    def adapted(self) -> bool:
        return isinstance(self.model, PeftModel)

    def effective(self) -> Mapping[str, Any]:
        parts = {
            "model": self,
            "encoder": self.encoder,
            "batches": self.batches,
            "accelerator": self.accelerator,
            "optimizer": decaying(self.optimizer),
            "loop": self.loop,
            "patience": self.patience,
        }
        values = {path: v for part, built in parts.items() for path, v in self._read(part, built).items()}
        values |= {"model.precision": self._precision(), "data.rows": len(self.rows)}
        if self.adapted:
            values |= self._read("lora", self.model.peft_config["default"])
            asked, built = self.config.peft.target_modules, self.model.aligntune_targets
            values["peft.target_modules"] = built_targets(self.model, asked, built)
        parameters = algorithms.PARAMETERS[self.config.algorithm]
        return values | read(parameters, self.config, "objective", self.objective)

    def _read(self, part: str, built: Any) -> dict[str, Any]:
        return read(TABLE, self.config, part, built)

    def _precision(self) -> str:
        """The contract's name for the number formats of the weights and of autocast; else what they are."""
        frozen = {p.dtype for p in self.model.parameters() if not p.requires_grad}
        trained = {p.dtype for p in self.model.parameters() if p.requires_grad}
        mixed = self.accelerator.mixed_precision
        name = next(name for name, other in MIXED_PRECISION.items() if other == mixed)
        if trained <= {torch.float32} and frozen <= {{"fp32": torch.float32, "bf16": torch.bfloat16}[name]}:
            return name
        return f"{name}, but with frozen weights {frozen} and trainable ones {trained}"

    # --- training ----------------------------------------------------------------------------------------------------

    def train(self, resume_from: Path | None = None) -> TrainResult:
        if resume_from is not None:
            progress = checkpoint.load(resume_from, self.model, self.optimizer, self.schedule)
            self.step, self.loss_sum = progress["global_step"], progress["loss_sum"]
            self.patience = replace(self.patience, **progress["patience"])
            self.epoch, self.unlogged = progress["epoch"], progress["unlogged"]
        stopped = None
        if self.loop.eval_on_start:
            self.evaluate()
        over = self.step >= self.loop.max_steps or self.patience.over
        left = () if over else self.batches.after(self.step)
        for epoch, indices in left:
            self.epoch = epoch
            self.policy.train()
            metrics = self._update([self._batch([self.rows[i] for i in part]) for part in indices])
            self.step, self.loss_sum = self.step + 1, self.loss_sum + metrics["loss"]
            stopped = self._after_step(metrics)
            if stopped or self.patience.over or self.step >= self.loop.max_steps:
                break
        return TrainResult(
            steps=self.step, metrics={"train_loss": self.loss_sum / self.step}, stopped=stopped
        )

    def _batch(self, rows: Sequence[Sequence[Sample]]) -> Batch:
        batch = collate(rows, self.tokenizer.pad_token_id)
        return {key: value.to(self.model.device) for key, value in batch.items()}

    def _update(self, batches: list[Batch]) -> dict[str, float]:
        """One optimiser step over the micro-batches of a global batch."""
        metrics: dict[str, float] = {"loss": 0.0, "learning_rate": self.schedule.get_last_lr()[0]}
        share, means = share_of(batches, len(self.rows[0])), Means()
        for batch in batches:
            loss, figures = self.objective(batch, share)
            self.accelerator.backward(loss)
            metrics["loss"] += loss.item()
            means.add(figures)
        metrics |= means.means()
        limit = self.loop.max_grad_norm or math.inf
        metrics["grad_norm"] = float(self.accelerator.clip_grad_norm_(self.policy.parameters(), limit))
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        return metrics | {"tokens": sum(int(batch["attention_mask"].sum()) for batch in batches)}

    def _after_step(self, metrics: dict[str, float]) -> str | None:
        """Log, evaluate and save where they are due; returns the reason to stop, if there is one."""
        loop = self.loop
        self.unlogged.append(metrics)
        if self.step % loop.logging_steps == 0 or (self.step == 1 and loop.logging_first_step):
            self._log()
        if self.eval_rows and self._due(loop.eval_strategy, loop.eval_steps):
            self.patience.see(self.evaluate()["eval_loss"])
        stopped = self.run.stop()
        if stopped or self._due(loop.save_strategy, loop.save_steps):
            folder = self.run.checkpoint_dir(self.step)
            self.save(folder, "adapter" if self.adapted else "full")
            if not loop.save_only_model:
                checkpoint.save_optimizer(folder, self.optimizer, self.schedule)
            checkpoint.save_progress(
                folder,
                global_step=self.step,
                loss_sum=self.loss_sum,
                epoch=self.epoch,
                unlogged=self.unlogged,
                patience=self.patience.seen,
            )
            checkpoint.rotate(self.run.output_dir, loop.save_total_limit)
        return stopped

    def _log(self) -> None:
        """One event for the steps since the last: their mean loss and their tokens; other figures of the last step."""
        steps, self.unlogged = self.unlogged, []
        loss = sum(step["loss"] for step in steps) / len(steps)
        tokens = int(sum(step["tokens"] for step in steps))
        self.run.emit(steps[-1] | {"step": self.step, "epoch": self.epoch, "loss": loss, "tokens": tokens})

    def _due(self, strategy: str, every: int) -> bool:
        """Whether it is time to evaluate or save; the last step always is, unless the strategy is "no"."""
        at = {"no": False, "steps": self.step % every == 0, "epoch": self.epoch == int(self.epoch)}[strategy]
        return at or (strategy != "no" and self.step == self.loop.max_steps)

    # --- evaluation, generation, saving ------------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(self, rows: Any = None) -> Mapping[str, float]:
        samples = self.eval_rows if rows is None else [self.encoder.samples(row) for row in rows]
        if not samples:
            raise RunError(
                "there are no rows to evaluate on: pass some, or create the trainer with eval_dataset"
            )
        self.policy.eval()
        size, means, loss_sum = self.loop.eval_batch_size, Means(), 0.0
        batches = [samples[start : start + size] for start in range(0, len(samples), size)]
        share = share_of((collate(part, 0) for part in batches), len(samples[0]))
        for part in batches:
            loss, figures = self.objective(self._batch(part), share)
            loss_sum += float(loss)
            means.add(figures)
        figures = {f"eval_{key}": value for key, value in {"loss": loss_sum, **means.means()}.items()}
        self.run.emit({"step": self.step, "epoch": self.epoch, **figures})
        if "perplexity" in find_algorithm(self.config.algorithm).figures:
            figures["perplexity"] = math.exp(figures["eval_loss"])
        return figures

    @torch.no_grad()
    def generate(self, prompts: Sequence[Any], sampling: Sampling) -> list[str]:
        self.policy.eval()
        with torch.random.fork_rng(enabled=sampling.seed is not None):
            if sampling.seed is not None:
                torch.manual_seed(sampling.seed)
            return [text for prompt in prompts for text in self._completions(prompt, sampling)]

    def _completions(self, prompt: Any, sampling: Sampling) -> list[str]:
        if isinstance(prompt, str) and self.tokenizer.chat_template:
            prompt = [{"role": "user", "content": prompt}]
        ids = torch.tensor([self.encoder.prompt(prompt)], device=self.model.device)

        def texts(sequences: torch.Tensor) -> list[str]:
            # Without the prompt, into which transformers' own stop strings look too.
            completions = sequences[:, ids.shape[1] :]
            return self.tokenizer.batch_decode(completions, skip_special_tokens=True)  # type: ignore[no-any-return]

        def stopped(sequences: torch.Tensor, _: Any) -> torch.Tensor:
            over = [any(end in text for end in sampling.stop) for text in texts(sequences)]
            return torch.tensor(over, device=sequences.device)

        out = self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=sampling.max_new_tokens,
            num_return_sequences=sampling.n,
            pad_token_id=self.tokenizer.pad_token_id,
            stopping_criteria=[stopped] if sampling.stop else [],
            **drawing(sampling),
        )
        return [ended(text, sampling.stop) for text in texts(out)]

    def save(self, path: Path, form: Form) -> None:
        load.save(self.model, self.tokenizer, path, form)

    def close(self) -> None:
        self.accelerator.free_memory()


def drawing(sampling: Sampling) -> dict[str, Any]:
    """Arguments of transformers' ``generate`` that say how tokens are drawn."""
    if sampling.temperature == 0:
        return {"do_sample": False}
    return {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}


def ended(text: str, stop: Sequence[str]) -> str:
    """A completion up to the first of the texts that end it."""
    return min((text.partition(end)[0] for end in stop), key=len, default=text)


def adamw(
    model: Any,
    lr: float,
    weight_decay: float,
    beta1: float,
    beta2: float,
    eps: float,
    loraplus_lr_ratio: float | None,
) -> Any:
    """AdamW over the trainable parameters: matrices decay, biases and norms (one-dimensional) do not.

    With a ratio the groups are peft's of LoRA+: matrices A, those on embeddings, matrices B, what does not decay.
    """
    settings: dict[str, Any] = {"lr": lr, "betas": (beta1, beta2), "eps": eps}
    if loraplus_lr_ratio is not None:
        settings |= {"loraplus_lr_ratio": loraplus_lr_ratio, "loraplus_weight_decay": weight_decay}
        return create_loraplus_optimizer(model, torch.optim.AdamW, **settings)
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, **settings)


def decaying(optimizer: Any) -> SimpleNamespace:
    """The optimiser's settings for matrices, called as the arguments of ``adamw``; ``lr`` is the schedule's peak."""
    group = optimizer.param_groups[0]
    beta1, beta2 = group["betas"]
    decay, peak = group["weight_decay"], group["initial_lr"]
    ratio = optimizer.param_groups[2]["initial_lr"] / peak if len(optimizer.param_groups) == 4 else None
    read = {"lr": peak, "weight_decay": decay, "beta1": beta1, "beta2": beta2, "eps": group["eps"]}
    return SimpleNamespace(**read, loraplus_lr_ratio=ratio)

"""The training loop, top to bottom."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from peft import PeftModel
from torch import Tensor
from transformers import get_scheduler

from aligntune_core import TrainResult
from aligntune_core.errors import RunError
from aligntune_torch import checkpoint, load
from aligntune_torch.batches import Batch, Batches, Encoder, Sample, collate
from aligntune_torch.losses import dpo_loss, sft_loss, token_logps
from aligntune_torch.table import BUILT

if TYPE_CHECKING:
    from aligntune_core import Config, Datasets, LoadedModel, RunContext
    from aligntune_core.types import Form, Sampling


@dataclass(frozen=True)
class Loop:
    """What the loop goes by; fields as in the configuration's ``optim`` and ``run``."""

    lr_scheduler: str
    warmup_steps: int
    warmup_ratio: float
    num_epochs: float
    max_steps: int
    eval_batch_size: int
    max_grad_norm: float
    logging_steps: int
    save_strategy: str
    save_steps: int
    save_total_limit: int | None
    eval_strategy: str
    eval_steps: int

    @classmethod
    def of(cls, config: Config) -> Loop:
        """Taken from the sections that hold a field of that name."""
        both = dict(config.optim) | dict(config.run)
        return cls(**{field.name: both[field.name] for field in fields(cls)})


class Engine:
    """SFT or DPO over one model."""

    def __init__(self, loaded: LoadedModel, config: Config, datasets: Datasets, run: RunContext) -> None:
        data, optim = config.data, config.optim
        self.run, self.algorithm, self.parameters = run, config.algorithm, config.parameters
        self.tokenizer, self.reference = loaded.tokenizer, loaded.roles.get("reference")
        self.loop = Loop.of(config)
        self.encoder = Encoder(
            self.tokenizer, data.max_seq_length, data.truncation_mode, data.completion_only_loss is not False
        )
        self.rows = [self.encoder.samples(row) for row in datasets.train]
        self.eval_rows = [self.encoder.samples(row) for row in datasets.eval or ()]
        self.batches = Batches(
            len(self.rows), optim.batch_size, optim.gradient_accumulation_steps, config.run.data_seed or 0
        )
        if self.algorithm == "dpo" and self.parameters.disable_dropout:
            for module in (*loaded.model.modules(), *(self.reference.modules() if self.reference else ())):
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0
        AcceleratorState._reset_state(True)  # of a run before this one, as transformers does
        bf16 = config.model.precision == "bf16"
        self.accelerator = Accelerator(
            cpu=loaded.model.device.type == "cpu", mixed_precision="bf16" if bf16 else "no"
        )
        optimizer = torch.optim.AdamW(
            decay_groups(loaded.model, optim.weight_decay),
            lr=optim.learning_rate,
            betas=(optim.adam_beta1, optim.adam_beta2),
            eps=optim.adam_epsilon,
        )
        self.schedule = get_scheduler(
            self.loop.lr_scheduler, optimizer, self.loop.warmup_steps, self.loop.max_steps
        )
        self.policy, self.optimizer = self.accelerator.prepare(loaded.model, optimizer)
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

    @property
    def group(self) -> SimpleNamespace:
        """The optimiser's settings for matrices."""
        group = self.optimizer.param_groups[0]
        beta1, beta2 = group["betas"]
        return SimpleNamespace(**group, beta1=beta1, beta2=beta2)

    @property
    def precision(self) -> str:
        """The contract's name for the number formats of the weights and of autocast; else what they are."""
        frozen = {p.dtype for p in self.model.parameters() if not p.requires_grad}
        trained = {p.dtype for p in self.model.parameters() if p.requires_grad}
        name, dtype = {"no": ("fp32", torch.float32), "bf16": ("bf16", torch.bfloat16)}[
            self.accelerator.mixed_precision
        ]
        if trained <= {torch.float32} and frozen <= {dtype}:
            return name
        return f"{name}, but with frozen weights {frozen} and trainable ones {trained}"

    def effective(self) -> Mapping[str, Any]:
        built = {path: attrgetter(name)(self) for path, name in BUILT.items()}
        parameters = {f"parameters.{name}": value for name, value in self.parameters}
        return built | parameters | {"data.rows": len(self.rows)}

    # --- training ----------------------------------------------------------------------------------------------------

    def train(self, resume_from: Path | None = None) -> TrainResult:
        if resume_from is not None:
            self.step, self.loss_sum = checkpoint.load(resume_from, self.model, self.optimizer, self.schedule)
        stopped = None
        left = self.batches.after(self.step) if self.step < self.loop.max_steps else ()
        for epoch, indices in left:
            self.epoch = epoch
            self.policy.train()
            metrics = self._update([self._batch([self.rows[i] for i in part]) for part in indices])
            self.step, self.loss_sum = self.step + 1, self.loss_sum + metrics["loss"]
            stopped = self._after_step(metrics)
            if stopped or self.step >= self.loop.max_steps:
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
        tokens = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in batches)
        for batch in batches:
            loss, figures = self._loss(batch, tokens)
            if self.algorithm == "dpo":
                loss = loss / len(batches)  # the mean of the micro-batches' means; SFT divides by all tokens
            self.accelerator.backward(loss)
            metrics["loss"] += loss.item()
            for key, value in figures.items():
                metrics[key] = metrics.get(key, 0.0) + value / len(batches)
        limit = self.loop.max_grad_norm or math.inf
        metrics["grad_norm"] = float(self.accelerator.clip_grad_norm_(self.policy.parameters(), limit))
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        return metrics | {"tokens": sum(int(batch["attention_mask"].sum()) for batch in batches)}

    def _loss(self, batch: Batch, tokens: int) -> tuple[Tensor, dict[str, float]]:
        """Loss of one micro-batch, and figures to log."""
        logps, mask, correct = token_logps(self.policy, batch)
        if self.algorithm == "sft":
            return sft_loss(logps, tokens), {"token_accuracy": float(correct.sum() / mask.sum())}
        reference, switched_off = load.reference_policy(self.policy, self.reference)
        with torch.no_grad(), switched_off, self.accelerator.autocast():
            expected = token_logps(reference, batch)[0]
        loss, margin = dpo_loss(logps.sum(1), expected.sum(1), self.parameters.beta)
        accuracy = (margin > 0).float().mean()
        return loss, {"reward_margin": float(margin.mean()), "reward_accuracy": float(accuracy)}

    def _after_step(self, metrics: dict[str, float]) -> str | None:
        """Log, evaluate and save where they are due; returns the reason to stop, if there is one."""
        loop = self.loop
        self.unlogged.append(metrics)
        if self.step % loop.logging_steps == 0:
            self._log()
        if self.eval_rows and self._due(loop.eval_strategy, loop.eval_steps):
            self.evaluate()
        stopped = self.run.stop()
        if stopped or self._due(loop.save_strategy, loop.save_steps):
            folder = self.run.checkpoint_dir(self.step)
            self.save(folder, "adapter" if self.adapted else "full")
            checkpoint.save(folder, self.step, self.loss_sum, self.optimizer, self.schedule)
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
        size, sums = self.loop.eval_batch_size, {"loss": 0.0}
        for start in range(0, len(samples), size):
            part = samples[start : start + size]
            batch = self._batch(part)
            loss, figures = self._loss(batch, int((batch["labels"][:, 1:] != -100).sum()))
            for key, value in {"loss": float(loss), **figures}.items():
                sums[key] = sums.get(key, 0.0) + value * len(part) / len(samples)
        found = {f"eval_{key}": value for key, value in sums.items()}
        self.run.emit({"step": self.step, "epoch": self.epoch, **found})
        if self.algorithm == "sft":
            found["perplexity"] = math.exp(found["eval_loss"])
        return found

    @torch.no_grad()
    def generate(self, prompts: Sequence[Any], sampling: Sampling) -> list[str]:
        self.policy.eval()
        drawn: dict[str, Any] = {"do_sample": False}
        if sampling.temperature > 0:
            drawn = {
                "do_sample": True,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": 0,
            }
        if sampling.stop:
            drawn |= {"stop_strings": list(sampling.stop), "tokenizer": self.tokenizer}
        with torch.random.fork_rng(enabled=sampling.seed is not None):
            if sampling.seed is not None:
                torch.manual_seed(sampling.seed)
            return [text for prompt in prompts for text in self._completions(prompt, sampling, drawn)]

    def _completions(self, prompt: Any, sampling: Sampling, drawn: Mapping[str, Any]) -> list[str]:
        if isinstance(prompt, str) and self.tokenizer.chat_template:
            prompt = [{"role": "user", "content": prompt}]
        ids = torch.tensor([self.encoder.prompt(prompt)], device=self.model.device)
        out = self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=sampling.max_new_tokens,
            num_return_sequences=sampling.n,
            pad_token_id=self.tokenizer.pad_token_id,
            **drawn,
        )
        texts = self.tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)
        return [ended(text, sampling.stop) for text in texts]

    def save(self, path: Path, form: Form) -> None:
        load.save(self.model, self.tokenizer, path, merged=form == "merged")

    def close(self) -> None:
        self.accelerator.free_memory()


def ended(text: str, stop: Sequence[str]) -> str:
    """A completion up to the first of the texts that end it."""
    return min((text.partition(end)[0] for end in stop), key=len, default=text)


def decay_groups(model: Any, weight_decay: float) -> list[dict[str, Any]]:
    """Trainable parameters: matrices decay, biases and norms (one-dimensional) do not."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]

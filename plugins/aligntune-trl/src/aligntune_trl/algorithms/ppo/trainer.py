"""PPOTrainer: proximal policy optimisation on transformers' Trainer.

Trainer's loop, checkpoints, resuming, callbacks and logging are used as they are. One of its steps is one
update: the prompts of an accumulation window become one rollout, and ``training_step`` takes every optimiser step
of the update but the last, whose gradient it leaves for the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object, set_seed
from torch import Tensor, nn
from transformers import Trainer
from transformers.trainer_utils import EvalLoopOutput

from aligntune_core.toolkit import NonFiniteLoss
from aligntune_trl.algorithms.ppo import objective
from aligntune_trl.algorithms.ppo.checkpoint import load_value_function, save_policy, save_value_function
from aligntune_trl.algorithms.ppo.config import PPOConfig
from aligntune_trl.algorithms.ppo.experience import Experience, learn_from, penalised
from aligntune_trl.algorithms.ppo.figures import Figures
from aligntune_trl.algorithms.ppo.reference import Reference, disable_dropout
from aligntune_trl.algorithms.ppo.rollout import Completions, Sampler, answers, columns_of, end_tokens
from aligntune_trl.algorithms.ppo.value_head import PolicyWithValue, completion_logprobs

Row = Mapping[str, Any]
Score = Callable[[list[Any], list[Any], dict[str, list[Any]]], Sequence[float]]
OnCompletions = Callable[[list[Any], list[Any], list[float], int, dict[str, list[float]]], None]


class PPOTrainer(Trainer):  # type: ignore[misc]  # transformers is not analysed
    """Train ``model`` with PPO on rewards.

    Args:
        model: causal language model, or a PEFT model of one. With an adapter, policy, reference and value head
            share its backbone.
        args: see PPOConfig.
        processing_class: the policy's tokenizer.
        train_dataset: rows with ``prompt`` (text, or a list of messages); other columns go to ``score``.
        score: ``score(prompts, completions, columns)`` -> one number a completion. Completions have the shape of
            their prompts: text, or a list with one assistant message. ``columns``: the rows' other columns, and
            ``completion_ids``.
        eval_dataset: held-out rows in the same shape.
        ref_model: frozen copy of the policy; needed without an adapter.
        value_model: sequence-classification model with one label, instead of the shared value head.
        callbacks: transformers callbacks.
        on_completions: ``on_completions(prompts, completions, rewards, step, noted)``, called on the main process
            with the completions of all processes, before the update learns from them. ``rewards`` are as ``score``
            gave them; ``noted`` holds what ``note`` was given for each of them.

    Raises:
        ConfigError: arguments that cannot be used (from PPOConfig).
        ValueError: no reference, or no token that ends a completion.
    """

    model: PolicyWithValue

    def __init__(
        self,
        model: nn.Module,
        args: PPOConfig,
        processing_class: Any,
        train_dataset: Any,
        score: Score,
        eval_dataset: Any = None,
        ref_model: nn.Module | None = None,
        value_model: nn.Module | None = None,
        callbacks: list[Any] | None = None,
        on_completions: OnCompletions | None = None,
    ) -> None:
        if args.data_seed is None:
            args.data_seed = args.seed
        args.accelerator_config.dispatch_batches = (
            False  # streamed rows are texts: accelerate cannot cut them
        )
        if args.disable_dropout:
            for module in (model, ref_model, value_model):
                if module is not None:
                    disable_dropout(module)
        self.reference = Reference(model, ref_model)
        self.sampler = Sampler(processing_class, args, end_tokens(model, processing_class))
        self.on_completions = on_completions
        self._score = score
        self._prompts: list[Row] = []
        self._figures: list[Figures] = []
        self._noted: dict[str, list[float]] = {}
        self._tokens = 0
        super().__init__(
            model=PolicyWithValue(model, value_model),
            args=args,
            data_collator=list,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            callbacks=callbacks,
        )
        self.reference.to(self.accelerator.device)
        if self.accelerator.num_processes > 1:
            # Or all processes would draw with the same numbers. The order of rows has its own seed, set above.
            set_seed(args.seed, device_specific=True)

    @property
    def policy(self) -> Any:
        """The policy without its value function."""
        return self.model.policy

    def note(self, name: str, values: Sequence[float]) -> None:
        """Log the mean of ``values`` as ``NAME/mean`` with what is being scored; to be called from ``score``."""
        self._noted[name] = list(values)

    def train(self, *arguments: Any, **keywords: Any) -> Any:
        """As transformers' Trainer; prompts and figures of an earlier call that broke off are forgotten."""
        self._prompts, self._figures = [], []
        return super().train(*arguments, **keywords)

    # --- one update -----------------------------------------------------------------------------------------

    def training_step(self, model: nn.Module, inputs: list[Row], num_items_in_batch: Any = None) -> Tensor:
        """Collect prompts; with the last of an accumulation window, roll out and learn.

        Raises:
            NonFiniteLoss: the loss is NaN or infinite on some process.
        """
        self._prompts.extend(inputs)
        if not self.accelerator.sync_gradients:
            return torch.zeros((), device=self.args.device)
        rows, self._prompts = self._prompts, []
        model.eval()
        experience = self._roll_out(rows)
        model.train()
        if hasattr(self.optimizer, "train"):
            self.optimizer.train()
        return self._learn(model, experience)

    @torch.no_grad()
    def _roll_out(self, rows: Sequence[Row]) -> Experience:
        """Sample, score, and judge each token: everything an update needs that has no gradient."""
        completions, rewards = self._sample(rows)
        logprobs, reference, values = self._judge(completions)
        experience = learn_from(
            completions, logprobs, reference, values, rewards.to(logprobs.dtype), self.args, self._total
        )
        self._figures.append(self._figures_of(completions, experience, rewards))
        self._tokens += int(self._total(completions.sequences.attention_mask.sum()))
        return experience

    def _sample(self, rows: Sequence[Row], report: bool = True) -> tuple[Completions, Tensor]:
        prompts = [row["prompt"] for row in rows]
        with self.accelerator.autocast():
            completions = self.sampler.sample(self.policy, prompts, self.accelerator.device)
        replies = answers(prompts, completions.texts)
        columns = columns_of(rows) | {"completion_ids": completions.token_lists()}
        self._noted = {}
        rewards = [float(reward) for reward in self._score(prompts, replies, columns)]
        if len(rewards) != len(rows):
            raise ValueError(f"score returned {len(rewards)} rewards for {len(rows)} completions")
        if report and self.args.log_completions and self.on_completions is not None:
            self._show(self.on_completions, prompts, replies, rewards)
        return completions, torch.tensor(rewards, dtype=torch.float64).to(self.accelerator.device)

    def _show(self, to: OnCompletions, prompts: list[Any], replies: list[Any], rewards: list[float]) -> None:
        noted = {name: values for name, values in self._noted.items() if len(values) == len(rewards)}
        shown = self._gathered(list(zip(prompts, replies, rewards, *noted.values(), strict=True)))
        if self.accelerator.is_main_process:
            prompts, replies, rewards, *values = (list(part) for part in zip(*shown, strict=True))
            to(prompts, replies, rewards, self.state.global_step + 1, dict(zip(noted, values, strict=True)))

    def _judge(self, completions: Completions) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities under policy and reference, and values; a micro-batch at a time."""
        batches = []
        rows = torch.arange(len(completions.lengths), device=self.accelerator.device)
        for part in rows.split(self.args.per_device_train_batch_size):
            batch = completions.sequences.rows(part)
            with self.accelerator.autocast():
                logprobs, values = self.model.judge(batch, self.args.temperature)
                with self.reference.policy() as reference:
                    expected = completion_logprobs(reference, batch, self.args.temperature)
            batches.append((logprobs, expected, values))
        logprobs, expected, values = (torch.cat(parts) for parts in zip(*batches, strict=True))
        return logprobs, expected, values

    def _learn(self, model: nn.Module, experience: Experience) -> Tensor:
        """Every pass over the rollout. The gradient of the last mini-batch is left for Trainer's own optimiser step."""
        figures = Figures()
        pending = False
        for _ in range(self.args.num_ppo_epochs):
            if pending and self._moved_too_far(figures):
                break
            figures = Figures()
            order = torch.from_numpy(np.random.permutation(len(experience))).to(self.accelerator.device)
            for rows in order.tensor_split(min(self.args.num_mini_batches, len(experience))):
                if pending:
                    self._optimizer_step(model)
                self._backward(model, experience.rows(rows), figures)
                pending = True
            self._figures[-1].extend([figures])
        done = self._figures[-1] = self._figures[-1].gathered(self._total)
        loss = done.mean("policy_loss") + self.args.vf_coef * done.mean("value_loss")
        if not np.isfinite(loss):
            raise NonFiniteLoss(
                f"update {self.state.global_step + 1}: the loss is {loss} (policy {done.mean('policy_loss')}, "
                f"value {done.mean('value_loss')}). Lower learning_rate, set max_grad_norm, or raise kl_coef; then "
                "continue from the last checkpoint."
            )
        return torch.tensor(loss, device=self.args.device, dtype=torch.float32)

    def _backward(self, model: nn.Module, batch: Experience, figures: Figures) -> None:
        """Accumulate the gradient of one mini-batch: means over its tokens in all processes, however it is cut."""
        tokens, states = self._total(torch.stack([batch.mask.sum(), batch.state_mask.sum()])).tolist()
        share = self.accelerator.num_processes  # DistributedDataParallel averages over processes
        parts = torch.arange(len(batch), device=batch.scores.device).split(
            self.args.per_device_train_batch_size
        )
        means = torch.zeros(2, device=batch.scores.device)
        for number, rows in enumerate(parts, 1):
            part = batch.rows(rows)
            with nullcontext() if number == len(parts) else self.accelerator.no_sync(model):
                policy_loss, value_loss = self._losses(model, part, figures)
                policy = (policy_loss * part.mask).sum() * share / max(tokens, 1)
                value = (value_loss * part.state_mask).sum() * share / max(states, 1)
                self.accelerator.backward(policy + self.args.vf_coef * value)
            means += torch.stack([policy.detach(), value.detach()])
        figures.add("policy_loss", means[0])
        figures.add("value_loss", means[1])

    def _losses(self, model: nn.Module, batch: Experience, figures: Figures) -> tuple[Tensor, Tensor]:
        """Policy loss and value loss at each token."""
        logprobs, values, uncertainty = model(batch.sequences, self.args.temperature)
        logprobs, values = logprobs.where(batch.mask, 0), values.where(batch.state_mask, 0)
        policy_loss, clipped, ratio = objective.clipped_policy_loss(
            logprobs, batch.logprobs, batch.advantages, self.args.cliprange
        )
        value_loss, value_clipped = objective.clipped_value_loss(
            values, batch.values, batch.returns, self.args.cliprange_value
        )
        figures.add("clip_fraction", clipped, batch.mask)
        figures.add("value_clip_fraction", value_clipped, batch.state_mask)
        figures.add("approx_kl", 0.5 * (logprobs - batch.logprobs).square(), batch.mask)
        figures.add("entropy", uncertainty, batch.mask)
        figures.add("ratio", ratio, batch.mask)
        return policy_loss, value_loss

    def _optimizer_step(self, model: nn.Module) -> None:
        if self.args.max_grad_norm > 0:
            self._clip_grad_norm(model)
        self.optimizer.step()
        model.zero_grad()

    def _moved_too_far(self, figures: Figures) -> bool:
        """Whether the last pass ended beyond ``target_kl``; the same answer in every process."""
        limit = self.args.target_kl
        return limit is not None and figures.gathered(self._total).mean("approx_kl") > limit

    def _total(self, tensor: Tensor) -> Tensor:
        """Sum over processes."""
        total: Tensor = self.accelerator.reduce(tensor, reduction="sum")
        return total

    def _gathered(self, values: list[Any]) -> list[Any]:
        """The lists of all processes, one after the other."""
        return list(gather_object(values)) if self.accelerator.num_processes > 1 else values

    # --- figures --------------------------------------------------------------------------------------------

    def _figures_of(self, completions: Completions, experience: Experience, rewards: Tensor) -> Figures:
        figures = Figures()
        kl = experience.kl.sum(1)
        figures.add("reward", rewards)
        figures.add("reward_with_penalties", experience.scores - self.args.kl_coef * kl)
        figures.add("kl", kl)
        figures.add("value", experience.values, experience.state_mask)
        figures.add("return", experience.returns, experience.state_mask)
        figures.add("completion_length", completions.lengths)
        figures.add("truncated", ~completions.finished)
        # A process that noted nothing under a name takes part with no values, or the sums would not line up.
        for name in sorted(set(self._gathered(list(self._noted)))):
            figures.add(f"{name}/mean", rewards.new_tensor(self._noted.get(name, [])))
        return figures

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log ``logs``, completed in a training line by the means of all updates since the last."""
        if "loss" in logs and self._figures:
            logs = {**logs, **Figures().extend(self._figures).means(), "num_tokens": self._tokens}
            self._figures = []
        super().log(logs, start_time)

    def _track_num_input_tokens(self, inputs: list[Row]) -> None:
        """Counted in the rollout, completions included."""

    # --- evaluation -----------------------------------------------------------------------------------------

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """One sampled completion a prompt: mean reward, KL, completion length and truncated share.

        Sampling is seeded, so that two evaluations differ by the policy alone and training's random numbers stay
        as they were.
        """
        self.model.eval()
        judged: list[Tensor] = []
        names: list[str] = []
        device = self.accelerator.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
            torch.manual_seed(self.args.seed + self.accelerator.process_index)
            for rows in dataloader:
                figures = self._judged(rows)
                names = list(figures)
                columns = torch.stack([column.double() for column in figures.values()], dim=1)
                judged.append(self.accelerator.gather_for_metrics(columns))
        table = torch.cat(judged)
        means = dict(zip(names, table.mean(0).tolist(), strict=True))
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in means.items()}
        return EvalLoopOutput(predictions=None, label_ids=None, metrics=metrics, num_samples=len(table))

    def _judged(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Figures of one evaluation batch: name -> one value a row."""
        args = self.args
        completions, rewards = self._sample(rows, report=False)
        logprobs, reference, _ = self._judge(completions)
        logprobs, reference = logprobs.where(completions.mask, 0), reference.where(completions.mask, 0)
        kl = objective.kl_per_token(logprobs, reference, args.kl_estimator).sum(1)
        scores = penalised(rewards, completions.finished, args.missing_eos_penalty)
        return {
            "reward": rewards,
            "reward_with_penalties": scores - args.kl_coef * kl,
            "kl": kl,
            "completion_length": completions.lengths,
            "truncated": ~completions.finished,
            **{n: rewards.new_tensor(v) for n, v in self._noted.items() if len(v) == len(rows)},
        }

    # --- files ----------------------------------------------------------------------------------------------

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the policy (its adapter, where one trains) with its tokenizer; checkpoints hold the values too."""
        folder = output_dir or self.args.output_dir
        if self.args.should_save:
            save_policy(self.policy, folder)
            self.processing_class.save_pretrained(folder)
            if _internal_call:
                save_value_function(self.model, folder)
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model=self.policy)
        load_value_function(self.model, resume_from_checkpoint)

    def _load_best_model(self) -> None:
        whole = self.model
        self.model = self.policy
        try:
            super()._load_best_model()
        finally:
            self.model = whole
        load_value_function(self.model, self.state.best_model_checkpoint)

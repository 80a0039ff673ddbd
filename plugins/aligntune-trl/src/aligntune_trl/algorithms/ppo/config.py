"""Arguments of PPO beside those of every transformers Trainer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from transformers import TrainingArguments

from aligntune_core.toolkit import ConfigError


@dataclass
class PPOConfig(TrainingArguments):  # type: ignore[misc]  # transformers is not analysed
    """Arguments of ``PPOTrainer``.

    A step of the trainer is one update: a rollout of ``per_device_train_batch_size *
    gradient_accumulation_steps`` prompts a process, learned from in ``num_ppo_epochs`` passes of
    ``num_mini_batches`` optimiser steps. ``max_steps``, ``logging_steps``, ``save_steps``, ``warmup_steps`` and
    the learning-rate schedule count updates. ``per_device_train_batch_size`` rows at a time go through the model.

    Attributes:
        max_completion_length: tokens a completion may have.
        max_prompt_length: tokens a prompt may have; None: ``max_length`` less ``max_completion_length``.
        max_length: tokens of prompt and completion together; None: no limit.
        pad_to_multiple_of: round the width of a batch of prompts up to a multiple of this.
        temperature, top_p, top_k, min_p, repetition_penalty, generation_kwargs: how completions are drawn;
            top_k 0: off. Log-probabilities are those of the whole distribution at ``temperature``; the others
            shape sampling alone.
        rollout_batch_size: rows generated at a time, limited by memory; None: the whole rollout.
        num_ppo_epochs: passes over each rollout.
        num_mini_batches: optimiser steps a pass; divides the rollout.
        kl_coef: weight of the KL penalty in the reward.
        kl_estimator: "k1" or "k3".
        cliprange: clip of the probability ratio around 1.
        cliprange_value: clip of the value around its value at the rollout.
        vf_coef: weight of the value loss.
        gamma: discount, 0..1.
        lam: lambda of the advantage estimator, 0..1.
        whiten_rewards: scale token rewards to unit variance, mean kept.
        whiten_advantages: scale advantages to mean 0 and unit variance.
        missing_eos_penalty: taken off the score of a completion that hits the limit.
        target_kl: stop the passes over a rollout once the policy has moved this far from the one that sampled it
            (approximate KL in nats a token, averaged over processes); None: never.
        disable_dropout: set every dropout to 0, the adapter's too.
        log_completions: hand completions to ``on_completions``.
        log_completions_steps, equal_rewards_alarm: for those who show completions; the trainer does not read them.
    """

    learning_rate: float = 3e-6
    logging_steps: float = 1
    remove_unused_columns: bool | None = False
    ddp_find_unused_parameters: bool | None = False
    report_to: str | list[str] | None = "none"

    max_completion_length: int = 53
    max_prompt_length: int | None = None
    max_length: int | None = 1024
    pad_to_multiple_of: int | None = None
    temperature: float = 0.7
    top_p: float = 1.0
    top_k: int = 0
    min_p: float | None = None
    repetition_penalty: float = 1.0
    generation_kwargs: dict[str, Any] | None = None
    rollout_batch_size: int | None = None
    num_ppo_epochs: int = 4
    num_mini_batches: int = 1
    kl_coef: float = 0.05
    kl_estimator: Literal["k1", "k3"] = "k1"
    cliprange: float = 0.2
    cliprange_value: float = 0.2
    vf_coef: float = 0.1
    gamma: float = 1.0
    lam: float = 0.95
    whiten_rewards: bool = False
    whiten_advantages: bool = True
    missing_eos_penalty: float | None = None
    target_kl: float | None = None
    disable_dropout: bool = True
    log_completions: bool = True
    log_completions_steps: int = 10
    equal_rewards_alarm: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = [
            *_out_of_range(self),
            *_indivisible(self),
            *_without_room(self),
            *_unsupported(self),
        ]
        if problems:
            raise ConfigError(problems, "PPO")

    @property
    def rollout_size(self) -> int:
        """Prompts of one update in this process."""
        return int(self.per_device_train_batch_size * self.gradient_accumulation_steps)

    @property
    def prompt_limit(self) -> int | None:
        """Tokens a prompt may have; None: no limit."""
        if self.max_prompt_length is not None:
            return self.max_prompt_length
        return None if self.max_length is None else self.max_length - self.max_completion_length


def _out_of_range(args: PPOConfig) -> list[str]:
    positive = ("max_completion_length", "temperature", "num_ppo_epochs", "num_mini_batches", "cliprange")
    problems = [
        f"{name}: got {getattr(args, name)}; it must be above 0"
        for name in (*positive, "cliprange_value")
        if getattr(args, name) <= 0
    ]
    for name in ("gamma", "lam"):
        if not 0 <= getattr(args, name) <= 1:
            problems.append(f"{name}: got {getattr(args, name)}; it lies between 0 and 1")
    if args.kl_estimator not in ("k1", "k3"):
        problems.append(f'kl_estimator: got {args.kl_estimator!r}; it is "k1" or "k3"')
    return problems


def _indivisible(args: PPOConfig) -> list[str]:
    size, parts = args.rollout_size, args.num_mini_batches
    if parts <= 0 or size % parts == 0:
        return []
    valid = [n for n in range(1, size + 1) if size % n == 0]
    near = sorted(valid, key=lambda n: abs(n - parts))[:2]
    return [
        f"num_mini_batches: {parts} does not divide the rollout of {size} prompts (batch_size x "
        f"gradient_accumulation_steps); nearest that do: {' and '.join(map(str, sorted(near)))}"
    ]


def _without_room(args: PPOConfig) -> list[str]:
    limit = args.prompt_limit
    if limit is None or limit > 0:
        return []
    return [
        f"max_completion_length: {args.max_completion_length} leaves no room for a prompt in max_seq_length "
        f"{args.max_length}; raise max_seq_length above {args.max_completion_length}"
    ]


# What a rollout decides itself, or cannot cope with: a row that ends without an end token, several rows a prompt.
RESERVED = frozenset(
    {
        "do_sample",
        "eos_token_id",
        "max_length",
        "max_new_tokens",
        "max_time",
        "num_beams",
        "num_return_sequences",
        "pad_token_id",
        "return_dict_in_generate",
        "stop_strings",
        "temperature",
    }
)


def _unsupported(args: PPOConfig) -> list[str]:
    problems = []
    if reserved := sorted(RESERVED & set(args.generation_kwargs or {})):
        problems.append(
            f"generation_kwargs: {', '.join(reserved)} cannot be set here; PPO has its own settings for them"
        )
    if args.remove_unused_columns:
        problems.append("remove_unused_columns: must be False, or rewards lose the columns they score with")
    if args.deepspeed or args.fsdp:
        problems.append(
            "deepspeed, fsdp: PPO trains under torch DistributedDataParallel or in one process only"
        )
    if args.torch_compile or args.use_liger_kernel:
        problems.append("torch_compile, use_liger_kernel: not offered for PPO; leave them out")
    if args.auto_find_batch_size:
        problems.append(
            "auto_find_batch_size: a batch size that changes would change the rollout; set batch_size"
        )
    if args.load_best_model_at_end and (args.metric_for_best_model or "loss") in ("loss", "eval_loss"):
        problems.append('metric_for_best_model: PPO has no evaluation loss; use "eval_reward"')
    return problems

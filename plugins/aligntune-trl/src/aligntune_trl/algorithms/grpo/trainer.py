"""TRL's GRPOTrainer with dynamic sampling, samples on file, and figures of held-out prompts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from transformers.trainer_utils import EvalLoopOutput
from trl import GRPOTrainer

from aligntune_core.toolkit import RewardSet, RunError
from aligntune_trl.algorithms.grpo.config import GroupConfig
from aligntune_trl.algorithms.grpo.dynamic_sampling import Drawn, DynamicSampling
from aligntune_trl.algorithms.ppo.reference import Reference
from aligntune_trl.online import rewards_bridge
from aligntune_trl.online.samples import Samples

logger = logging.getLogger("aligntune")

Row = dict[str, Any]


class GroupTrainer(GRPOTrainer):  # type: ignore[misc]  # trl is not analysed
    """Trains on groups of completions.

    Args:
        model: policy, plain or a ``PeftModel``.
        args: see GroupConfig.
        rewards: what scores completions.
        samples: takes each step's completions.
        arguments: TRL's other arguments.
    """

    def __init__(
        self, model: Any, args: GroupConfig, rewards: RewardSet, samples: Samples, **arguments: Any
    ) -> None:
        self.rewards, self.samples = rewards, samples
        self._replay: Drawn | None = None
        self._scored: tuple[Any, Any, Any] | None = None
        self._last_draw: dict[str, list[float]] = {}
        self._steps_before = 0
        args.reward_weights = list(rewards.weights)
        # TRL's own way of logging completions prints tables and writes parquet files; ours is ``samples``.
        on_file, args.log_completions = args.log_completions, False
        super().__init__(
            model=model, args=args, reward_funcs=rewards_bridge.trl_functions(rewards), **arguments
        )
        args.log_completions = on_file
        self._sampling = self._dynamic_sampling() if args.dynamic_sampling else None
        self._reference: Reference | None = None

    # --- generate and score -----------------------------------------------------------------------------------------

    def _generate_and_score_completions(self, inputs: list[Row]) -> dict[str, Any]:
        if not self.model.training:
            return super()._generate_and_score_completions(inputs)  # type: ignore[no-any-return]
        if self._sampling is not None:
            self._replay = self._resampled(inputs)
            inputs = self._replay.rows
        try:
            output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        finally:
            self._replay = None
        self._keep_samples()
        self._refuse_empty_loss(output)
        return output

    def _generate(self, prompts: list[Any]) -> Any:
        if self._replay is not None:
            return tuple(self._replay.generated)
        generated = super()._generate(prompts)
        self._check_prompts(generated[0])
        return generated

    def _calculate_rewards(
        self, inputs: list[Row], prompts: list[Any], completions: list[Any], completion_ids_list: list[Any]
    ) -> Any:
        if self._replay is not None:
            rewards = self._replay.rewards
        else:
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._scored = prompts, completions, rewards
        return rewards

    def _check_prompts(self, prompt_ids: Sequence[Sequence[int]]) -> None:
        """Core has refused or dropped longer prompts already; nothing may cut one in silence."""
        limit, longest = self.args.prompt_limit, max(map(len, prompt_ids))
        if limit is not None and longest > limit:
            raise RunError(
                f"a prompt has {longest} tokens, {limit} are allowed: raise max_prompt_length or max_seq_length, or "
                'leave long prompts out with on_bad_rows="drop"'
            )

    # --- dynamic sampling ---------------------------------------------------------------------------------------------

    def _dynamic_sampling(self) -> DynamicSampling:
        weights = self.reward_weights.clone()
        if (
            self.args.overlong_punishment
        ):  # by task: a group that solves all, at different lengths, has nothing to learn
            weights[self.reward_func_names.index(rewards_bridge.OVERLONG)] = 0.0
        return DynamicSampling(
            draw=self._draw,
            gather=self._gathered,
            fresh=self._order,
            row=self.train_dataset.__getitem__,
            group=self.num_generations,
            weights=weights,
            attempts=self.args.max_resampling,
            keep=self.args.on_exhausted == "keep",
            rank=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )

    def _resampled(self, rows: list[Row]) -> Drawn:
        assert self._sampling is not None
        drawn = self._draw(rows)
        # Not TRL's own count of steps alone: that one starts anew when a run is resumed.
        step = self.state.global_step * self.args.gradient_accumulation_steps
        outcome = self._sampling.fill(drawn, step + self._step % self.args.gradient_accumulation_steps)
        self._metrics["train"]["resampled"].append(float(outcome.resampled))
        self._metrics["train"]["resampling_attempts"].append(float(outcome.attempts))
        self._metrics["train"]["groups_alike"].append(float(outcome.left))
        return drawn

    def _draw(self, rows: list[Row]) -> Drawn:
        prompts = [row["prompt"] for row in rows]
        generated = list(self._generate(prompts))
        rewards = self._calculate_rewards(rows, prompts, generated[3], generated[1])
        return Drawn(list(rows), generated, rewards)

    def _order(self, step: int) -> list[int]:
        generator = torch.Generator().manual_seed(self.args.seed * 1_000_003 + step)
        order: list[int] = torch.randperm(len(self.train_dataset), generator=generator).tolist()
        return order

    def _gathered(self, values: list[Any]) -> list[Any]:
        from accelerate.utils import gather_object

        return list(gather_object(values)) if self.accelerator.num_processes > 1 else values

    def resume_at(self, step: int) -> None:
        """Go on after this optimiser step with the data and in the rhythm of a run that was never cut."""
        # TRL counts micro-batches from 0 after a resume, and would draw out of step with its data.
        self._step = step * self.args.gradient_accumulation_steps
        if self._step % (self.args.steps_per_generation * self.num_iterations):
            logger.warning(
                "step %s lies within one draw of completions, which a checkpoint does not hold: the rest of that draw "
                "is taken anew from the policy as it is now",
                step,
            )
        self._steps_before = step

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        sampler = super()._get_train_sampler(dataset)
        if self.shuffle_dataset:
            if self.args.data_seed is not None:
                sampler.generator.manual_seed(self.args.data_seed)  # TRL takes the run's seed whatever is set
            # TRL does not save the state of this generator: shuffle once for each epoch that lies behind.
            per_draw = self._train_batch_size * self.args.steps_per_generation * self.args.world_size
            updates = -(-(len(sampler) // per_draw) // self.args.gradient_accumulation_steps)
            for _ in range(self._steps_before // max(updates, 1)):
                torch.randperm(sampler.num_samples, generator=sampler.generator)
        return sampler

    # --- samples and refusals -----------------------------------------------------------------------------------------

    def _keep_samples(self) -> None:
        assert self._scored is not None
        prompts, completions, rewards = self._scored
        shown = self._gathered(list(zip(prompts, completions, strict=True)))
        if self.accelerator.is_main_process:
            totals = self._totals(rewards).tolist()
            columns = dict(zip(self.reward_func_names, rewards.T.tolist(), strict=True))
            self.samples.record(
                self.state.global_step + 1, [p for p, _ in shown], [c for _, c in shown], totals, columns
            )

    def _totals(self, rewards: Any) -> Any:
        return (rewards * self.reward_weights.to(rewards)).nansum(dim=1)

    def _refuse_empty_loss(self, output: dict[str, Any]) -> None:
        """Stop where masking leaves nothing: loss and gradient would be 0 and the log would not say why."""
        if self.mask_truncated_completions and not output["num_items_in_batch"].item():
            assert self._scored is not None
            raise RunError(
                f"step {self.state.global_step + 1}: all {len(self._scored[2])} completions hit "
                f"max_completion_length={self.max_completion_length} without ending, and "
                "mask_truncated_completions=True leaves none of them in the loss. Raise max_completion_length, set "
                "mask_truncated_completions=False, or start from a model that ends its answers (SFT teaches it)."
            )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with TRL's figures of a draw under the names that PPO has too.

        A step that learns from completions drawn earlier repeats their figures, so that each step's line has them.
        """
        if self.model.training and "loss" in logs:
            figures = self._metrics["train"]
            if "reward" in figures:
                self._last_draw = {ours: list(figures[theirs]) for theirs, ours in DRAW.items()}
            figures.update(self._last_draw)
        super().log(logs, start_time)

    # --- evaluation ---------------------------------------------------------------------------------------------------

    def remember_reference(self) -> None:
        """Keep the policy as it is now at hand for the KL of evaluations, where that costs no second model."""
        if self.ref_model is not None:
            self._reference = Reference(self.model, self.ref_model)
        elif hasattr(self.model, "peft_config") and self.model.active_peft_config.bias == "none":
            self._reference = Reference(self.model)

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """``num_generations_eval`` sampled completions a prompt: rewards, KL, completion length, truncated share.

        Sampling is seeded, so that two evaluations differ by the policy alone and training's random numbers stay as
        they were. There is no loss: advantages compare the completions of a group, and by default there is one.
        """
        self.model.eval()
        judged = []
        with self._own_random_numbers(), torch.no_grad():
            for rows in dataloader:
                judged.append(self.accelerator.gather_for_metrics(self._judged(rows)))
        self._metrics["eval"].clear()
        table = torch.cat(judged)
        means = dict(zip(self._figure_names(), table.mean(0).tolist(), strict=True))
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in means.items()}
        return EvalLoopOutput(predictions=None, label_ids=None, metrics=metrics, num_samples=len(table))

    def _figure_names(self) -> list[str]:
        kl = ["kl"] if self._reference is not None else []
        each = [f"rewards/{name}" for name in self.reward_func_names]
        return ["reward", "completion_length", "truncated", *each, *kl]

    def _judged(self, rows: list[Row]) -> Any:
        """(rows, figures) of one batch of this process."""
        prompts = [row["prompt"] for row in rows]
        prompt_ids, completion_ids, _, completions, *_ = self._generate(prompts)
        rewards = self._calculate_rewards(rows, prompts, completions, completion_ids)
        first = self.accelerator.process_index * len(rows)
        rewards = rewards[first : first + len(rows)].double()
        ends = {*self.eos_token_ids, self._tokenizer.pad_token_id}
        lengths = torch.tensor([len(ids) for ids in completion_ids]).to(rewards)
        truncated = torch.tensor([ids[-1] not in ends for ids in completion_ids]).to(rewards)
        columns = [self._totals(rewards), lengths, truncated, *rewards.T]
        if self._reference is not None:
            columns.append(self._kl(prompt_ids, completion_ids))
        return torch.stack(columns, dim=1)

    def _kl(self, prompt_ids: list[list[int]], completion_ids: list[list[int]]) -> Any:
        """Estimate k3 of the KL to the reference, in nats a completion."""
        assert self._reference is not None
        width, keep = max(map(len, prompt_ids)), max(map(len, completion_ids))
        pad, device = self._tokenizer.pad_token_id, self.accelerator.device
        ids = torch.full((len(prompt_ids), width + keep), pad)
        mask = torch.zeros_like(ids)
        for row, (prompt, completion) in enumerate(zip(prompt_ids, completion_ids, strict=True)):
            span = slice(width - len(prompt), width + len(completion))
            ids[row, span] = torch.tensor([*prompt, *completion])
            mask[row, span] = 1
        inputs = ids.to(device), mask.to(device), keep
        own = self._get_per_token_logps_and_entropies(self.model, *inputs)[0]
        with self._reference.policy() as reference:
            other = self._get_per_token_logps_and_entropies(reference, *inputs)[0]
        difference = (other - own).double()
        estimate = (difference.exp() - difference - 1) * inputs[1][:, -keep:]
        return estimate.sum(dim=1)

    @contextmanager
    def _own_random_numbers(self) -> Iterator[None]:
        device = self.accelerator.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(self.args.seed + self.accelerator.process_index)
            with self.accelerator.autocast() if self.args.bf16 or self.args.fp16 else nullcontext():
                yield


DRAW = {
    "reward": "reward",
    "completions/mean_length": "completion_length",
    "completions/clipped_ratio": "truncated",
}

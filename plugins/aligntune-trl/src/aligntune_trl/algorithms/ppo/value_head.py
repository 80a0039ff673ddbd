"""Policy and value function as one module: by default a linear head on the policy's own hidden states.

One backbone serves both, so the value function costs ``hidden_size + 1`` weights and no second forward pass. The value
loss reaches the backbone (or its adapter) too. A separate value model may be given instead.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from aligntune_trl.algorithms.ppo.objective import entropy, token_logprobs


class ValueHead(nn.Module):  # type: ignore[misc]  # torch is not analysed
    """Hidden state -> value, one float32 linear layer that starts at 0.

    Starting at 0 needs no seed and leaves the first advantages to the rewards alone.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.score = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        # Values are regressed to returns: bfloat16's 8 bits would round them, so no autocast here.
        with torch.autocast(hidden.device.type, enabled=False):
            values: Tensor = self.score(hidden.to(self.score.weight.dtype)).squeeze(-1)
        return values


@dataclass(frozen=True)
class Sequences:
    """Left-padded prompts followed by right-padded completions.

    Attributes:
        input_ids: (rows, prompt + longest completion).
        attention_mask: same shape, 1 where a token counts.
        completion_ids: (rows, states): the sampled tokens; one column wider than the longest completion where that
            ended before the limit.
        prompt_length: columns of the prompt.
    """

    input_ids: Tensor
    attention_mask: Tensor
    completion_ids: Tensor
    prompt_length: int

    def rows(self, index: Tensor) -> Sequences:
        """The rows of ``index``."""
        return Sequences(
            self.input_ids[index], self.attention_mask[index], self.completion_ids[index], self.prompt_length
        )

    def model_inputs(self) -> dict[str, Any]:
        """Arguments of a transformers forward pass; positions skip the left padding."""
        return {
            "input_ids": self.input_ids,
            "attention_mask": self.attention_mask,
            "position_ids": (self.attention_mask.cumsum(1) - self.attention_mask).long(),
            "use_cache": False,
        }


def _takes_logits_to_keep(model: nn.Module) -> bool:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(base.forward).parameters


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def completion_logits(
    model: nn.Module, batch: Sequences, temperature: float, *, hidden_states: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Logits that predict each completion token, divided by ``temperature``, in float32; and the states behind them.

    Args:
        model: a causal language model, or a PEFT model of one.
        batch: what to read.
        temperature: of the sampling distribution.
        hidden_states: return the last layer's states (rows, states, hidden) too.
    """
    states = batch.completion_ids.shape[1]
    kept = batch.input_ids.shape[1] - batch.prompt_length + 1
    # Prompts are not scored: their logits (a vocabulary wide each) are not even computed.
    extra = {"logits_to_keep": kept} if _takes_logits_to_keep(model) else {}
    output = model(**batch.model_inputs(), output_hidden_states=hidden_states, **extra)
    logits = _at_least_float32(output.logits[:, -kept:][:, :states]) / temperature
    hidden = output.hidden_states[-1][:, -kept:][:, :states] if hidden_states else None
    return logits, hidden


def completion_logprobs(model: nn.Module, batch: Sequences, temperature: float) -> Tensor:
    """Log-probability of each completion token under ``model`` at ``temperature``."""
    logits, _ = completion_logits(model, batch, temperature)
    return token_logprobs(logits, batch.completion_ids)


class PolicyWithValue(nn.Module):  # type: ignore[misc]  # torch is not analysed
    """What the trainer trains: policy and value function behind one ``forward``, as DistributedDataParallel needs it.

    Attributes the module does not have itself are the policy's: to transformers it looks like the policy.

    Args:
        policy: a causal language model, or a PEFT model of one.
        value_model: a sequence-classification model with one label that gives the values instead of a shared head.
    """

    def __init__(self, policy: nn.Module, value_model: nn.Module | None = None) -> None:
        super().__init__()
        self.policy = policy
        self.value_model = value_model
        if value_model is None:
            head = ValueHead(policy.config.get_text_config().hidden_size)
            self.value_head: ValueHead | None = head.to(policy.device)
        else:
            self.value_head = None

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "policy":  # not assigned yet: __init__ is still running
                raise
            return getattr(self.policy, name)

    @property
    def _hf_peft_config_loaded(self) -> bool:
        """True where an adapter trains, so that transformers accepts a quantised base."""
        return hasattr(self.policy, "peft_config")

    def value_state(self) -> dict[str, Tensor]:
        """Weights of the value function alone."""
        module = self.value_head if self.value_model is None else self.value_model
        assert module is not None
        return {name: weight.detach().contiguous() for name, weight in module.state_dict().items()}

    def load_value_state(self, state: dict[str, Tensor]) -> None:
        """Restore what ``value_state`` returned."""
        module = self.value_head if self.value_model is None else self.value_model
        assert module is not None
        module.load_state_dict(state)

    def _values(self, batch: Sequences, hidden: Tensor | None) -> Tensor:
        if self.value_head is not None and hidden is not None:
            values: Tensor = self.value_head(hidden)
            return values
        assert self.value_model is not None
        backbone = getattr(self.value_model, self.value_model.base_model_prefix)
        states = backbone(**batch.model_inputs()).last_hidden_state
        kept = states[:, batch.prompt_length - 1 :][:, : batch.completion_ids.shape[1]]
        return _at_least_float32(self.value_model.score(kept).squeeze(-1))

    def forward(self, batch: Sequences, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
        """Score sampled completions, for learning.

        Returns:
            log-probability of each token, value of the state before it, entropy there (without gradient);
            each (rows, states).
        """
        logits, hidden = self._read(batch, temperature)
        with torch.no_grad():  # a row at a time: what it needs is as large as the logits
            uncertainty = torch.stack([entropy(row) for row in logits])
        return token_logprobs(logits, batch.completion_ids), self._values(batch, hidden), uncertainty

    @torch.no_grad()
    def judge(self, batch: Sequences, temperature: float) -> tuple[Tensor, Tensor]:
        """Log-probability of each token and value of the state before it, each (rows, states), for a rollout."""
        logits, hidden = self._read(batch, temperature)
        return token_logprobs(logits, batch.completion_ids), self._values(batch, hidden)

    def _read(self, batch: Sequences, temperature: float) -> tuple[Tensor, Tensor | None]:
        return completion_logits(self.policy, batch, temperature, hidden_states=self.value_head is not None)

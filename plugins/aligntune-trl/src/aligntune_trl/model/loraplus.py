"""LoRA+: one learning rate for an adapter's A matrices and another for its B matrices, with peft's own groups."""

from __future__ import annotations

from typing import Any

# Positions of peft's groups.
_A, _B = 0, 2


def install(trainer: Any, times: float) -> None:
    """Have ``trainer`` make its optimiser so that B matrices learn ``times`` as fast as A matrices."""

    def create_optimizer(model: Any = None) -> Any:
        if trainer.optimizer is None:
            trainer.optimizer = _optimizer(trainer, trainer.model if model is None else model, times)
        return trainer.optimizer

    trainer.create_optimizer = create_optimizer


def ratio(trainer: Any) -> float:
    """The rate of the B matrices over that of the A matrices, in the optimiser that the trainer makes or has."""
    had = trainer.optimizer
    try:
        groups = trainer.create_optimizer().param_groups
    finally:
        trainer.optimizer = had
    rates = [group.get("initial_lr", group["lr"]) for group in groups]
    return float(rates[_B] / rates[_A])


def problem(optimizer: Any, arguments: dict[str, Any]) -> str:
    """Why an optimiser of transformers cannot have these groups; empty where it can."""
    import torch

    plain = isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer)
    if plain and not {"params", "model", "optimizer_dict"} & set(arguments):
        return ""
    return 'it makes groups of its own; take "adamw_torch", or leave loraplus_lr_ratio out'


def _optimizer(trainer: Any, model: Any, times: float) -> Any:
    from peft.optimizers import create_loraplus_optimizer

    optimizer, arguments = trainer.get_optimizer_cls_and_kwargs(trainer.args, model)
    decay = trainer.args.weight_decay
    return create_loraplus_optimizer(
        model, optimizer, loraplus_lr_ratio=times, loraplus_weight_decay=decay, **arguments
    )

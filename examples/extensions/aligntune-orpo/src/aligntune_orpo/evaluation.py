"""TRL's ORPO trainer tokenizes the rows that it is made with, and no others; this one those of an evaluation too."""

from __future__ import annotations

from typing import Any

from trl import maybe_apply_chat_template
from trl.experimental.orpo import ORPOTrainer


class EvaluatingTrainer(ORPOTrainer):
    """Its ``evaluate`` takes the same rows as its training does."""

    def evaluate(self, eval_dataset: Any = None, **more: Any) -> dict[str, float]:
        """Evaluate on rows with prompt, chosen and rejected, by default on those that the trainer was made with."""
        if eval_dataset is not None and "prompt_input_ids" not in eval_dataset.column_names:
            template = {"processing_class": self.processing_class}
            eval_dataset = eval_dataset.map(maybe_apply_chat_template, fn_kwargs=template)
            eval_dataset = eval_dataset.map(self.tokenize_row)
        return dict(super().evaluate(eval_dataset, **more))

"""Dr. GRPO: the GRPO trainer without the divisions by length and deviation."""

from __future__ import annotations

from dataclasses import replace

from aligntune_trl.algorithms.grpo import GRPO

DR_GRPO = replace(GRPO, name="dr_grpo")

"""GSPO: GRPO with one probability ratio a sequence; TRL's GRPO trainer has it as a setting."""

from __future__ import annotations

from dataclasses import replace

from aligntune_trl.algorithms.grpo import GRPO

GSPO = replace(GRPO, name="gspo")

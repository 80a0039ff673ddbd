"""DAPO: the GRPO trainer with dynamic sampling and its punishment of overlong completions."""

from __future__ import annotations

from dataclasses import replace

from aligntune_trl.algorithms.grpo import GRPO

DAPO = replace(GRPO, name="dapo")

"""Print the demo: its steps, the model, examples, answers side by side, figures."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

    from aligntune.demo.model import DemoModel

STAGES = {"before": "before", "after_sft": "after SFT", "after_dpo": "after DPO"}


class Screen:
    """Prints on a rich console; texts of models and rows are never read as markup."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def step(self, text: str) -> None:
        """Say what is done next."""
        self._console.print(Text(f"- {text}", style="dim"), soft_wrap=True)

    def title(self, text: str) -> None:
        """Begin a part."""
        self._console.print()
        self._console.rule(Text(text, style="bold"), align="left")

    def folder(self, home: Path, output: Path) -> None:
        """Say where the results will lie."""
        why = f" ({output} holds an earlier demo)" if home != output else ""
        self._console.print(f"Results go to {home}{why}.", markup=False, soft_wrap=True)

    def model(self, model: DemoModel) -> None:
        """Say which model was taken, and why no earlier one."""
        for place, why in model.passed_over:
            self._console.print(Text(f"  not from {place}: {why}", style="dim"), soft_wrap=True)
        self._console.print(f"Model: {model.path} (from {model.origin})", markup=False, soft_wrap=True)
        if model.stand_in:
            self._console.print(
                Text(
                    "It is random and far too small to speak: this shows that training works, not what it can do. "
                    "With a network, or with --model FOLDER, the demo trains a real one.",
                    style="yellow",
                )
            )

    def example(self, row: Mapping[str, str]) -> None:
        """Show one training row."""
        text = Text()
        for column, value in row.items():
            text.append(f"{column}: ", style="bold").append(value + "\n")
        text.rstrip()
        self._console.print(Panel(text, title="one of the rows", title_align="left", border_style="dim"))

    def answers(self, answers: Sequence[Mapping[str, str]]) -> None:
        """Show answers side by side."""
        self.title("Answers to questions that nothing was trained on")
        for entry in answers:
            self._console.print(Text(entry["question"], style="bold"))
            table = Table(box=SIMPLE_HEAD, pad_edge=False, expand=True)
            for name in STAGES.values():
                table.add_column(name, ratio=1, overflow="fold")
            table.add_row(*(Text(_cut(entry[stage])) for stage in STAGES))
            self._console.print(table)

    def figures(self, summary: Mapping[str, Any]) -> None:
        """Show what changed, in numbers."""
        sft, dpo = summary["sft"], summary["dpo"]
        table = Table("figures", "before", "after", "change", box=SIMPLE_HEAD, pad_edge=False)
        held_out = (sft["held_out_loss_before"], sft["held_out_loss_after"])
        table.add_row("SFT held-out loss", *map(_number, held_out), _change(*held_out))
        table.add_row("SFT training loss", *_losses(sft))
        table.add_row("DPO training loss (starts at ln 2)", *_losses(dpo))
        accuracy = f"{dpo['held_out_pair_accuracy']:.0%}"
        table.add_row("DPO held-out pairs told apart", "-", accuracy, "")
        self._console.print(table)
        self._console.print(
            f"SFT {sft['steps']} steps in {sft['seconds']:.0f} s, DPO {dpo['steps']} steps in {dpo['seconds']:.0f} s, "
            f"all in all {summary['seconds']:.0f} s, on {sft['backend']}."
        )

    def left_behind(self, home: Path, no_plots: bool) -> None:
        """Say what lies where, and what to type next."""
        from aligntune_core.run.folder import MANIFEST, METRICS

        self.title("Where to go from here")
        lines = [
            f"{home}/sft, {home}/dpo: adapter, tokenizer, {MANIFEST}, {METRICS}"
            + ("" if no_plots else ", plots (PNG)"),
            f"{home}/summary.json: the figures and answers above",
        ]
        if no_plots:
            lines.append("No plots were drawn: matplotlib is missing (pip install matplotlib).")
        lines += [
            "Train the result further, on rows of your own:",
            f"  aligntune train {shlex.quote(str(home / 'next.yaml'))} dataset_name=my_rows.jsonl",
        ]
        for line in lines:
            self._console.print(line, markup=False, soft_wrap=True)


def _cut(answer: str) -> str:
    """An answer, with dots where it was cut off in the middle of a sentence."""
    text = answer.strip()
    if not text:
        return "(nothing)"
    return text if text.endswith((".", "!", "?", '"', ":")) else f"{text} ..."


def _losses(run: Mapping[str, Any]) -> tuple[str, str, str]:
    first, last = run["first_loss"], run["last_loss"]
    return _number(first), _number(last), _change(first, last)


def _number(value: float) -> str:
    return f"{value:.4f}"


def _change(before: float, after: float) -> str:
    return f"{after / before - 1:+.0%}"

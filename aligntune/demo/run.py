"""The demo from end to end: SFT with LoRA, then DPO on the result, and what changed."""

from __future__ import annotations

import gc
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aligntune.demo import dataset, figures, plots, recipe
from aligntune.demo.model import DemoModel, find_model
from aligntune.demo.recipe import FULL, QUICK, DemoRecipe
from aligntune_core.errors import RunError

if TYPE_CHECKING:
    from aligntune.demo.screen import Screen
    from aligntune_core.pipeline.trainer import Trainer

SUMMARY = "summary.json"
NEXT = "next.yaml"


@dataclass(frozen=True)
class Settings:
    """The options of the command.

    Attributes:
        model: hub id or folder; None: SmolLM2-135M-Instruct from where it is found.
        quick: a few steps only, to see that everything works.
        output: folder to make; where it is taken, a numbered one beside it.
        backend: name of an installed backend, or "auto".
        seed: of every random choice.
    """

    model: str | None = None
    quick: bool = False
    output: Path = Path("aligntune-demo")
    backend: str = "auto"
    seed: int = 42

    @property
    def recipe(self) -> DemoRecipe:
        return QUICK if self.quick else FULL


class Stopped(RunError):
    """Ctrl-C or SIGTERM reached the training; ``signal`` names it."""

    def __init__(self, signal: str, message: str) -> None:
        super().__init__(message)
        self.signal = signal


@dataclass
class Demo:
    """The state of one demo."""

    settings: Settings
    screen: Screen
    home: Path
    answers: list[list[str]] = field(default_factory=list)
    """Before, after SFT, after DPO; each one answer a question."""
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def questions(self) -> list[str]:
        return dataset.questions(self.settings.recipe.questions)

    def answer(self, trainer: Trainer, when: str) -> None:
        """Let the policy answer the held-out questions as it is now."""
        self.screen.step(f"answering held-out questions {when}")
        self.answers.append(
            trainer.generate(self.questions, max_new_tokens=self.settings.recipe.answer_tokens)
        )

    def measure(self, trainer: Trainer) -> dict[str, float]:
        """Evaluate on held-out rows."""
        self.screen.step("measuring on held-out rows")
        return trainer.evaluate()


def run(settings: Settings, screen: Screen) -> dict[str, Any]:
    """Run the demo.

    Args:
        settings: what the command line says.
        screen: where steps, answers and figures are shown.

    Returns:
        dict: the figures, as in ``summary.json`` of the folder.

    Raises:
        Stopped: a signal ended the training; what was done is saved.
        ConfigError: ``settings.model`` or ``settings.backend`` cannot be used.
        RunError: the folder cannot be made.
    """
    began = time.perf_counter()
    _refuse_early(settings)
    home = free_folder(settings.output)
    screen.folder(home, settings.output)
    demo = Demo(settings, screen, home)
    try:
        model = find_model(settings.model, home, screen.step)
        screen.model(model)
        demo.summary = {
            "model": _about(model),
            "quick": settings.quick,
            "seed": settings.seed,
            "sft": _fine_tune(demo, model.path),
            "dpo": _align(demo),
            "answers": _answers(demo),
            "seconds": time.perf_counter() - began,
        }
    except KeyboardInterrupt:
        raise Stopped("SIGINT", f"interrupted. {_remains(home)}") from None
    _finish(demo)
    return demo.summary


def _refuse_early(settings: Settings) -> None:
    """Refuse what no backend can do before a model is downloaded."""
    from aligntune_core.config import resolve_config
    from aligntune_core.pipeline.choose import choose

    arguments = ("any", Path(), settings.recipe, settings.seed)
    choose(resolve_config("sft", backend=settings.backend, **recipe.sft(*arguments)))
    choose(resolve_config("rl", backend=settings.backend, **recipe.dpo(*arguments)))


def free_folder(output: Path) -> Path:
    """Make ``output``, or ``output-2``, ``output-3``, ... where an earlier demo lies there.

    Raises:
        RunError: it cannot be made.
    """
    number = 1
    while True:
        folder = output if number == 1 else output.with_name(f"{output.name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            if folder.is_dir() and not any(folder.iterdir()):
                return folder
            number += 1
        except OSError as error:
            raise RunError(
                f"{folder} cannot be made: {error.strerror}. Choose another with --output."
            ) from error


def _about(model: DemoModel) -> dict[str, Any]:
    return {
        "path": model.path,
        "origin": model.origin,
        "passed_over": [{"place": place, "why": why} for place, why in model.passed_over],
    }


# --- the two runs -----------------------------------------------------------------------------------------------------


def _fine_tune(demo: Demo, model: str) -> dict[str, Any]:
    from aligntune.core.backend_factory import create_sft_trainer

    settings = demo.settings
    folder = demo.home.resolve() / "sft"
    demo.screen.title("Supervised fine-tuning (SFT) with LoRA")
    demo.screen.example(dataset.read(dataset.INSTRUCTIONS)[0])
    keywords = recipe.sft(model, folder, settings.recipe, settings.seed)
    trainer = create_sft_trainer(backend=settings.backend, **keywords)
    demo.answer(trainer, "before training")
    before = demo.measure(trainer)["eval_loss"]
    _train(demo, trainer)
    after = demo.measure(trainer)["eval_loss"]
    demo.answer(trainer, "after SFT")
    plots.sft(folder)
    return figures.of_run(folder) | {
        "held_out_loss_before": before,
        "held_out_loss_after": after,
        "held_out_fall": 1 - after / before,
    }


def _align(demo: Demo) -> dict[str, Any]:
    from aligntune.core.backend_factory import create_rl_trainer

    gc.collect()  # frees the first model before the second is loaded
    settings = demo.settings
    folder = demo.home.resolve() / "dpo"
    demo.screen.title("Direct preference optimisation (DPO) of the result")
    demo.screen.example(dataset.read(dataset.PREFERENCES)[0])
    keywords = recipe.dpo(str(folder.with_name("sft")), folder, settings.recipe, settings.seed)
    trainer = create_rl_trainer(backend=settings.backend, **keywords)
    _train(demo, trainer)
    held_out = demo.measure(trainer)
    demo.answer(trainer, "after DPO")
    plots.dpo(folder)
    return figures.of_run(folder) | {
        "held_out_pair_accuracy": held_out["reward_accuracy"],
        "held_out_margin": held_out["reward_margin"],
    }


def _train(demo: Demo, trainer: Trainer) -> None:
    result = trainer.train()
    if result.stopped:
        raise Stopped(
            result.stopped,
            f"stopped by {result.stopped} at step {result.steps} of {trainer.config.algorithm}. {_remains(demo.home)}",
        )


def _remains(home: Path) -> str:
    return f"What is done lies in {home}; `aligntune demo` starts a new one."


# --- what is left behind ----------------------------------------------------------------------------------------------


def _answers(demo: Demo) -> list[dict[str, Any]]:
    stages = ("before", "after_sft", "after_dpo")
    return [
        {"question": question, **dict(zip(stages, answers, strict=True))}
        for question, *answers in zip(demo.questions, *demo.answers, strict=True)
    ]


def _finish(demo: Demo) -> None:
    home = demo.home
    (home / SUMMARY).write_text(
        json.dumps(demo.summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    _write_next(home.resolve())
    demo.screen.answers(demo.summary["answers"])
    demo.screen.figures(demo.summary)
    demo.screen.left_behind(home, plots.missing())


def _write_next(home: Path) -> None:
    """A configuration that trains the result further, for rows of the reader's own."""
    import yaml

    keywords = {
        "algorithm": "sft",
        "model_name": str(home / "dpo"),
        "dataset_name": str(dataset.INSTRUCTIONS),
        "output_dir": str(home / "next"),
        "batch_size": 4,
        "learning_rate": 5e-4,
        "max_steps": 40,
    }
    text = "# Trains the demo's result further. Put rows of your own at dataset_name.\n"
    (home / NEXT).write_text(text + yaml.safe_dump(keywords, sort_keys=False), encoding="utf-8")

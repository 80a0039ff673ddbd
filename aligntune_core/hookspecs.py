"""The six hooks of a backend: the author's reference manual.

A backend is a module whose top level holds these functions, each marked with ``aligntune_core.hookimpl``. An
implementation takes any subset of a hook's arguments by name: no keyword-only arguments, no ``*`` or ``**``, no
defaults. Returning ``None`` means "not mine"; if every implementation says so, core raises an error that names it.

Order of calls: ``backend_info``, ``supports_algorithm``, ``prepare``, ``load_model``, ``apply_peft``,
``build_trainer``. Only the last four may import torch and friends, and they do it inside the function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from aligntune_core.config import Config, ResolvedConfig
    from aligntune_core.types import BackendInfo, Datasets, Engine, LoadedModel, Prepared, RunContext, Support

PROJECT = "aligntune"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def backend_info() -> BackendInfo | None:
    """Describe the backend.

    Pure and light: no I/O, no heavy import; called for every listing.

    Returns:
        BackendInfo: summary, honoured config paths, options model, devices.
    """


@hookspec(firstresult=True)
def supports_algorithm(algorithm: str) -> bool | Support | None:
    """Say whether this backend trains ``algorithm`` today, decided from what is installed.

    Pure and light. Called with every known algorithm for listings.

    Args:
        algorithm: canonical name, e.g. "sft", "dpo".

    Returns:
        bool or Support: ``Support(False, "why")`` where a reason helps. ``None`` in an extension: not mine.
    """


@hookspec(firstresult=True)
def prepare(config: Config) -> Prepared | None:
    """Judge the device, import the library in its right order and load the tokenizer. No weights.

    The first heavy hook. Core has a default (torch's device probe and ``AutoTokenizer``) that answers when the plugin
    does not.

    Args:
        config: the validated configuration; fields may still be "auto".

    Raises:
        BackendUnavailable: the device will not do; says what was looked for and what was found.
    """


@hookspec(firstresult=True)
def load_model(config: ResolvedConfig, prepared: Prepared) -> LoadedModel | None:
    """Load the policy's weights.

    Args:
        config: resolved; no "auto" left. ``config.model.name`` is a hub id, a local path, an adapter folder or an
            object in memory.
        prepared: what ``prepare`` returned.
    """


@hookspec(firstresult=True)
def apply_peft(loaded: LoadedModel, config: ResolvedConfig) -> LoadedModel | None:
    """Wrap the model in an adapter, or attach an adapter configuration for the trainer.

    Core has set the seed just before. Called with ``config.peft.enabled`` false too: then return ``loaded`` as it is,
    with every parameter trainable.

    Args:
        loaded: what ``load_model`` returned.
        config: resolved configuration.
    """


@hookspec(firstresult=True)
def build_trainer(
    loaded: LoadedModel, config: ResolvedConfig, datasets: Datasets, run: RunContext
) -> Engine | None:
    """Build the library's trainer and return it behind the ``Engine`` protocol.

    Core has set the seed just before, and compares ``Engine.effective()`` with the configuration right after.

    Args:
        loaded: what ``apply_peft`` returned.
        config: resolved configuration with step counts filled in.
        datasets: canonical rows.
        run: run folder, metric sink and stop flag.
    """

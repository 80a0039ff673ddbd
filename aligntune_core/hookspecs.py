"""The hooks of a backend: the author's reference manual.

A backend is a module whose top level holds these functions, each marked with ``aligntune_core.hookimpl``. An
implementation takes any subset of a hook's arguments by name (``build_trainer`` always takes ``prepared``): no
keyword-only arguments, no ``*`` or ``**``, no defaults. Returning ``None`` means "not mine"; if every implementation
says so, core raises an error that names the hook.

Order of calls: ``backend_info``, ``supports_algorithm``, ``problems``, ``prepare``, ``planned``, ``remarks``,
``tokenize``, ``load_model``, ``apply_peft``, ``build_trainer``. The first three are light; the others may import torch
and friends, and do it inside the function. Required are ``backend_info``, ``supports_algorithm``, ``load_model``,
``apply_peft`` and ``build_trainer``; core has defaults for the rest.

``config`` is an ``aligntune_core.Config``. Up to ``prepare`` some of its fields may be "auto" or None; from ``planned``
on it is resolved: no "auto" is left, and None only where a field documents it as off. ``prepared`` is what ``prepare``
returned, ``loaded`` what the hook before returned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pluggy

from aligntune_core.types import (
    BackendInfo,
    Datasets,
    Engine,
    LoadedModel,
    LossOn,
    Prepared,
    RowTokens,
    RunContext,
    Support,
)

PROJECT = "aligntune"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def backend_info() -> BackendInfo | None:
    """Describe the backend; in an extension: what it adds (see ``BackendInfo``).

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


@hookspec
def problems(config: Any) -> Sequence[str] | None:
    """Name what this backend cannot run in the configuration: combinations of settings that it honours one by one.

    Pure and light: no heavy import, no device, no model. Answers of a backend and of its extensions are collected;
    ``backend="auto"`` passes a backend with problems over, a named backend raises them all at once.

    Args:
        config: validated, not resolved.

    Returns:
        list[str]: a sentence for each: what is wrong, in the user's keywords, and what to write instead.
    """


@hookspec(firstresult=True)
def prepare(config: Any) -> Prepared | None:
    """Judge the device, import the library in its right order and load the tokenizer. No weights.

    The first heavy hook. Core has a default (torch's device and ``AutoTokenizer``) that answers when the plugin does
    not. What later hooks need to know again goes into ``Prepared.state``.

    Args:
        config: validated; fields may still be "auto".

    Raises:
        BackendUnavailable: the device will not do; says what was looked for and what was found.
    """


@hookspec(firstresult=True)
def planned(config: Any, prepared: Prepared) -> Mapping[str, Any] | None:
    """What the library would use for this configuration, read back from its own argument objects, without weights.

    Core compares each value with the configuration, and raises where they differ.

    Args:
        config: resolved; step counts may still be open.

    Returns:
        Mapping: config path -> value.

    Raises:
        ConfigError: something cannot be run that shows only with the device or the model's configuration.
    """


@hookspec
def remarks(config: Any, prepared: Prepared) -> Sequence[str] | None:
    """Say what a user should know of the run before weights load, and would not see: what of the model does not train.

    Answers of a backend and of its extensions are collected; ``plan`` shows them, ``train`` logs them as warnings, and
    they stand in ``aligntune.json``.

    Args:
        config: resolved; step counts may still be open.

    Returns:
        list[str]: a sentence for each.
    """


@hookspec(firstresult=True)
def tokenize(
    rows: Sequence[Mapping[str, Any]], loss: LossOn, config: Any, prepared: Prepared
) -> Sequence[RowTokens] | None:
    """Say how the library will see canonical rows: how long they are, which it would drop, and why.

    Called with batches of rows, before weights load. Core's default renders each row with the chat template and holds
    it against ``max_seq_length``, as the algorithm's ``long_rows`` says.

    Args:
        rows: canonical rows, all with the same columns.
        loss: where their loss is.

    Returns:
        list[RowTokens]: one a row, in order.
    """


@hookspec(firstresult=True)
def load_model(config: Any, prepared: Prepared) -> LoadedModel | None:
    """Load the policy's weights.

    Args:
        config: resolved. ``config.model.name`` is a hub id, a local path, an adapter folder or an object in memory.
    """


@hookspec(firstresult=True)
def apply_peft(loaded: LoadedModel, config: Any, prepared: Prepared) -> LoadedModel | None:
    """Wrap the model in an adapter, or attach an adapter configuration for the trainer.

    Core has set the seed just before. Called with ``config.peft.enabled`` false too: then return ``loaded`` as it is,
    with every parameter trainable.
    """


@hookspec(firstresult=True)
def build_trainer(
    loaded: LoadedModel, config: Any, datasets: Datasets, prepared: Prepared, run: RunContext
) -> Engine | None:
    """Build the library's trainer and return it behind the ``Engine`` protocol.

    Core has set the seed just before, and compares ``Engine.effective()`` with the configuration right after.

    Args:
        config: resolved, step counts filled in.
        datasets: canonical rows.
        prepared: always taken, also where it is not needed: it tells this seam from that of aligntune 1.0.
        run: run folder, metric sink and stop flag.
    """

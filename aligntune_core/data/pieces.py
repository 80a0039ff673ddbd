"""A canonical row as the model will see it: for people who want to know before they train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aligntune_core.data.formats.base import RowProblem
from aligntune_core.data.lengths import limit_of
from aligntune_core.data.tokens import sequences
from aligntune_core.errors import DataError
from aligntune_core.types import LossOn

Pieces = list[tuple[str, bool]]


def loss_of(row: Mapping[str, Any], completion_only: bool | None) -> LossOn:
    """Where the loss of a canonical row is; whole conversations are there for the loss on each reply."""
    if "chosen" in row:
        return "completion"
    if "completion" in row:
        return "all" if completion_only is False else "completion"
    if "messages" in row:
        return "all" if completion_only is False else "assistant"
    if "prompt" in row:
        return "none"
    return "all"


def render(row: Mapping[str, Any], algorithm: Any, tokenizer: Any, config: Any) -> Pieces:
    """The row in pieces, in order, each with whether the loss is on it; truncated as in training.

    Args:
        row: a canonical row, e.g. ``datasets.train[0]``.
        algorithm: whose row it is.
        tokenizer: the one that ``prepare_datasets`` was given.
        config: resolved; ``data.max_seq_length``, ``data.truncation_mode``, ``data.completion_only_loss``.

    Returns:
        list: (text, loss on it). A preference row gives its chosen sequence, then its rejected one, each after a piece
        that names it.
    """
    parts = render_sequences(row, algorithm, tokenizer, config)
    if len(parts) == 1:
        return parts["row"]
    return [("[chosen]\n", False), *parts["chosen"], ("\n[rejected]\n", False), *parts["rejected"]]


def render_sequences(
    row: Mapping[str, Any], algorithm: Any, tokenizer: Any, config: Any
) -> dict[str, Pieces]:
    """As ``render``, one entry a token sequence: "chosen" and "rejected", or a single one named "row"."""
    if tokenizer is None:
        raise DataError("the backend brings its own tokenizer, so core cannot show rows as it sees them.")
    loss = loss_of(row, config.data.completion_only_loss)
    if loss == "none":  # columns that are carried along may have the names of canonical ones
        row = {name: row[name] for name in ("prompt", "tools") if name in row}
    found = sequences([row], loss, tokenizer)[0]
    if isinstance(found, RowProblem):
        raise found
    limit = limit_of(config, algorithm, loss)
    pieces = {}
    for name, sequence in found.items():
        part = slice(None) if loss == "none" else limit.part(len(sequence.ids))
        pieces[name] = _pieces(sequence.ids[part], sequence.mask[part], tokenizer)
    return pieces


def _pieces(ids: list[int], mask: list[bool], tokenizer: Any) -> Pieces:
    """Runs of equal mask as text. Decoding from the start each time keeps spaces that a lone piece would lose."""
    pieces: Pieces = []
    start, before = 0, ""
    for end in range(1, len(ids) + 1):
        if end < len(ids) and mask[end] == mask[start]:
            continue
        text = tokenizer.decode(ids[:end], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        pieces.append((text[len(before) :], mask[start]))
        start, before = end, text
    return pieces

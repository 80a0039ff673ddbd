"""A canonical row as the model will see it: for people who want to know before they train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aligntune_core.data.templates import marks_assistant
from aligntune_core.data.tokens import (
    assistant_mask,
    encode,
    render_conversations,
    shared_length,
    window,
    with_eos,
)
from aligntune_core.errors import DataError
from aligntune_core.types import LossOn

Pieces = list[tuple[str, bool]]


def loss_of(row: Mapping[str, Any], tokenizer: Any, completion_only: bool | None) -> LossOn:
    """Where the loss of a canonical row is."""
    if "chosen" in row:
        return "completion"
    if "completion" in row:
        return "all" if completion_only is False else "completion"
    if "messages" in row:
        return "assistant" if completion_only is not False and marks_assistant(tokenizer) else "all"
    return "all" if "text" in row else "none"


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
    sequences = render_sequences(row, algorithm, tokenizer, config)
    if len(sequences) == 1:
        return next(iter(sequences.values()))
    pieces: Pieces = []
    for name, sequence in sequences.items():
        pieces += [(f"{chr(10) if pieces else ''}[{name}]\n", False), *sequence]
    return pieces


def render_sequences(
    row: Mapping[str, Any], algorithm: Any, tokenizer: Any, config: Any
) -> dict[str, Pieces]:
    """As ``render``, one entry a token sequence: "chosen" and "rejected", or a single one named "row"."""
    if tokenizer is None:
        raise DataError("the backend brings its own tokenizer, so core cannot show rows as it sees them.")
    loss = loss_of(row, tokenizer, config.data.completion_only_loss)
    sequences = {name: _tokens(row, side, tokenizer, loss) for name, side in _sides(row)}
    if loss == "none":
        return {name: _pieces(ids, mask, tokenizer) for name, (ids, mask) in sequences.items()}
    packed = config.data.packing and algorithm.supervised
    mode = "keep_start" if packed else config.data.truncation_mode
    whole = packed and config.data.packing_strategy == "wrapped"
    found = {}
    for name, (ids, mask) in sequences.items():
        part = window(len(ids), len(ids) if whole else config.data.max_seq_length, mode)
        found[name] = _pieces(ids[part], mask[part], tokenizer)
    return found


def _sides(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "chosen" in row:
        return [("chosen", "chosen"), ("rejected", "rejected")]
    return [("row", next((c for c in ("completion", "messages", "text") if c in row), "prompt"))]


def _tokens(row: Mapping[str, Any], side: str, tokenizer: Any, loss: LossOn) -> tuple[list[int], list[bool]]:
    """Ids of one sequence and where the loss is, before truncation."""
    if side == "text":
        ids = encode(tokenizer, [with_eos(tokenizer, row["text"])], special=True)[0]
        return ids, [True] * len(ids)
    if loss == "assistant":
        ids, mask = assistant_mask(tokenizer, row["messages"])
        return ids, [bool(bit) for bit in mask]
    if side == "messages":
        ids = _encode_one(tokenizer, row["messages"], False)
        return ids, [True] * len(ids)
    if side == "prompt":
        ids = _encode_one(tokenizer, row["prompt"], True)
        return ids, [False] * len(ids)
    prompt = _encode_one(tokenizer, row["prompt"], True)
    ids = _encode_one(tokenizer, [*row["prompt"], *row[side]], False)
    start = 0 if loss == "all" else shared_length(prompt, ids)
    return ids, [False] * start + [True] * (len(ids) - start)


def _encode_one(tokenizer: Any, messages: Any, generation: bool) -> list[int]:
    text = render_conversations(tokenizer, [messages], generation)[0]
    if not isinstance(text, str):
        raise text
    return encode(tokenizer, [text])[0]


def _pieces(ids: list[int], mask: list[bool], tokenizer: Any) -> Pieces:
    """Runs of equal mask as text. Decoding from the start each time keeps spaces that a lone piece would lose."""
    pieces: Pieces = []
    start, said = 0, ""
    for end in range(1, len(ids) + 1):
        if end < len(ids) and mask[end] == mask[start]:
            continue
        text = tokenizer.decode(ids[:end], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        pieces.append((text[len(said) :], mask[start]))
        start, said = end, text
    return pieces

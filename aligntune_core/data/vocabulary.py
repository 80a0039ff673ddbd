"""Tokens that the tokenizer has and the model's embedding has not: rows that hold one are named before weights load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aligntune_core.types import RowTokens


def within(
    rows: Sequence[Mapping[str, Any]], answers: Sequence[RowTokens], tokenizer: Any, size: int | None
) -> list[RowTokens]:
    """The answers of the hook ``tokenize``, with a problem for each row that holds a token beyond the embedding.

    Args:
        rows: canonical rows.
        answers: one a row.
        tokenizer: of the run; None: nothing is known.
        size: rows of the model's embedding; None: nothing is known.
    """
    if size is None:
        return list(answers)
    tokens = _beyond(tokenizer, size)
    return [
        _problem(row, tokens, tokenizer, size) or _of_ids(answer, size) or answer
        for row, answer in zip(rows, answers, strict=True)
    ]


def _of_ids(answer: RowTokens, size: int) -> RowTokens | None:
    """The problem of a row whose tokens, where they are handed over, go beyond the embedding."""
    for name, ids in (answer.columns or {}).items():
        if (largest := max(ids, default=0)) >= size:
            return RowTokens(
                problem=f"it holds token {largest}, and the model's embedding has {size} rows: name the model's own "
                "tokenizer with tokenizer_name",
                column=name,
            )
    return None


def _beyond(tokenizer: Any, size: int) -> dict[str, int]:
    """Token -> id of the added tokens that the embedding has no row for."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return {str(token): id_ for id_, token in added.items() if id_ >= size}


def _problem(
    row: Mapping[str, Any], tokens: Mapping[str, int], tokenizer: Any, size: int
) -> RowTokens | None:
    ids = row.get("input_ids")
    if ids is not None and (largest := max(ids, default=0)) >= size:
        return RowTokens(
            problem=f"token {largest} is beyond the {size} rows of the model's embedding", column="input_ids"
        )
    template = (tokenizer.chat_template or "") if tokens else ""
    for column, value in row.items() if tokens else ():
        for text in _texts(value, template):
            for token, id_ in tokens.items():
                if token in text:
                    return RowTokens(problem=_reason(token, id_, len(tokenizer), size), column=column)
    return None


def _texts(value: Any, template: str) -> Iterator[str]:
    """The texts of a cell, and what the template writes around messages."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        yield from (m["content"] for m in value if isinstance(m.get("content"), str))
        yield template


def _reason(token: str, id_: int, tokens: int, size: int) -> str:
    return (
        f"{token} is token {id_} of a tokenizer with {tokens} tokens, and the model's embedding has {size} rows: name "
        "the model's own tokenizer with tokenizer_name, or give the model a row for it (new_tokens)"
    )

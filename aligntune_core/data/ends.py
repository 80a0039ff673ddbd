"""How a reply ends: the mark that the chat template writes after it has to stop generation, or the run says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_NAME = "\ue000"
_PROBE = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": _NAME}]


@dataclass(frozen=True)
class Ending:
    """What the report says of the end of replies.

    Attributes:
        sentence: for people; "" where template and tokenizer agree.
        warning: whether a trained model would not stop by itself.
    """

    sentence: str = ""
    warning: bool = False


def agree(tokenizer: Any, chosen: str | None) -> Ending:
    """Make the end of a reply the tokenizer's end-of-sequence token, where it is another token of the template's.

    Libraries stop at that token, and write it into the model's generation configuration beside those that are there.

    Args:
        tokenizer: with a chat template; changed.
        chosen: the end-of-sequence token that the user chose, which stays; None: the tokenizer's own.
    """
    try:
        text = tokenizer.apply_chat_template(_PROBE, tokenize=False)
    except Exception:  # a template that refuses the probe may take the rows; nothing is known of its end then
        return Ending()
    _, mark, tail = text.rpartition(_NAME)
    if not mark:
        return Ending()
    eos = tokenizer.eos_token
    if eos and eos in tail:
        return Ending()
    end = _end_token(tokenizer, tail)
    if end is None:
        return Ending(
            f"Replies do not end with an end-of-sequence token ({eos}): after one, the chat template writes {tail!r}. "
            "A model trained so does not stop by itself. Take a template that ends a turn with a token "
            "(chat_template=), or name the token that does (eos_token=).",
            warning=True,
        )
    if chosen is not None:
        return Ending(
            f"Replies end with {end}, but eos_token={chosen!r} was chosen: generation stops at that one only.",
            warning=True,
        )
    tokenizer.eos_token = end
    return Ending(
        f"Replies end with {end}, which is the end-of-sequence token of this run and of what it saves; the tokenizer's "
        f"was {eos}. eos_token= chooses another."
    )


def _end_token(tokenizer: Any, tail: str) -> str | None:
    """The first special token of what follows a reply; None where there is none."""
    special = {*tokenizer.all_special_ids}
    special.update(id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special)
    special -= {tokenizer.unk_token_id}
    ids = tokenizer(tail, add_special_tokens=False)["input_ids"]
    token = next((id_ for id_ in ids if id_ in special), None)
    return None if token is None else str(tokenizer.convert_ids_to_tokens(token))

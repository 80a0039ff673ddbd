"""What is to be known of another tool, to read its configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from aligntune.conversion.draft import Draft
from aligntune.conversion.source import Source
from aligntune_core.config.values import excerpt

_WORDS = {str: "a text", list: "a list", dict: "a mapping", int: "a number", float: "a share"}

ByHand = Callable[[Draft, str, Any], None]


@dataclass(frozen=True)
class Peer:
    """Another tool.

    Attributes:
        title: its name as people write it.
        telling: keys that only its files have.
        algorithm: file -> the name of the algorithm, as ours are called.
        by_hand: key -> what reads it, where it does not mean the same as in a call of ours.
        needless: key -> why it needs no counterpart.
        defaults: draft -> keyword of ours -> its own default, where ours is another.
        finish: what is done when every key has been read.
    """

    title: str
    telling: frozenset[str]
    algorithm: Callable[[Source], str]
    by_hand: Mapping[str, ByHand]
    needless: Mapping[str, str]
    defaults: Callable[[Draft], Mapping[str, Any]]
    finish: Callable[[Draft], None] = field(default=lambda _: None)


def expects(*kinds: type) -> Callable[[ByHand], ByHand]:
    """What a key's value has to be; nothing is done where it is not given, and a value of another type is left out."""

    def decorate(read: ByHand) -> ByHand:
        @wraps(read)
        def checked(draft: Draft, key: str, value: Any) -> None:
            if value is None:
                return
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                names = " or ".join(_WORDS[kind] for kind in kinds)
                draft.leave_out(key, value, f"{key}={excerpt(value)} must be {names}")
                return
            read(draft, key, value)

        return checked

    return decorate


def nothing(_: Draft, __: str, ___: Any) -> None:
    """A key that is read with another one."""


@expects(str, list)
def continues_adapter(draft: Draft, key: str, value: Any) -> None:
    """A folder of an adapter that goes on training, which is what ``model_name`` says here."""
    folders = value.split(",") if isinstance(value, str) else list(value or [])
    if not folders:
        return
    draft.settings["model_name"], draft.origins["model_name"] = folders[-1].strip(), key
    if len(folders) > 1:
        draft.leave_out(
            key, value, f"{key}: one adapter goes on training; merge the others into the base first"
        )
    draft.remark(key, value, f"{key} is written as model_name: an adapter's folder names its base itself")


def chat_template(draft: Draft, key: str, value: Any) -> None:
    """A template by name: chatml is one of ours; of the others, the tokenizer's own is what is meant."""
    from aligntune_core.config import keywords as kw

    if not value:
        return
    if value == "chatml" and "chat_template_kwargs" in kw.flat():  # then templates go by names
        draft.put("chat_template", value, key)
    else:
        draft.remark(
            key,
            value,
            f"{key}={value}: the tokenizer's own chat template is used; aligntune plan shows a row",
        )


@expects(int, float)
def share_of_rows(draft: Draft, key: str, value: Any) -> None:
    """Held-out rows as a share, or as a number of rows: a split where there is no field for it."""
    from aligntune_core.config import keywords as kw

    if not value:
        return
    split = str(draft.settings.get("split") or "train")
    if value < 1 and "eval_share" in kw.flat():
        draft.put("eval_share", value, key)
    elif "[" in split or "+" in split:
        draft.leave_out(key, value, f"{key}: name the held-out rows by eval_split, beside split={split}")
    else:
        bound = f"{round(100 * (1 - value))}%" if value < 1 else f"-{int(value)}"
        draft.settings["split"], draft.origins["split"] = f"{split}[:{bound}]", key
        draft.put("eval_split", f"{split}[{bound}:]", key)
        draft.remark(key, value, f"{key}: the last rows are held out; the other tool draws them at random")

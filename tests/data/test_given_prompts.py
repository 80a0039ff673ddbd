"""A prompt beside chosen and rejected that are whole conversations: kept, recognised as a repetition, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from aligntune_core.data import BadRows

SYSTEM = {"role": "system", "content": "be kind"}
ASK = {"role": "user", "content": "hi"}
SAY = {"role": "assistant", "content": "hello"}
ASK2 = {"role": "user", "content": "and?"}
YES = {"role": "assistant", "content": "yes"}
NO = {"role": "assistant", "content": "no"}
H, S = "\n\nHuman: ", "\n\nAssistant: "


@pytest.mark.parametrize(
    ("given", "shared", "wanted"),
    [
        ([SYSTEM, ASK], [ASK], [SYSTEM, ASK]),
        ([SYSTEM], [ASK], [SYSTEM, ASK]),
        ([ASK], [SYSTEM, ASK], [SYSTEM, ASK]),
        ([SYSTEM, ASK], [SYSTEM, ASK], [SYSTEM, ASK]),
        ([SYSTEM, ASK, SAY], [ASK2], [SYSTEM, ASK, SAY, ASK2]),  # the lists go on
        ([SYSTEM, ASK, SAY, ASK2], [ASK2], [SYSTEM, ASK, SAY, ASK2]),  # and here repeat the end
        ([ASK], [ASK, SAY, ASK2], [ASK, SAY, ASK2]),
        ("hi", [ASK, SAY, ASK2], [ASK, SAY, ASK2]),
        ("and? ", [ASK, SAY, ASK2], [ASK, SAY, ASK2]),
        (None, [ASK], [ASK]),
        ("", [SYSTEM, ASK], [SYSTEM, ASK]),
    ],
)
def test_messages_of_the_prompt_alone_are_kept(prepare: Any, given: Any, shared: Any, wanted: Any) -> None:
    rows = [{"prompt": given, "chosen": [*shared, YES], "rejected": [*shared, NO]}]
    assert prepare(rows, "dpo").train[0] == {"prompt": wanted, "chosen": [YES], "rejected": [NO]}


@pytest.mark.parametrize(
    ("given", "shared", "reason"),
    [
        ("other", [ASK], "contradicts chosen and rejected, which share the prompt 'hi'"),
        ([ASK2], [ASK], "contradicts"),
        ([ASK, SAY, ASK], [ASK, SAY, ASK2], "contradicts"),
        ([{**SYSTEM, "content": "be cruel"}, ASK], [SYSTEM, ASK], "its system message is not the one"),
    ],
)
def test_a_prompt_that_contradicts_the_lists_is_a_bad_row(
    prepare: Any, given: Any, shared: Any, reason: str
) -> None:
    good = {"prompt": "hi", "chosen": [ASK, YES], "rejected": [ASK, NO]}
    bad = {"prompt": given, "chosen": [*shared, YES], "rejected": [*shared, NO]}
    with pytest.raises(BadRows) as caught:
        prepare([good, bad], "dpo")
    (found,) = caught.value.rows
    assert (found.place, found.column) == ("row 1", "prompt")
    assert reason in found.reason


@pytest.mark.parametrize("given", ["hi", H + "hi" + S, H + "hi" + S.rstrip(), "Human: hi", "", None])
def test_whole_dialogues_with_a_prompt_that_repeats_theirs(prepare: Any, given: Any) -> None:
    good = {"prompt": "hi", "chosen": H + "hi" + S + "yes", "rejected": H + "hi" + S + "no"}
    data = prepare([{**good, "prompt": given}, good], "dpo")
    assert data.train[0] == {"prompt": [ASK], "chosen": [YES], "rejected": [NO]}
    assert data.report.format == "hh-rlhf"


def test_whole_dialogues_with_a_prompt_that_contradicts_them(prepare: Any) -> None:
    good = {"prompt": "hi", "chosen": H + "hi" + S + "yes", "rejected": H + "hi" + S + "no"}
    for given in ("other", H + "other" + S):
        with pytest.raises(BadRows, match='row 1: column "prompt": contradicts'):
            prepare([good, {**good, "prompt": given}], "dpo")
    with pytest.raises(BadRows, match=r'row 1: column "chosen": .* share no'):
        prepare([good, {**good, "rejected": "no"}], "dpo")


def test_a_reply_that_quotes_a_dialogue_is_no_dialogue(prepare: Any) -> None:
    row = {"prompt": "write one", "chosen": "Sure:" + H + "a" + S + "b", "rejected": "no"}
    data = prepare([row], "dpo")
    assert data.train[0]["chosen"] == [{"role": "assistant", "content": row["chosen"]}]
    assert data.report.format == "prompt/chosen/rejected"


def test_system_prompt_and_system_column_go_in_front_once(prepare: Any) -> None:
    row = {"prompt": "hi", "chosen": [ASK, YES], "rejected": [ASK, NO]}
    assert prepare([row], "dpo", system_prompt="be kind").train[0]["prompt"] == [SYSTEM, ASK]
    got = prepare([{**row, "system": "be kind"}], "dpo", system_prompt="else")
    assert got.train[0]["prompt"] == [SYSTEM, ASK]
    for own in ({"prompt": [SYSTEM, ASK]}, {"chosen": [SYSTEM, ASK, YES], "rejected": [SYSTEM, ASK, NO]}):
        for other in ({}, {"system": "other"}):
            got = prepare([{**row, **own, **other}], "dpo", system_prompt="else")
            assert got.train[0]["prompt"] == [SYSTEM, ASK]

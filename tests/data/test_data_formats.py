"""Every format of docs/data-formats.md: what it becomes, and what the report says of it."""

from __future__ import annotations

from typing import Any

import pytest

from aligntune_core.errors import DataError

SYSTEM = {"role": "system", "content": "be kind"}
ASK = {"role": "user", "content": "hi"}
SAY = {"role": "assistant", "content": "hello"}
ASK2 = {"role": "user", "content": "and?"}
SAY2 = {"role": "assistant", "content": "fine"}
SAY3 = {"role": "assistant", "content": "bad"}


@pytest.mark.parametrize(
    ("row", "name", "prompt", "completion"),
    [
        ({"instruction": "add", "input": "1 2", "output": "3", "text": "x"}, "alpaca", "add\n\n1 2", "3"),
        ({"instruction": "add", "input": "", "output": "3"}, "alpaca", "add", "3"),
        ({"instruction": "add", "input": None, "output": "3"}, "alpaca", "add", "3"),
        ({"instruction": "a", "context": "c", "response": "r"}, "instruction/response", "a\n\nc", "r"),
        ({"question": "2+2?", "answer": "4"}, "question/answer", "2+2?", "4"),
        ({"prompt": "p", "completion": "c"}, "prompt/completion", "p", "c"),
        ({"prompt": "p", "response": "c"}, "prompt/response", "p", "c"),
        ({"input": "p", "output": "c"}, "input/output", "p", "c"),
    ],
)
def test_text_pairs_become_one_user_and_one_assistant_message(
    prepare: Any, row: dict[str, Any], name: str, prompt: str, completion: str
) -> None:
    data = prepare([row])
    assert data.report.format == name
    assert data.train[0] == {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": completion}],
    }
    assert data.report.loss == "completion"
    assert data.report.layout == ("prompt", "completion")


def test_pair_of_message_lists_is_taken_as_it_is(prepare: Any) -> None:
    data = prepare([{"prompt": [SYSTEM, ASK], "completion": [SAY]}])
    assert data.train[0] == {"prompt": [SYSTEM, ASK], "completion": [SAY]}
    assert data.report.format == "prompt/completion (messages)"


def test_system_column_and_system_prompt(prepare: Any) -> None:
    rows = [
        {"system": "be brief", "prompt": "p", "completion": "c"},
        {"system": "", "prompt": "q", "completion": "d"},
    ]
    data = prepare(rows, system_prompt="be kind")
    assert [row["prompt"][0] for row in data.train] == [{"role": "system", "content": "be brief"}, SYSTEM]
    data = prepare([{"messages": [{"role": "system", "content": "own"}, ASK, SAY]}], system_prompt="be kind")
    assert data.train[0]["prompt"][0]["content"] == "own"


@pytest.mark.parametrize("column", ["messages", "conversations"])
def test_messages_split_at_the_last_reply(prepare: Any, column: str) -> None:
    data = prepare([{column: [ASK, SAY, ASK2, SAY2]}, {column: [ASK, SAY]}], train_on="last")
    assert data.train[0] == {"prompt": [ASK, SAY, ASK2], "completion": [SAY2]}
    assert data.report.format == "messages"
    assert any("last turn" in sentence for sentence in data.report.saw)
    assert any(sentence.startswith("1 rows have earlier turns") for sentence in data.report.saw)


def test_sharegpt(prepare: Any) -> None:
    talk = [
        {"from": "system", "value": "be kind"},
        {"from": "human", "value": "hi"},
        {"from": "gpt", "value": "hello"},
    ]
    data = prepare([{"conversations": talk, "id": "1"}])
    assert data.train[0] == {"prompt": [SYSTEM, ASK], "completion": [SAY]}
    assert data.report.format == "sharegpt"
    assert "Not used: id." in data.report.saw


def test_messages_as_json_text_and_as_parts(prepare: Any) -> None:
    import json

    parts = [{"role": "user", "content": [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]}, SAY]
    data = prepare([{"messages": json.dumps([ASK, SAY])}, {"messages": parts}])
    assert data.train[0] == data.train[1] == {"prompt": [ASK], "completion": [SAY]}


def test_loss_on_everything_keeps_conversations_whole(prepare: Any) -> None:
    data = prepare([{"messages": [ASK, SAY, ASK2, SAY2]}], completion_only_loss=False)
    assert data.train[0] == {"messages": [ASK, SAY, ASK2, SAY2]}
    assert data.report.loss == "all"
    assert prepare([{"prompt": "p", "completion": "c"}], completion_only_loss=False).report.loss == "all"


def test_template_that_marks_the_assistant_trains_every_turn(prepare: Any) -> None:
    from aligntune_core.testing.tiny import CHAT_TEMPLATE, make_tokenizer

    marked = CHAT_TEMPLATE.replace(
        "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}",
        "{{ '<|im_start|>' + message['role'] + '\\n' }}{% if message['role'] == 'assistant' %}{% generation %}"
        "{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}{{ message['content'] + '<|im_end|>' }}"
        "{% endif %}{{ '\\n' }}",
    )
    assert marked != CHAT_TEMPLATE
    tokenizer = make_tokenizer(marked)
    data = prepare([{"messages": [ASK, SAY]}, {"messages": [ASK, SAY, ASK2, SAY2]}], tokenizer=tokenizer)
    assert data.train[1] == {"messages": [ASK, SAY, ASK2, SAY2]}
    assert data.report.loss == "assistant"
    assert prepare([{"messages": [ASK, SAY]}], tokenizer=tokenizer).report.layout == ("prompt", "completion")


def test_text_is_left_alone_and_found_by_name_or_by_text_column(prepare: Any) -> None:
    data = prepare([{"text": "once upon a time"}])
    assert data.train[0] == {"text": "once upon a time"}
    assert (data.report.loss, data.report.format, data.report.conversational) == ("all", "text", False)
    assert prepare([{"body": "once"}], text_column="body").train[0] == {"text": "once"}
    assert prepare([{"prompt": "a", "completion": "b", "body": "c d"}], text_column="body").train[0] == {
        "text": "c d"
    }
    with pytest.raises(DataError, match='Did you mean "body"'):
        prepare([{"body": "once"}], text_column="bdy")


def test_plain_text_has_no_completion_to_keep_the_loss_on(prepare: Any) -> None:
    with pytest.raises(DataError, match="completion_only_loss=True needs rows with a completion"):
        prepare([{"text": "once"}], completion_only_loss=True)
    assert prepare([{"text": "once"}], completion_only_loss=False).report.loss == "all"


def test_preference_texts_and_messages(prepare: Any) -> None:
    wanted = {"prompt": [ASK], "chosen": [SAY2], "rejected": [SAY3]}
    texts = prepare([{"prompt": "hi", "chosen": "fine", "rejected": "bad"}], "dpo")
    assert texts.train[0] == wanted
    assert texts.report.format == "prompt/chosen/rejected"
    lists = prepare([{"prompt": [ASK], "chosen": [SAY2], "rejected": [SAY3]}], "dpo")
    assert lists.train[0] == wanted


def test_ultrafeedback_lists_repeat_the_prompt(prepare: Any) -> None:
    row = {
        "prompt": "hi",
        "chosen": [ASK, SAY2],
        "rejected": [ASK, SAY3],
        "messages": [ASK, SAY2],
        "score_chosen": 8.0,
    }
    data = prepare([row], "dpo")
    assert data.train[0] == {"prompt": [ASK], "chosen": [SAY2], "rejected": [SAY3]}
    assert data.report.format == "ultrafeedback"


def test_implicit_prompt_is_what_both_conversations_share(prepare: Any) -> None:
    chosen, rejected = [ASK, SAY, ASK2, SAY2], [ASK, SAY, ASK2, SAY3]
    data = prepare([{"chosen": chosen, "rejected": rejected}], "dpo")
    assert data.train[0] == {"prompt": [ASK, SAY, ASK2], "chosen": [SAY2], "rejected": [SAY3]}


def test_conversation_that_goes_on_after_the_other_ended(prepare: Any) -> None:
    data = prepare([{"chosen": [ASK, SAY, ASK2, SAY2], "rejected": [ASK, SAY]}], "dpo")
    assert data.train[0] == {"prompt": [ASK], "chosen": [SAY, ASK2, SAY2], "rejected": [SAY]}
    assert any("go on for several turns" in sentence for sentence in data.report.saw)


HH = "\n\nHuman: what colour is it?\n\nAssistant: I think that it is "


def test_hh_prompt_ends_at_the_shared_mark_not_at_the_shared_words(prepare: Any) -> None:
    data = prepare([{"chosen": HH + "red", "rejected": HH + "blue"}], "dpo")
    assert data.train[0] == {
        "prompt": [{"role": "user", "content": "what colour is it?"}],
        "chosen": [{"role": "assistant", "content": "I think that it is red"}],
        "rejected": [{"role": "assistant", "content": "I think that it is blue"}],
    }
    assert data.report.format == "hh-rlhf"


def test_hh_prompt_ends_at_the_last_shared_mark_even_inside_the_replies(
    prepare: Any, base_tokenizer: Any
) -> None:
    same = "\n\nHuman: hi\n\nAssistant: I say \n\nAssistant:"
    row = {"chosen": same + " x", "rejected": same + " y"}
    data = prepare([row], "dpo")
    assert data.train[0] == {
        "prompt": [ASK, {"role": "assistant", "content": "I say"}],
        "chosen": [{"role": "assistant", "content": "x"}],
        "rejected": [{"role": "assistant", "content": "y"}],
    }
    assert prepare([row], "grpo").train[0]["prompt"] == data.train[0]["prompt"]
    plain = prepare([row], "dpo", tokenizer=base_tokenizer).train[0]
    text = base_tokenizer.apply_chat_template(plain["prompt"], tokenize=False, add_generation_prompt=True)
    assert text == same.replace("say ", "say")


def test_hh_dialogue_of_several_turns(prepare: Any) -> None:
    start = "\n\nHuman: one\n\nAssistant: two\n\nHuman: three\n\nAssistant:"
    data = prepare([{"chosen": start + " yes", "rejected": start + " no"}], "dpo")
    assert [m["content"] for m in data.train[0]["prompt"]] == ["one", "two", "three"]
    assert data.train[0]["rejected"] == [{"role": "assistant", "content": "no"}]


def test_hh_prompts_beside_plain_replies(prepare: Any) -> None:
    row = {"prompt": "\n\nHuman: one\n\nAssistant:", "chosen": " yes", "rejected": " no"}
    data = prepare([row], "dpo")
    assert data.train[0]["prompt"] == [{"role": "user", "content": "one"}]
    assert data.train[0]["chosen"] == [{"role": "assistant", "content": "yes"}]


def test_plain_texts_without_a_prompt_are_no_preference_data(prepare: Any) -> None:
    with pytest.raises(DataError, match='needs a column "prompt"'):
        prepare([{"chosen": "yes", "rejected": "no"}], "dpo")


@pytest.mark.parametrize(
    "row",
    [{"prompt": "hi"}, {"question": "hi"}, {"instruction": "hi"}, {"messages": [ASK, SAY]}, {"text": "hi"}],
)
def test_online_algorithms_need_a_prompt_only(prepare: Any, row: dict[str, Any]) -> None:
    data = prepare([row], "grpo")
    assert data.train[0]["prompt"] == [ASK]
    assert data.report.loss == "none"


def test_online_algorithms_keep_other_columns_under_their_names(prepare: Any) -> None:
    import datasets

    row = {"question": "hi", "answer": "4", "tests": ["a", "b"], "level": 3, "chosen": "x"}
    for source in ([row], datasets.Dataset.from_list([row])):
        got = prepare(source, "grpo").train[0]
        assert got == {"prompt": [ASK], "question": "hi", "answer": "4", "tests": ["a", "b"], "level": 3}
    renamed = prepare([row], "grpo", column_mapping={"question": "prompt", "answer": "response"}).train[0]
    assert renamed["answer"] == renamed["response"] == "4"


def test_carried_columns_stay_with_their_rows_when_rows_are_dropped(prepare: Any) -> None:
    import datasets

    rows = [{"prompt": f"p{i}" if i != 1 else None, "answer": str(i)} for i in range(4)]
    for source in (rows, datasets.Dataset.from_list(rows)):
        data = prepare(source, "grpo", on_bad_rows="drop")
        assert [row["answer"] for row in data.train] == ["0", "2", "3"]
        assert [row["prompt"][0]["content"] for row in data.train] == ["p0", "p2", "p3"]


@pytest.mark.parametrize(
    "values",
    [
        [1, 2.5, 3, None],
        [{"x": 1}, {"y": "two"}, {}, {"x": 3}],
        ["x", 3, [], {"a": [1, "b", None]}],
        [[1, 2], [2.5], [], None],
        [True, 1, 2**70, -1],
        [[{"a": 1}], [{"b": 2}], None, []],
        [None, None, None, None],
        [1, 2, 3, 4],
    ],
    ids=str,
)
@pytest.mark.parametrize("first", [1, 1000])
def test_carried_columns_have_the_values_of_the_rows(prepare: Any, values: list[Any], first: int) -> None:
    rows = [{"prompt": f"p{i}", "answer": values[min(i // first, 3)]} for i in range(3 * first + 1)]
    carried = prepare(rows, "grpo").train["answer"][:]
    assert carried == [row["answer"] for row in rows]
    assert [type(value) for value in carried] == [type(row["answer"]) for row in rows]


def test_values_that_are_no_json_cannot_stand_beside_others(prepare: Any) -> None:
    with pytest.raises(DataError, match='column "answer" holds values of different types'):
        prepare([{"prompt": "a", "answer": b"x"}, {"prompt": "b", "answer": 3}], "grpo")


@pytest.mark.parametrize(
    ("rows", "algorithm", "parts"),
    [
        (
            [{"question": "a", "anser": "b"}],
            "sft",
            ["no column for completion", "question, anser", "'anser': 'completion'"],
        ),
        (
            [{"prompt": "a", "chosen": "b", "rejected": "c"}],
            "sft",
            ["preference data", "'chosen': 'completion'"],
        ),
        ([{"prompt": "a", "completion": "b"}], "dpo", ["chosen and rejected", "looks like data for sft"]),
        ([{"quesion": "a"}], "grpo", ["no column for prompt", "'quesion': 'prompt'"]),
        ([{"foo": "a", "bar": "b"}], "sft", ["Found: foo, bar", 'column_mapping={"your column": "prompt"}']),
    ],
)
def test_missing_columns_say_what_is_needed_and_a_mapping(
    prepare: Any, rows: list[dict[str, Any]], algorithm: str, parts: list[str]
) -> None:
    with pytest.raises(DataError) as caught:
        prepare(rows, algorithm)
    for part in parts:
        assert part in str(caught.value)


def test_suggested_mapping_works(prepare: Any) -> None:
    import ast
    import re

    rows = [{"question": "a", "anser": "b"}]
    with pytest.raises(DataError) as caught:
        prepare(rows)
    found = re.search(r"column_mapping=(\{.*\})", str(caught.value))
    assert found
    assert (
        prepare(rows, column_mapping=ast.literal_eval(found[1])).train[0]["completion"][0]["content"] == "b"
    )


def test_algorithm_with_a_column_of_its_own(chat_tokenizer: Any, configured: Any) -> None:
    from pydantic import BaseModel

    from aligntune_core.algorithms import Algorithm
    from aligntune_core.data import prepare_datasets
    from aligntune_core.toolkit import Format, Roles, RowProblem

    class None_(BaseModel):
        pass

    def convert(row: Any, shape: Any) -> Any:
        label = row[shape.slots["label"]]
        if not isinstance(label, bool):
            raise RowProblem(shape.slots["label"], f"{label!r} is neither true nor false")
        prompt, answer = (
            {"role": role, "content": row[column]}
            for role, column in (("user", shape.slots["prompt"]), ("assistant", shape.slots["completion"]))
        )
        yield {"prompt": [prompt], "completion": [answer], "label": label, "weights": [1, 2]}

    labelled = Format(
        name="labelled",
        roles=(Roles(("prompt", "completion", "label")),),
        recognise=lambda shape: "labelled answers",
        rows=convert,
        columns=("prompt", "completion", "label", "weights"),
        types={"label": "bool", "weights": "int64[]"},
        loss="completion",
    )
    kto = Algorithm(name="kto", formats=(labelled,), parameters=None_)

    def run(rows: list[dict[str, Any]], **keywords: Any) -> Any:
        return prepare_datasets(configured(rows, **keywords), kto, chat_tokenizer)

    data = run([{"question": "a", "completion": "b", "label": True}])
    assert data.train[0]["label"] is True
    assert data.train[0]["weights"] == [1, 2]
    assert data.report.layout == ("prompt", "completion", "label", "weights")
    assert data.report.format == "labelled answers"
    mapped = run(
        [{"q": "a", "good": False, "completion": "b"}], column_mapping={"q": "prompt", "good": "label"}
    )
    assert mapped.train[0]["label"] is False
    with pytest.raises(DataError, match=r"no column for label.*kto needs prompt, completion and label"):
        run([{"prompt": "a", "completion": "b"}])
    with pytest.raises(DataError, match='row 0: column "label": 3 is neither true nor false'):
        run([{"prompt": "a", "completion": "b", "label": 3}])


def test_unknown_format_of_an_algorithm_is_named(chat_tokenizer: Any, configured: Any) -> None:
    from dataclasses import replace

    from aligntune_core.algorithms import find
    from aligntune_core.data import prepare_datasets
    from aligntune_core.errors import ConfigError

    algorithm = replace(find("sft"), formats=("pairs",))
    with pytest.raises(
        ConfigError, match=r'takes the format "pairs", which does not exist\. Did you mean "pair"'
    ):
        prepare_datasets(configured([{"prompt": "a", "completion": "b"}]), algorithm, chat_tokenizer)


def test_online_algorithms_take_the_prompt_of_preference_data(prepare: Any) -> None:
    data = prepare(
        [{"chosen": HH + "red", "rejected": HH + "blue"}, {"chosen": HH + "x", "rejected": HH + "x"}], "grpo"
    )
    assert data.train.column_names == ["prompt"]
    assert [row["prompt"][0]["content"] for row in data.train] == ["what colour is it?"] * 2
    assert data.report.format == "hh-rlhf"
    lists = prepare([{"chosen": [ASK, SAY2], "rejected": [ASK, SAY3]}], "grpo")
    assert lists.train[0] == {"prompt": [ASK]}

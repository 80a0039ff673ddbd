"""Our length check against the installed TRL: the same rows kept, the same tokens, the same loss mask."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.algorithms import find
from aligntune_core.data import prepare_datasets, render_sequences
from aligntune_core.testing.tiny import CHAT_TEMPLATE, make_tokenizer
from aligntune_core.types import Device, Prepared

pytest.importorskip("trl")
tokens = pytest.importorskip("aligntune_trl.rows")
pytestmark = pytest.mark.backend

LIMIT = 32
TOKENS = ("input_ids", "labels", "chosen_ids", "rejected_ids")
"""What the plugin hands over besides; left out here, so that TRL tokenises the rows itself."""
WORDS = (
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "one",
    "two",
    "sun",
    "hills",
)

# Ends a prompt with something that is gone once a reply follows, as "thinking" templates do.
UNSHARED = CHAT_TEMPLATE.replace(
    "assistant\\n' }}{% endif", "assistant\\n<think>\\n\\n</think>\\n' }}{% endif"
)


def text(draw: random.Random, number: int) -> str:
    return f"{number} " + " ".join(draw.choices(WORDS, k=draw.randint(1, 30)))


def rows(algorithm: str, count: int = 40) -> list[dict[str, Any]]:
    """Rows of which some are cut, and some have a prompt that fills the limit."""
    draw = random.Random(0)
    columns = {"sft": ("prompt", "completion"), "text": ("text",), "dpo": ("prompt", "chosen", "rejected")}[
        algorithm
    ]
    # The column's name comes first, so that sides differ within any limit: rows that do not are refused here only.
    return [{column: f"{column} {text(draw, i)}" for column in columns} for i in range(count)]


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model_dir)


def arguments(kind: str, folder: Path, **settings: Any) -> Any:
    import trl

    return getattr(trl, f"{kind}Config")(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        **settings,
    )


@pytest.fixture
def ours(configured: Any) -> Any:
    """``ours(rows, algorithm, tokenizer, **settings)``."""
    return partial(compared, configured)


def compared(
    configured: Any, source: list[dict[str, Any]], algorithm: str, tokenizer: Any, **settings: Any
) -> tuple[Any, list[Any]]:
    """Every row for TRL, and what we say the model sees of those that we keep."""

    def load(**more: Any) -> tuple[Any, Any]:
        config = configured(source, algorithm, **{**settings, **more})
        prepared = Prepared(device=Device(kind="cpu"), tokenizer=tokenizer)
        tokenize = partial(tokens.tokenize, config=config, prepared=prepared)
        train = prepare_datasets(config, find(algorithm), tokenizer, tokenize).train
        return train.select_columns([name for name in train.column_names if name not in TOKENS]), config

    everything, _ = load(max_seq_length=4096)
    assert len(everything) == len(source)
    kept, config = load(on_bad_rows="drop")
    return everything, [render_sequences(row, find(algorithm), tokenizer, config) for row in kept]


def seen(tokenizer: Any, ids: list[int], labels: list[int]) -> list[tuple[str, bool]]:
    """A library's row as ``render`` shows it."""
    pieces: list[tuple[list[int], bool]] = []
    for token, label in zip(ids, labels, strict=True):
        on = label != -100
        if pieces and pieces[-1][1] == on:
            pieces[-1][0].append(token)
        else:
            pieces.append(([token], on))
    return [(tokenizer.decode(part), on) for part, on in pieces]


@pytest.mark.parametrize(
    ("template", "columns", "settings"),
    [
        (CHAT_TEMPLATE, "sft", {}),
        (CHAT_TEMPLATE, "sft", {"truncation_mode": "keep_end"}),
        (CHAT_TEMPLATE, "sft", {"completion_only_loss": False}),
        (UNSHARED, "sft", {}),
        (None, "sft", {}),
        (CHAT_TEMPLATE, "text", {}),
        (None, "text", {"truncation_mode": "keep_end"}),
    ],
)
def test_sft(
    ours: Any, model: Any, tmp_path: Path, template: str | None, columns: str, settings: dict[str, Any]
) -> None:
    from trl import SFTTrainer

    tokenizer = make_tokenizer(template)
    everything, expected = ours(rows(columns), "sft", tokenizer, max_seq_length=LIMIT, **settings)
    args = arguments("SFT", tmp_path, max_length=LIMIT, shuffle_dataset=False, **settings)
    trainer = SFTTrainer(model, args=args, train_dataset=everything, processing_class=tokenizer)
    got = [seen(tokenizer, row["input_ids"], row["labels"]) for row in trainer.train_dataset]
    assert got == [row["row"] for row in expected]
    if columns == "sft" and not settings:
        assert 0 < len(got) < len(everything), "the limit should drop some rows, not all"


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, UNSHARED, None])
@pytest.mark.parametrize("mode", ["keep_start", "keep_end"])
def test_dpo(ours: Any, model: Any, tmp_path: Path, template: str | None, mode: str) -> None:
    from trl import DPOTrainer

    tokenizer = make_tokenizer(template)
    everything, expected = ours(rows("dpo"), "dpo", tokenizer, max_seq_length=LIMIT, truncation_mode=mode)
    args = arguments("DPO", tmp_path, max_length=LIMIT, truncation_mode=mode)
    trainer = DPOTrainer(model, args=args, train_dataset=everything, processing_class=tokenizer)
    got = []
    for row in trainer.train_dataset:
        batch = trainer.data_collator([row])
        got.append(
            {
                side: seen(
                    tokenizer,
                    batch["input_ids"][i][batch["attention_mask"][i] == 1].tolist(),
                    [
                        0 if on else -100
                        for on in batch["completion_mask"][i][batch["attention_mask"][i] == 1].tolist()
                    ],
                )
                for i, side in enumerate(("chosen", "rejected"))
            }
        )
    assert got == expected
    if mode == "keep_start":
        assert 0 < len(got) < len(everything)


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, None])
def test_dialogues_whose_replies_share_a_mark(
    ours: Any, model: Any, tmp_path: Path, template: str | None
) -> None:
    """Their prompt ends with a turn of the assistant."""
    from trl import DPOTrainer

    tokenizer = make_tokenizer(template)
    same = "\n\nHuman: hi\n\nAssistant: one\n\nAssistant:"
    everything, expected = ours(
        [{"chosen": same + " the sun", "rejected": same + " a dog"}], "dpo", tokenizer
    )
    trainer = DPOTrainer(
        model, args=arguments("DPO", tmp_path), train_dataset=everything, processing_class=tokenizer
    )
    batch = trainer.data_collator(list(trainer.train_dataset))
    for i, side in enumerate(("chosen", "rejected")):
        real = batch["attention_mask"][i] == 1
        labels = [0 if on else -100 for on in batch["completion_mask"][i][real].tolist()]
        assert seen(tokenizer, batch["input_ids"][i][real].tolist(), labels) == expected[0][side]
        assert "one" in expected[0][side][0][0]


def test_reward(ours: Any, tiny_model_dir: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification
    from trl import RewardTrainer

    tokenizer = make_tokenizer()
    everything, expected = ours(rows("dpo"), "reward", tokenizer, max_seq_length=LIMIT * 2)
    classifier = AutoModelForSequenceClassification.from_pretrained(tiny_model_dir, num_labels=1)
    args = arguments("Reward", tmp_path, max_length=LIMIT * 2)
    trainer = RewardTrainer(classifier, args=args, train_dataset=everything, processing_class=tokenizer)
    got = [tokenizer.decode(row["chosen_ids"]) for row in trainer.train_dataset]
    assert got == ["".join(piece for piece, _ in row["chosen"]) for row in expected]
    assert 0 < len(got) < len(everything)


def test_assistant_turns(ours: Any, model: Any, tmp_path: Path) -> None:
    """The ``messages`` layout beside a loss on completions: TRL's ``assistant_only_loss``."""
    from trl import SFTTrainer

    marked = (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
        "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}"
        "{% endgeneration %}{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    draw = random.Random(1)
    talks = [
        {"messages": [{"role": r, "content": text(draw, i)} for i, r in enumerate(("user", "assistant") * 2)]}
        for _ in range(30)
    ]
    tokenizer = make_tokenizer(marked)
    everything, expected = ours(talks, "sft", tokenizer, max_seq_length=48)
    assert everything.column_names == ["messages"]
    args = arguments("SFT", tmp_path, max_length=48, shuffle_dataset=False, assistant_only_loss=True)
    trainer = SFTTrainer(model, args=args, train_dataset=everything, processing_class=tokenizer)
    got = [seen(tokenizer, row["input_ids"], row["labels"]) for row in trainer.train_dataset]
    assert got == [row["row"] for row in expected]

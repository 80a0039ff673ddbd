"""Plain text for language modelling."""

from __future__ import annotations

from collections.abc import Iterator

from aligntune_core.data import cells
from aligntune_core.data.columns import ROLES, plain_name
from aligntune_core.data.conversations import read_text
from aligntune_core.data.formats.base import CanonicalRow, Format, Roles, Row, Shape, Target, Wishes
from aligntune_core.errors import DataError

# Columns beside a text that are its answer: what a model is to write for it.
_ANSWERS = (
    "code",
    "sql",
    "cypher",
    "target",
    "targets",
    "summary",
    "highlights",
    "translation",
    "canonical_solution",
)


def recognise(shape: Shape) -> str:
    """ "text".

    Raises:
        DataError: an answer or a prompt stands beside it, and the user has not said that the text alone is to be
            learnt.
    """
    column = shape.slots["text"]
    names = (*ROLES["completion"], *_ANSWERS)
    others = [c for c in shape.columns if plain_name(c) in names and c not in shape.settled]
    answer = next((c for c in others if isinstance(shape.sample.get(c), str)), None)
    if answer is not None and column not in shape.settled:
        raise DataError(
            f'{shape.origin}: column "{answer}" looks like the answer to "{column}", and would not be learnt where '
            f"\"{column}\" is plain text. If it is, try column_mapping={{'{column}': 'prompt', '{answer}': "
            f"'completion'}}; to learn \"{column}\" alone, say unused_columns=['{answer}']."
        )
    text = str(shape.sample.get(column))
    prompts = [c for c in shape.columns if plain_name(c) in ROLES["prompt"] and c not in shape.settled]
    prompt = next((c for c in prompts if isinstance(shape.sample.get(c), str)), None)
    if prompt is not None and column not in shape.settled and shape.sample[prompt].strip() not in text:
        raise DataError(
            f'{shape.origin}: "{column}" stands beside "{prompt}", which is not learnt where "{column}" is plain text. '
            f"If it is the answer, try column_mapping={{'{prompt}': 'prompt', '{column}': 'completion'}}; to learn "
            f"\"{column}\" alone, say unused_columns=['{prompt}']."
        )
    return "text"


def rows(row: Row, shape: Shape) -> Iterator[CanonicalRow]:
    """The text, unchanged."""
    yield {"text": read_text(*cells.cell(row, shape, "text"))}


def loss(shape: Shape, wishes: Wishes) -> Target:
    """On every token: there is no completion."""
    if wishes.completion_only and wishes.written:
        raise DataError(
            f"{shape.origin}: completion_only_loss=True needs rows with a completion; these are plain text. Leave it "
            "out, or give prompt and completion."
        )
    return Target("all", ("text",), "The loss is on every token.")


FORMAT = Format(
    name="text",
    roles=(Roles(("text",)),),
    recognise=recognise,
    rows=rows,
    columns=("text",),
    types={"text": "string"},
    loss=loss,
    wants="text",
)

"""Several data sets as one: each recognised and converted by its own format, all with the same canonical columns."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aligntune_core.data.formats.base import CanonicalRow, Row, Shape
from aligntune_core.data.reader import Part, Reader
from aligntune_core.errors import BadRows, DataError
from aligntune_core.types import DataReport

if TYPE_CHECKING:
    from aligntune_core.config import Config

MESSAGES = ("messages",)
PAIR = ("prompt", "completion")


@dataclass(frozen=True)
class Member:
    """One data set of a mixture."""

    name: str  # "datasets[0]"
    config: Config  # of the run, as if this data set were its only one
    weight: float | None  # its share of the rows, before all shares are made to add up to 1


def members(config: Config) -> list[Member]:
    """The data sets of a configuration, each with the settings of its own."""
    made = []
    for index, entry in enumerate(config.data.datasets or ()):
        settings = {key: value for key, value in entry.items() if key not in ("name", "weight")}
        data = config.data.model_copy(update={"dataset": entry["name"], "datasets": None, **settings})
        member = config.model_copy(update={"data": data})
        made.append(Member(f"datasets[{index}]", member, entry.get("weight")))
    return made


def named(member: Member, work: Callable[[], Any]) -> Any:
    """What ``work`` gives; its errors say which data set they are about."""
    try:
        return work()
    except BadRows as error:
        raise BadRows(f"{member.name}: {error}", error.rows) from error
    except DataError as error:
        raise DataError(f"{member.name}: {error}") from error


def alike(parts: Sequence[tuple[Member, Reader]]) -> list[Reader]:
    """Readers whose rows have the same canonical columns and the same loss.

    Where one has conversations and another prompts with completions, all become conversations; what was context stays
    context.

    Raises:
        DataError: two formats have no columns in common; both are named.
    """
    main, first = next(
        (part for part in reversed(parts) if part[1].shape.target.columns == MESSAGES), parts[0]
    )[::-1]
    made = []
    for member, reader in parts:
        target, goal = reader.shape.target, main.shape.target
        if (target.columns, target.loss) == (goal.columns, goal.loss):
            made.append(reader)
        elif (target.columns, goal.columns) == (PAIR, MESSAGES) and reader.shape.format.conversational:
            made.append(replace(reader, shape=_conversation(reader.shape, main.shape)))
        else:
            raise DataError(
                f"{member.name}: format {reader.shape.name} ({', '.join(target.columns)}; loss: {target.loss}) does "
                f"not go with the format {main.shape.name} of {first.name} ({', '.join(goal.columns)}; loss: "
                f"{goal.loss}). "
                "Train on them one after the other, or bring them into one format."
            )
    return made


def _conversation(pair: Shape, main: Shape) -> Shape:
    """Prompts with completions as conversations."""
    rows = pair.format.rows

    def joined(row: Row, shape: Shape) -> Iterator[CanonicalRow]:
        own = replace(shape, format=pair.format, target=pair.target)
        for made in rows(row, own):
            yield {"messages": [*map(_context, made["prompt"]), *made["completion"]]}

    form = replace(pair.format, rows=joined, columns=MESSAGES, types=main.format.types)
    return replace(pair, format=form, target=main.target)


def _context(message: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**message, "weight": 0} if message["role"] == "assistant" else message


def joined(parts: Sequence[tuple[Member, Part]], seed: int) -> Part:
    """The rows of all parts as one.

    With weights, each row comes from a part drawn by them, until one part has no rows left; none comes twice. Without,
    the parts follow each other.
    """
    from datasets import Dataset, concatenate_datasets, interleave_datasets

    weights = [member.weight for member, _ in parts]
    tables = [part.dataset for _, part in parts]
    if weights[0] is None:
        order = None
        counts = [len(table) for table in tables]
    else:
        total, begin, numbers = sum(weight or 0 for weight in weights), 0, []
        for table in tables:
            numbers.append(Dataset.from_dict({"row": range(begin, begin + len(table))}))
            begin += len(table)
        shares = [(weight or 0) / total for weight in weights]
        order = interleave_datasets(numbers, shares, seed, stopping_strategy="first_exhausted")["row"][:]
        counts = _counts(order, [len(table) for table in tables])
    whole = concatenate_datasets(_of_one_type(tables))
    if order is not None:
        whole = whole.select(order)
    text = repr([*(part.report.fingerprint for _, part in parts), order and (weights, seed)])
    fingerprint = hashlib.sha256(text.encode()).hexdigest()[:32]
    report = _report(parts, counts, fingerprint)
    return Part(whole, report, b"".join(part.digests for _, part in parts))


def _counts(order: Sequence[int], lengths: Sequence[int]) -> list[int]:
    """How many rows of each part are in an order of all of them."""
    counts, begin = [], 0
    for length in lengths:
        counts.append(sum(begin <= row < begin + length for row in order))
        begin += length
    return counts


def _of_one_type(tables: Sequence[Any]) -> list[Any]:
    """The tables with the same columns of the same types: a column of several types becomes one of JSON."""
    from datasets import Json, List

    made = list(tables)
    for name in dict.fromkeys(name for table in tables for name in table.column_names):
        types = [table.features[name] for table in tables if name in table.column_names]
        if all(kind == types[0] for kind in types):
            continue
        goal = List(Json()) if name in (*MESSAGES, *PAIR, "chosen", "rejected") else Json()
        made = [table.cast_column(name, goal) if name in table.column_names else table for table in made]
    return made


def _report(parts: Sequence[tuple[Member, Part]], counts: Sequence[int], fingerprint: str) -> DataReport:
    """One report on all parts, with the rows, tokens and share of each."""
    reports = [part.report for _, part in parts]
    tokens = [round(report.mean_tokens * count) for report, count in zip(reports, counts, strict=True)]
    lines, warnings = [], []
    for (member, _), report, count, some in zip(parts, reports, counts, tokens, strict=True):
        share = f"{count / max(sum(counts), 1):.1%} of all rows"
        share += f", {some / sum(tokens):.1%} of all tokens" if sum(tokens) else ""
        made = report.rows_made or 0
        lines.append(
            f"{member.name} {report.source} ({report.format}): {count} of {made} rows, ~{some} tokens; {share}."
        )
        lines += [f"{member.name}: {sentence}" for sentence in report.saw]
        warnings += [f"{member.name}: {sentence}" for sentence in report.warnings]
    return replace(
        reports[0],
        source=" + ".join(dict.fromkeys(report.source for report in reports)),
        format=" + ".join(dict.fromkeys(report.format for report in reports)),
        saw=tuple(lines),
        warnings=tuple(warnings),
        columns=tuple(dict.fromkeys(name for report in reports for name in report.columns)),
        rows_given=sum(report.rows_given or 0 for report in reports),
        rows_dropped=sum(report.rows_dropped or 0 for report in reports),
        rows_made=sum(counts),
        bad_rows=tuple(row for report in reports for row in report.bad_rows),
        max_tokens=max(report.max_tokens for report in reports),
        mean_tokens=round(sum(tokens) / max(sum(counts), 1), 1),
        truncated_rows=sum(report.truncated_rows for report in reports),
        fingerprint=fingerprint,
    )

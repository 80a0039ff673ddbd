"""Canonical rows as a ``datasets.Dataset``, with the columns that are carried along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aligntune_core.data.recognise.detect import Shape
from aligntune_core.data.rows import RowSource
from aligntune_core.errors import DataError


def schema(layout: Sequence[str]) -> Any:
    """The arrow schema of canonical columns: text, or lists of messages."""
    import pyarrow as pa

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    return pa.schema([(column, pa.string() if column == "text" else pa.list_(message)) for column in layout])


def features(layout: Sequence[str]) -> Any:
    """The same as features of the ``datasets`` library."""
    from datasets import Features

    return Features.from_arrow_schema(schema(layout))


def to_table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> Any:
    """Canonical rows as an arrow table."""
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), schema=schema(columns))


def build_dataset(
    tables: Sequence[Any], shape: Shape, source: RowSource, kept: Sequence[int], fingerprint: str
) -> Any:
    """One dataset from tables of canonical rows, in order.

    Args:
        tables: from ``to_table``.
        shape: names the columns to carry along.
        source: where those are.
        kept: indices of the rows in ``source``.
        fingerprint: of the rows; the ``datasets`` library would hash them once more.
    """
    import pyarrow as pa
    from datasets import Dataset, concatenate_datasets

    dataset = Dataset(pa.concat_tables(tables), fingerprint=fingerprint)
    if not shape.extras:
        return dataset
    return concatenate_datasets([dataset, _extras(shape, source, kept)], axis=1)


def _extras(shape: Shape, source: RowSource, kept: Sequence[int]) -> Any:
    from datasets import Dataset, concatenate_datasets

    if source.is_dataset:
        chosen = source.rows.with_format(None).select(kept)
        return concatenate_datasets(
            [_as(chosen, column, name) for name, column in shape.extras.items()], axis=1
        )
    columns = {
        name: [source.rows[index].get(column) for index in kept] for name, column in shape.extras.items()
    }
    return Dataset.from_dict({name: _typed(name, values, source.origin) for name, values in columns.items()})


def _typed(name: str, values: list[Any], origin: str) -> Any:
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise DataError(f'{origin}: column "{name}" holds values of different types: {error}') from error


def _as(dataset: Any, column: str, name: str) -> Any:
    """One column of a dataset, under another name."""
    alone = dataset.select_columns([column])
    return alone if column == name else alone.rename_column(column, name)

"""The pipeline: open, recognise, convert, check, report."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aligntune_core.data.parts import assemble, first_rows, held_out_part, mapping_that_applies, reader_for
from aligntune_core.data.reading.reader import Tokenize
from aligntune_core.data.sources.source import held_out_split, open_source
from aligntune_core.data.streams import prepare_stream
from aligntune_core.errors import DataError
from aligntune_core.types import Datasets

if TYPE_CHECKING:
    from aligntune_core.algorithms import Algorithm
    from aligntune_core.config import Config


def prepare_datasets(
    config: Config, algorithm: Algorithm, tokenizer: Any, tokenize: Tokenize | None = None
) -> Datasets:
    """Load, recognise, convert and check the rows of a run.

    Args:
        config: resolved; reads ``data``, ``model.token``, ``model.chat_template`` and ``optim.max_steps``.
        algorithm: says which formats its rows may have.
        tokenizer: of the run; gets a plain chat template where it has none.
        tokenize: (canonical rows, loss) -> how the library will see them, as ``Backend.tokenize`` says it; default:
            core's plain rules, which measure nothing without a tokenizer.

    Returns:
        Datasets: canonical rows (docs/data-formats.md), their fingerprint and a ``DataReport``.

    Raises:
        DataError: the source cannot be read, columns are missing, or rows cannot be used (``BadRows``); names each
            row by its index or file line, the column and the reason.
    """
    opened = open_source(config.data.dataset, config)
    if config.data.streaming or opened.endless:
        return prepare_stream(config, algorithm, tokenizer, opened, tokenize)
    source = first_rows(opened.rows(config.data.split), config.data.max_samples)
    reader = reader_for(source, config, algorithm, tokenizer, tokenize)
    train = reader.read(source)
    train = replace(train, report=replace(train.report, saw=(*train.report.saw, *opened.sentences)))
    return assemble(train, held_out_part(config, algorithm, reader, opened))


def prepare_rows(
    rows: Any, config: Config, algorithm: Algorithm, tokenizer: Any, tokenize: Tokenize | None = None
) -> Any:
    """Rows that come later, as for ``Trainer.evaluate``: read whole, as those of the run were.

    Args:
        rows: whatever ``dataset_name`` takes; of several splits the held-out one is taken.
        config: of the run.
        algorithm: of the run.
        tokenizer: of the run.
        tokenize: as for ``prepare_datasets``.

    Returns:
        datasets.Dataset: canonical rows.

    Raises:
        DataError: as ``prepare_datasets``.
    """
    opened = open_source(rows, config, "dataset")
    if opened.endless:
        raise DataError("evaluation reads rows whole; give a Dataset, not an IterableDataset.")
    source = opened.rows(held_out_split(opened))
    mapping = mapping_that_applies(config.data.column_mapping, source, algorithm)
    data = config.data.model_copy(update={"column_mapping": mapping})
    config = config.model_copy(update={"data": data})
    return reader_for(source, config, algorithm, tokenizer, tokenize).read(source).dataset

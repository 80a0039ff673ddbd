"""From what the user gave (a name, a path, an object) to the rows of one split."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aligntune_core.data.rows import RowSource, concatenate, from_dataset, from_list
from aligntune_core.data.sources import hub
from aligntune_core.data.sources.folders import LocalFiles, missing_path, open_path, open_pattern
from aligntune_core.data.sources.reasoning_gym import reasoning_gym_rows
from aligntune_core.errors import DataError
from aligntune_core.model.hub import looks_local
from aligntune_core.rewards.builtin.reasoning_gym import PREFIX
from aligntune_core.wording import did_you_mean, listed

if TYPE_CHECKING:
    from aligntune_core.config import Config

_log = logging.getLogger("aligntune.data")

TASKS = 1000
HELD_OUT_TASKS = 100
# Far from seeds that people choose, so that no run trains on another's held-out tasks.
HELD_OUT_SEED = 1_000_003
HELD_OUT = ("validation", "test", "eval", "valid", "dev")
_PART = re.compile(
    r"^\s*(?P<name>[^\[\]+\s]+)\s*(?:\[\s*(?P<start>-?\d+%?)?\s*:\s*(?P<stop>-?\d+%?)?\s*\])?\s*$"
)


@dataclass(frozen=True)
class SplitSlice:
    """One part of a split expression; bounds as written ("10%", "-5"), None where open."""

    name: str
    start: str | None = None
    stop: str | None = None

    def bounds(self, count: int) -> range:
        """The rows meant, of ``count``. Percentages round to the closest row, as in ``datasets``."""
        start, stop = _absolute(self.start or "0", count), _absolute(self.stop or "100%", count)
        return range(start, max(start, stop))

    def __str__(self) -> str:
        whole = self.start is None and self.stop is None
        return self.name if whole else f"{self.name}[{self.start or ''}:{self.stop or ''}]"


def _absolute(bound: str, count: int) -> int:
    value = round(int(bound[:-1]) * count / 100) if bound.endswith("%") else int(bound)
    return min(max(value + count if value < 0 else value, 0), count)


def _parts_of(expression: str, keyword: str) -> list[SplitSlice]:
    """The parts of a split expression: a name, a slice of it ("train[10%:20%]"), or several joined with "+"."""
    parts = [_PART.match(text) for text in expression.split("+")]
    if None in parts:
        raise DataError(
            f'{keyword}="{expression}" cannot be read. Write a split\'s name, or a slice of it: '
            "train, train[:50], train[10%:20%], train[:100]+validation[:20]."
        )
    return [SplitSlice(*match.groups()) for match in parts if match]


@dataclass(frozen=True)
class Opened:
    """Where rows are, opened but not read."""

    origin: str  # what to call it in messages
    splits: tuple[str, ...] | None  # names of the splits, or None where only loading tells (the hub)
    read: Callable[[str], RowSource]  # split name -> its rows
    stream: Callable[[str], Any]  # split name -> a ``datasets.IterableDataset`` over it
    aliases: Mapping[str, str] = field(default_factory=dict)  # other name of a split -> its name
    takes_config: bool = False  # whether ``config_name`` means something here
    endless: bool = False  # whether it is an ``IterableDataset``, which can only be streamed
    sentences: tuple[str, ...] = ()  # for the report

    def rows(self, expression: str, keyword: str = "split") -> RowSource:
        """The rows that a split expression means.

        Raises:
            DataError: there is no such split, or there are no such rows.
        """
        parts = []
        for part in _parts_of(expression, keyword):
            source = self.read(self._split_called(part.name, keyword))
            parts.append(source if str(part) == part.name else source.take(part.bounds(len(source))))
        source = concatenate(parts)
        if len({part.origin for part in parts}) > 1:
            source = replace(source, origin=self.origin)
        if not len(source):
            raise DataError(f'{self.origin}: {keyword}="{expression}" holds no rows.')
        return source

    def streamed(self, expression: str) -> Any:
        """The same as a ``datasets.IterableDataset``."""
        part, *more = _parts_of(expression, "split")
        if more:
            raise DataError(f'split="{expression}": splits cannot be joined while streaming.')
        start, stop = part.start or "0", part.stop or "0"
        if "%" in start + stop or "-" in start + stop:
            raise DataError(
                f'split="{part}": a stream has no count, so percentages and negative bounds mean nothing in it.'
            )
        stream = self.stream(self._split_called(part.name, "split"))
        stream = stream.skip(int(start)) if int(start) else stream
        return stream if part.stop is None else stream.take(max(int(stop) - int(start), 0))

    def held_out_split(self) -> str:
        """The split of an ``eval_dataset`` to use where ``eval_split`` is not given."""
        if self.splits is None:
            raise DataError(
                f"{self.origin}: say which split is held out with eval_split=, e.g. validation or test."
            )
        if len(self.splits) == 1:
            return self.splits[0]
        for name in HELD_OUT:
            if name in self.splits or name in self.aliases:
                return name
        raise DataError(f"{self.origin} has the splits {listed(self.splits)}: choose one with eval_split=.")

    def _split_called(self, name: str, keyword: str) -> str:
        """The split of this name, or of which it is an alias."""
        name = self.aliases.get(name, name)
        if self.splits is not None and name not in self.splits:
            raise DataError(
                f'{self.origin} has no split "{name}".{did_you_mean(name, self.splits)} It has: '
                f"{listed(self.splits)}. Choose one with {keyword}=."
            )
        return name


def open_source(spec: Any, config: Config, keyword: str = "dataset_name") -> Opened:
    """Open a hub id, local file or folder, ``datasets`` object, list of dicts, or dict of split -> one of these.

    ``keyword`` is the one that gave it, for messages.

    Raises:
        DataError: it is not there, or not a source of rows.
    """
    if isinstance(spec, str | Path):
        opened = _named(str(spec), config, keyword)
    else:
        opened = _in_memory(spec, "the dataset in memory", keyword)
    name = config.data.config_name
    if not name or opened.takes_config or keyword != "dataset_name":
        return opened  # config_name is of dataset_name; where it fits another source it was used there too
    sentence = f'config_name="{name}" chooses nothing: {opened.origin} has no configurations.'
    _log.warning("%s", sentence)
    return replace(opened, sentences=(sentence,))


def _named(spec: str, config: Config, keyword: str) -> Opened:
    """A task, a local file or folder, or a dataset of the hub."""
    if spec.startswith(PREFIX):
        return _tasks(spec, config)
    path, name = Path(spec).expanduser(), config.data.config_name
    if path.exists():
        local = open_path(path, name, must=keyword == "dataset_name")
        if isinstance(local, LocalFiles):
            splits = tuple(local.files)
            return Opened(local.origin, splits, local.read, local.stream, local.aliases, path.is_dir())
        return replace(_in_memory(local, spec, keyword), takes_config=(path / (name or "")).is_dir())
    pattern = open_pattern(spec)
    if pattern is not None:
        return Opened(pattern.origin, tuple(pattern.files), pattern.read, pattern.stream, pattern.aliases)
    if looks_local(spec):
        raise missing_path(spec)
    return _hub(spec, config)


def _hub(name: str, config: Config) -> Opened:
    secret = config.model.token
    token = secret.get_secret_value() if secret is not None else None

    def load(split: str, streaming: bool) -> Any:
        return hub.load(name, split, config_name=config.data.config_name, token=token, streaming=streaming)

    return Opened(
        f"{name} (hub)",
        None,
        lambda split: from_dataset(load(split, False), f"{name} {split}"),
        lambda split: load(split, True),
        takes_config=True,
    )


def _tasks(name: str, config: Config) -> Opened:
    """Rows that reasoning-gym makes: "train" of the run's seed, "test" of another."""
    data, seed = config.data, config.run.seed
    tasks = {
        "train": (data.max_samples or TASKS, seed),
        "test": (data.max_eval_samples or HELD_OUT_TASKS, seed + HELD_OUT_SEED),
    }

    def read(split: str) -> RowSource:
        return from_list(reasoning_gym_rows(name, *tasks[split]), f"{name} {split}")

    return Opened(name, tuple(tasks), read, lambda split: read(split).stream())


def _in_memory(value: Any, origin: str, keyword: str) -> Opened:
    """Objects of the ``datasets`` library, lists of dicts, and dicts of those."""
    from datasets import Dataset, IterableDataset

    value = _of_tables(value, keyword)

    def unread(_: str) -> RowSource:
        raise DataError(
            f"{origin}: an IterableDataset can only be streamed. Pass streaming=True with max_steps."
        )

    if isinstance(value, IterableDataset):
        return Opened(origin, ("train",), unread, lambda _: value, endless=True)
    if isinstance(value, Mapping):
        return _splits(value, origin, keyword)
    if isinstance(value, Dataset):
        source = from_dataset(value, origin)
    elif isinstance(value, list | tuple):
        if not value:
            raise DataError(f"{keyword}: the list of rows is empty.")
        source = from_list(value, origin)
    else:
        raise DataError(
            f"{keyword}: a {type(value).__module__}.{type(value).__qualname__} is not a source of rows. Give a hub id, "
            "a local file or folder, a datasets.Dataset, IterableDataset or DatasetDict, a pandas DataFrame, a pyarrow "
            "Table, or a list of dicts."
        )
    return Opened(origin, ("train",), lambda _: source, lambda _: source.stream())


def _of_tables(value: Any, keyword: str) -> Any:
    """A table of pyarrow as a ``Dataset``, a frame of pandas as a list of dicts; anything else as it is."""
    library, name = type(value).__module__.split(".")[0], type(value).__name__
    if (library, name) == ("pyarrow", "Table"):
        from datasets import Dataset
        from datasets.table import InMemoryTable

        return Dataset(InMemoryTable(value))
    if (library, name) != ("pandas", "DataFrame"):
        return value
    if not value.columns.is_unique:
        raise DataError(f"{keyword}: the DataFrame has several columns of one name.")
    # Cells of one column may be of any types, and what pandas calls missing is no value.
    rows = value.astype(object).where(value.notna(), None).to_dict("records")
    return [{str(column): cell for column, cell in row.items()} for row in rows]


def _splits(value: Mapping[Any, Any], origin: str, keyword: str) -> Opened:
    """A ``DatasetDict``, or a dict of split -> rows."""
    from datasets import Dataset, IterableDataset

    def is_rows(part: Any) -> bool:
        part = _of_tables(part, keyword)
        rows_in_list = isinstance(part, list) and bool(part) and isinstance(part[0], Mapping)
        return rows_in_list or isinstance(part, Dataset | IterableDataset)

    if not value or not all(is_rows(part) for part in value.values()):
        raise DataError(
            f"{keyword}: a dict must hold splits, e.g. {{'train': rows, 'test': rows}}, each a Dataset or a list of "
            "dicts. Columns go into a list of dicts, one a row."
        )
    parts = {str(name): _in_memory(part, f"{origin} ({name})", keyword) for name, part in value.items()}
    return Opened(
        origin,
        tuple(parts),
        lambda split: parts[split].read("train"),
        lambda split: parts[split].stream("train"),
        endless=any(part.endless for part in parts.values()),
    )

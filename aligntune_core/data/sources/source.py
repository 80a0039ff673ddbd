"""From what the user gave (a name, a path, an object) to the rows of one split."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aligntune_core.data.reading.rows import RowSource, concatenate, from_dataset, from_list
from aligntune_core.data.sources import hub
from aligntune_core.data.sources.folders import LocalFiles, missing_path, open_path
from aligntune_core.data.sources.reasoning_gym import reasoning_gym_rows
from aligntune_core.data.sources.splits import parse_split, require_split
from aligntune_core.errors import DataError
from aligntune_core.model.hub import looks_local
from aligntune_core.rewards.builtin.reasoning_gym import PREFIX
from aligntune_core.wording import listed

if TYPE_CHECKING:
    from aligntune_core.config import Config

_log = logging.getLogger("aligntune.data")

TASKS = 1000
HELD_OUT_TASKS = 100
HELD_OUT_SEED = (
    1_000_003  # far from seeds that people choose, so that no run trains on another's held-out tasks
)
HELD_OUT = ("validation", "test", "eval", "valid", "dev")


@dataclass(frozen=True)
class Opened:
    """Where rows are, opened but not read.

    Attributes:
        origin: what to call it in messages.
        splits: names of the splits, or None where only loading tells (the hub).
        read: split name -> its rows.
        stream: split name -> a ``datasets.IterableDataset`` over it.
        endless: whether it is an ``IterableDataset``, which can only be streamed.
        aliases: other name of a split -> its name.
        takes_config: whether ``config_name`` means something here.
        sentences: for the report.
    """

    origin: str
    splits: tuple[str, ...] | None
    read: Callable[[str], RowSource]
    stream: Callable[[str], Any]
    endless: bool = False
    aliases: Mapping[str, str] = field(default_factory=dict)
    takes_config: bool = False
    sentences: tuple[str, ...] = ()

    def split_called(self, name: str, keyword: str = "split") -> str:
        """The split of this name, or of which it is an alias.

        Raises:
            DataError: there is none; says which there are.
        """
        if self.splits is None:
            return name
        name = self.aliases.get(name, name)
        require_split(name, self.splits, self.origin, keyword)
        return name

    def rows(self, expression: str, keyword: str = "split") -> RowSource:
        """The rows that a split expression means."""
        parts = []
        for part in parse_split(expression, keyword):
            source = self.read(self.split_called(part.name, keyword))
            parts.append(source if part.is_whole else source.take(part.bounds(len(source))))
        source = concatenate(parts)
        if len({part.origin for part in parts}) > 1:
            source = replace(source, origin=self.origin)
        if not len(source):
            raise DataError(f'{self.origin}: {keyword}="{expression}" holds no rows.')
        return source


def open_source(spec: Any, config: Config, keyword: str = "dataset_name") -> Opened:
    """Open what ``dataset_name`` or ``eval_dataset`` holds.

    Args:
        spec: hub id, local file or folder, ``datasets`` object, list of dicts, or a dict of split -> one of these.
        config: for ``config_name``, revision and token.
        keyword: the keyword that gave ``spec``.

    Raises:
        DataError: it is not there, or not a source of rows.
    """
    opened = _opened(spec, config, keyword)
    name = config.data.config_name
    if not name or opened.takes_config or keyword != "dataset_name":
        return opened  # config_name is of dataset_name; where it fits another source it was used there too
    sentence = f'config_name="{name}" chooses nothing: {opened.origin} has no configurations.'
    _log.warning("%s", sentence)
    return replace(opened, sentences=(sentence,))


def _opened(spec: Any, config: Config, keyword: str) -> Opened:
    if isinstance(spec, Path):
        spec = str(spec)
    if isinstance(spec, str):
        if spec.startswith(PREFIX):
            return _tasks(spec, config)
        path = Path(spec).expanduser()
        if not path.exists():
            if looks_local(spec):
                raise missing_path(spec)
            return _hub(spec, config)
        name = config.data.config_name
        found = open_path(path, name, must=keyword == "dataset_name")
        if isinstance(found, LocalFiles):
            return replace(_local(found), takes_config=path.is_dir())
        return replace(_in_memory(found, spec, keyword), takes_config=(path / (name or "")).is_dir())
    return _in_memory(spec, "the dataset in memory", keyword)


def held_out_split(opened: Opened) -> str:
    """The split of an ``eval_dataset`` to use where ``eval_split`` is not given."""
    if opened.splits is None:
        raise DataError(
            f"{opened.origin}: say which split is held out with eval_split=, e.g. validation or test."
        )
    if len(opened.splits) == 1:
        return opened.splits[0]
    for name in HELD_OUT:
        if name in opened.splits or name in opened.aliases:
            return name
    raise DataError(f"{opened.origin} has the splits {listed(opened.splits)}: choose one with eval_split=.")


def _hub(name: str, config: Config) -> Opened:
    secret = config.model.token
    token = secret.get_secret_value() if secret is not None else None

    def load(split: str, streaming: bool) -> Any:
        # model.revision is the model's; a dataset is taken at its default revision.
        return hub.load(
            name, split, config_name=config.data.config_name, revision=None, token=token, streaming=streaming
        )

    return Opened(
        f"{name} (hub)",
        None,
        lambda split: from_dataset(load(split, False), f"{name} {split}"),
        lambda split: load(split, True),
        takes_config=True,
    )


def _tasks(name: str, config: Config) -> Opened:
    """Rows that reasoning-gym makes: "train" of the run's seed, "test" of another."""
    sizes = {
        "train": config.data.max_samples or TASKS,
        "test": config.data.max_eval_samples or HELD_OUT_TASKS,
    }
    seeds = {"train": config.run.seed, "test": config.run.seed + HELD_OUT_SEED}

    def read(split: str) -> RowSource:
        return from_list(reasoning_gym_rows(name, sizes[split], seeds[split]), f"{name} {split}")

    from aligntune_core.data.sources.streaming import stream_rows

    return Opened(name, tuple(sizes), read, lambda split: stream_rows(read(split)))


def _local(files: LocalFiles) -> Opened:
    from aligntune_core.data.sources.streaming import stream_files

    return Opened(
        files.origin,
        tuple(files.files),
        files.read,
        lambda split: stream_files(files, split),
        aliases=files.aliases,
    )


def _in_memory(value: Any, origin: str, keyword: str) -> Opened:
    """Objects of the ``datasets`` library, lists of dicts, and dicts of those."""
    from datasets import Dataset, IterableDataset

    if isinstance(value, IterableDataset):
        return Opened(origin, ("train",), _not_readable(origin), lambda _: value, endless=True)
    if isinstance(value, Mapping):
        return _splits(value, origin, keyword)
    if isinstance(value, Dataset):
        source = from_dataset(value, origin)
    elif isinstance(value, list | tuple):
        if not value:
            raise DataError(f"{keyword}: the list of rows is empty.")
        source = from_list(list(value), origin)
    else:
        raise DataError(
            f"{keyword}: a {type(value).__module__}.{type(value).__qualname__} is not a source of rows. Give a hub id, "
            "a local file or folder, a datasets.Dataset, IterableDataset or DatasetDict, or a list of dicts."
        )
    from aligntune_core.data.sources.streaming import stream_rows

    return Opened(origin, ("train",), lambda _: source, lambda _: stream_rows(source))


def _splits(value: Mapping[Any, Any], origin: str, keyword: str) -> Opened:
    """A ``DatasetDict``, or a dict of split -> rows."""
    from datasets import Dataset, IterableDataset

    def is_rows(part: Any) -> bool:
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


def _not_readable(origin: str) -> Callable[[str], RowSource]:
    def read(_: str) -> RowSource:
        raise DataError(
            f"{origin}: an IterableDataset can only be streamed. Pass streaming=True with max_steps."
        )

    return read

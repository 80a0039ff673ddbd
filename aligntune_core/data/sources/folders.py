"""Local files and folders: which files hold which split."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from aligntune_core.data.rows import RowSource, concatenate, marked
from aligntune_core.data.sources.files import PROSE, TABLES, iterate_file, kind_of, read_file
from aligntune_core.errors import DataError
from aligntune_core.model.hub import EXTENSIONS
from aligntune_core.wording import did_you_mean, listed

_SHARD = re.compile(r"^(?P<split>.+?)-\d+-of-\d+$")
_PART = re.compile(r"[-_.](?:part|shard)?[-_.]?\d+$")
_INFOS = ("dataset_info.json", "dataset_infos.json", "readme.md", "readme.txt", "license.txt", "license.md")
_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
}


def missing_path(spec: str) -> DataError:
    """The error for a path that is not there, with the nearest one that is."""
    path = Path(spec).expanduser()
    near = nearest_path(path)
    hint = f' Did you mean "{near}"?' if near else ""
    parent = next((p for p in path.parents if p.exists()), Path("."))
    return DataError(f'there is no file or folder "{spec}".{hint} Looked in {parent.resolve()}.')


def nearest_path(path: Path) -> Path | None:
    """The file or folder beside ``path`` whose name is most like it."""
    parent = path.parent
    if not parent.is_dir():
        return None
    names = [entry.name for entry in parent.iterdir() if entry.is_dir() or kind_of(entry)]
    found = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    return parent / found[0] if found else None


@dataclass(frozen=True)
class LocalFiles:
    """Data files by split, not read yet."""

    origin: str  # what to call them in messages
    files: Mapping[str, list[tuple[Path, str]]]  # split -> (path, name in messages)
    aliases: Mapping[str, str] = field(default_factory=dict)  # other name of a split -> its name

    def read(self, split: str) -> RowSource:
        """All rows of one split."""
        sources = [read_file(path, name) for path, name in self.files[split]]
        kinds = {source.is_dataset for source in sources}
        if len(kinds) > 1:
            names = [name for _, name in self.files[split]]
            raise DataError(f'{self.origin}: split "{split}" mixes table and text files: {listed(names)}.')
        if len(sources) == 1:
            return sources[0]
        joined = replace(concatenate(sources), origin=self.origin)
        # Rows of tables are called by their number, which counts through the split.
        return replace(joined, numbers=range(len(joined))) if joined.is_dataset else joined

    def stream(self, split: str) -> Any:
        """The same as an ``IterableDataset``; rows of text files know their line."""
        from datasets import IterableDataset, concatenate_datasets

        files = self.files[split]
        tables = [read_file(path, name).stream() for path, name in files if kind_of(path) in TABLES]
        if tables:
            return concatenate_datasets(tables)

        def generate(files: list[tuple[Path, str]]) -> Iterator[dict[str, Any]]:
            for path, name in files:
                for line, row in iterate_file(path, name):
                    yield marked(row, f"{name}:{line}")

        return IterableDataset.from_generator(generate, gen_kwargs={"files": files})


def open_path(path: Path, config_name: str | None, *, must: bool = True) -> LocalFiles | Any:
    """A file or folder as ``LocalFiles``, or the ``Dataset`` or ``DatasetDict`` that ``save_to_disk`` wrote there.

    ``config_name`` is the subfolder to take, like a configuration of a hub dataset; "default" is the folder itself.

    Raises:
        DataError: nothing in it can be read, or there is no such subfolder, which ``must`` be there.
    """
    if path.is_file():
        if kind_of(path) is None:
            raise DataError(
                f"{path}: not a known kind of data file. Understood: {listed(EXTENSIONS)} (.gz too for text)."
            )
        files = [(path, path.name)]
        split = split_of(Path(path.name))
        return LocalFiles(path.name, {split: files}, {"train": split, **_aliases([split])})
    if config_name and (path / config_name).is_dir():
        path, config_name = path / config_name, None
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        return _load_from_disk(path)
    if config_name and config_name != "default" and must:
        names = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and entry.name[0] not in "._")
        hint = did_you_mean(config_name, names)
        raise DataError(
            f'{path} has no subfolder "{config_name}" (config_name).{hint} Its subfolders: {listed(names)}. Leave '
            "config_name out to read all files of the folder."
        )
    splits = _by_split(path)
    return LocalFiles(str(path), splits, _aliases(splits))


def open_pattern(pattern: str) -> LocalFiles | None:
    """The files that a pattern ("data/*.jsonl") stands for; None where it is none, or stands for no data file.

    As in a folder, their names say the split.
    """
    if not has_magic(pattern):
        return None
    splits: dict[str, list[tuple[Path, str]]] = {}
    for name in sorted(glob(str(Path(pattern).expanduser()), recursive=True)):
        path = Path(name)
        if path.is_file() and kind_of(path):
            splits.setdefault(split_of(Path(path.name)), []).append((path, path.name))
    return LocalFiles(pattern, splits, _aliases(splits)) if splits else None


def _load_from_disk(path: Path) -> Any:
    from datasets import load_from_disk

    try:
        return load_from_disk(str(path))
    except Exception as error:  # a damaged folder raises whatever its reader meets first
        raise DataError(f"{path}: was written by save_to_disk but cannot be read back: {error}") from error


def _by_split(folder: Path) -> dict[str, list[tuple[Path, str]]]:
    files = []
    for file in sorted(folder.rglob("*")):
        relative = file.relative_to(folder)
        hidden = file.name.lower() in _INFOS or any(part.startswith((".", "_")) for part in relative.parts)
        if file.is_file() and kind_of(file) and not hidden:
            files.append((file, relative))
    # Texts beside files of rows say something about them; alone, they are what is learnt.
    rows = [pair for pair in files if kind_of(pair[0]) not in PROSE] or files
    splits: dict[str, list[tuple[Path, str]]] = {}
    for file, relative in rows:
        splits.setdefault(split_of(relative), []).append((file, str(relative)))
    if not splits:
        raise DataError(f"{folder}: no data file in this folder. Understood: {listed(EXTENSIONS)}.")
    return splits


def split_of(relative: Path) -> str:
    """The split that a file's name or folder says; "train" where neither says any.

    "train", "val" and the like are called by their usual names; any other name with such a word in it is a split's own
    name ("train_sft"). Numbers of parts and shards do not count.
    """
    kind = kind_of(relative) or ""
    stem = relative.name.lower().removesuffix(".gz").removesuffix(kind)
    shard = _SHARD.match(stem)
    name = shard["split"] if shard else _PART.sub("", stem)
    for usual in (name, name.rstrip("0123456789")):
        if usual in _SPLIT_WORDS:
            return _SPLIT_WORDS[usual]
    if shard or _usual_name(name):
        return name
    folders = (_usual_name(parent.lower()) for parent in reversed(relative.parent.parts))
    return next((usual for usual in folders if usual), "train")


def _usual_name(name: str) -> str | None:
    """The usual name of the split that a word in ``name`` says, if one does."""
    return next((_SPLIT_WORDS[word] for word in re.split(r"[^a-z]+", name) if word in _SPLIT_WORDS), None)


def _aliases(splits: Iterable[str]) -> dict[str, str]:
    """Usual name -> split, where no split is called that and one alone claims it ("train" for "train_sft")."""
    claims: dict[str, list[str]] = {}
    for split in splits:
        usual = _usual_name(split)
        if usual and usual not in splits:
            claims.setdefault(usual, []).append(split)
    return {usual: names[0] for usual, names in claims.items() if len(names) == 1}

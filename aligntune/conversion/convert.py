"""From a file of another tool to a configuration of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aligntune.conversion import axolotl, llamafactory, scripts
from aligntune.conversion.draft import MISSING, Draft, Line
from aligntune.conversion.peer import Peer, share_of_rows
from aligntune.conversion.source import Source, read
from aligntune.conversion.writing import text_of
from aligntune_core.algorithms import find
from aligntune_core.config import keywords as kw
from aligntune_core.config.read.files import parse_words
from aligntune_core.config.read.peers import asks_for_nothing
from aligntune_core.errors import ConfigError
from aligntune_core.wording import listed

PEERS: dict[str, Peer] = {"llamafactory": llamafactory.PEER, "axolotl": axolotl.PEER, "trl": scripts.PEER}
AUTO = "auto"


@dataclass(frozen=True)
class Conversion:
    """A configuration of ours, and what is to be said of it.

    Attributes:
        peer: the tool that the file is of, one of ``PEERS``.
        config: keyword -> value; ``resolve_config`` takes it.
        text: the same as YAML, with where each value comes from.
        left_out: lines without a counterpart.
        remarks: lines that need none, or whose counterpart is to be looked at.
        missing: keywords that the file does not say, to be filled in.
    """

    peer: str
    config: Mapping[str, Any]
    text: str
    left_out: tuple[Line, ...]
    remarks: tuple[Line, ...]
    missing: tuple[str, ...]


def convert(path: Path, peer: str = AUTO, overrides: list[str] | None = None) -> Conversion:
    """Convert a file.

    Args:
        path: YAML or JSON.
        peer: one of ``PEERS``; "auto": told by the file's keys.
        overrides: "key=value" of ours, which win.

    Raises:
        ConfigError: the file cannot be read, or trains what we do not; says file and line.
    """
    source = read(path)
    name = _peer_of(source) if peer == AUTO else peer
    if name not in PEERS:
        raise ConfigError(f'there is no tool "{name}" to convert from: {listed([AUTO, *PEERS])}')
    about = PEERS[name]
    words = parse_words(overrides or [])
    algorithm = words.pop("algorithm", None) or about.algorithm(source)
    if about is scripts.PEER:
        source = scripts.flattened(source)
    try:
        draft = Draft(source, find(str(algorithm)))
    except ConfigError as error:
        key = next((key for key in ("stage", "rl", "algorithm") if key in source.lines), "")
        raise ConfigError(str(error), where=source.where(key)) from error
    _read_keys(draft, about)
    for keyword, value in words.items():
        draft.settings.pop(keyword, None)
        draft.put(keyword, value, "command line")
    draft.take_defaults(about.title, about.defaults(draft))
    about.finish(draft)
    draft.settle()
    draft.left_out.sort(key=lambda line: line.number or 0)
    missing = _missing(draft)
    config = {"algorithm": draft.algorithm.name, **draft.settings}
    text = text_of(config, draft, about.title, missing)
    return Conversion(name, config, text, tuple(draft.left_out), tuple(draft.remarks), missing)


def _missing(draft: Draft) -> tuple[str, ...]:
    """Keywords that a run cannot do without, and that nothing says."""
    names = [keyword for keyword, word in MISSING.items() if draft.settings.get(keyword) == word]
    scored = draft.settings.get("reward_functions") or draft.settings.get("reward_model_name")
    if draft.algorithm.scored_by == "rewards" and not scored:
        names.append("reward_functions")
    return tuple(names)


def _read_keys(draft: Draft, about: Peer) -> None:
    """Every line of the file, shares of rows last: they are of what the data sets' own lines name."""
    shares = [key for key in draft.source.values if about.by_hand.get(key) is share_of_rows]
    for key in [*(key for key in draft.source.values if key not in shares), *shares]:
        value = draft.source.values[key]
        if key not in about.by_hand and asks_for_nothing(key, value):
            continue
        if key in about.by_hand:
            about.by_hand[key](draft, key, value)
        elif key in about.needless and key not in kw.flat():
            if value not in (None, False, ""):
                draft.remark(key, value, f"{key} needs no counterpart: {about.needless[key]}")
        elif not _of_a_family(key, about):
            draft.take(key, value)


def _of_a_family(key: str, about: Peer) -> bool:
    """Whether a key is one of many that ``finish`` reads together."""
    return about is axolotl.PEER and key.startswith(axolotl.FAMILY)


def _peer_of(source: Source) -> str:
    """The tool whose keys the file has most of; without any it is a script's."""
    keys = set(source.values)
    counts = {name: len(keys & peer.telling) for name, peer in PEERS.items()}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] else "trl"

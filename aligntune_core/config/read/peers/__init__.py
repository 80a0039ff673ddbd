"""Keywords of other libraries: those that say in another way what a field of ours says, and those not offered.

One module a peer, each with ``TRANSLATED`` (name -> what it means here), ``NOT_OFFERED`` (name -> why, and what to do
instead) and ``DEFAULTS`` (name -> the peer's own default, which asks for nothing). Where peers share a name they
mean the same by it; ``aligntune convert`` minds the few that do not.
"""

from __future__ import annotations

from typing import Any

from aligntune_core.config.read.peers import (
    adapters,
    axolotl,
    earlier,
    experimental,
    llamafactory,
    online,
    swift,
    trainers,
    training_arguments,
)
from aligntune_core.config.read.translate import Translation
from aligntune_core.config.values import same, says_nothing

_PEERS = (earlier, training_arguments, trainers, adapters, llamafactory, axolotl, swift, online, experimental)

TRANSLATED: dict[str, Translation] = {
    name: t for peer in reversed(_PEERS) for name, t in peer.TRANSLATED.items()
}
NOT_OFFERED: dict[str, str] = {
    name: why for peer in reversed(_PEERS) for name, why in peer.NOT_OFFERED.items()
}
DEFAULTS: dict[str, tuple[Any, ...]] = {}
for _peer in _PEERS:
    for _name, _value in _peer.DEFAULTS.items():
        DEFAULTS[_name] = (*DEFAULTS.get(_name, ()), _value)

# False says something where it is not the same as saying nothing.
FALSE_SAYS_SOMETHING: frozenset[str] = frozenset().union(*(peer.FALSE_SAYS_SOMETHING for peer in _PEERS))


def asks_for_nothing(name: str, value: Any) -> bool:
    """Whether a peer's keyword has a value that asks for nothing: none, or the peer's own default."""
    if says_nothing(value):
        return name not in FALSE_SAYS_SOMETHING or value is None
    return any(same(value, default) for default in DEFAULTS.get(name, ()))

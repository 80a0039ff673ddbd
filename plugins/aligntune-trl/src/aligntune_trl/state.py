"""What this plugin finds out once a run and hands on in ``Prepared.state``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aligntune_trl.model import source
from aligntune_trl.model.source import Source

if TYPE_CHECKING:
    from aligntune_core import Prepared


@dataclass
class State:
    """The plugin's part of ``Prepared``.

    Attributes:
        source: what ``model_name`` is.
        arguments: keyword arguments of TRL's argument object as planned, and the object; None once a trainer has it.
    """

    source: Source
    arguments: tuple[dict[str, Any], Any] | None = None

    @classmethod
    def of(cls, config: Any, prepared: Prepared) -> State:
        """The state in ``prepared``; made anew where an extension has prepared the run without this plugin."""
        return prepared.state if isinstance(prepared.state, cls) else cls(source.find(config))

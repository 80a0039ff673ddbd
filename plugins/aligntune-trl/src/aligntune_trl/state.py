"""What this plugin finds out once a run and hands on in ``Prepared.state``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aligntune_core.toolkit import find_algorithm
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
    _skeleton: list[Any] = field(default_factory=list)

    def skeleton(self, config: Any) -> Any:
        """The model as far as it is there before weights load; None where making it would run a repository's code."""
        if not self._skeleton:
            self._skeleton.append(
                source.skeleton(self.source, find_algorithm(config.algorithm).head == "score")
            )
        return self._skeleton[0]

    @classmethod
    def of(cls, config: Any, prepared: Prepared) -> State:
        """The state in ``prepared``; made anew where an extension has prepared the run without this plugin."""
        return prepared.state if isinstance(prepared.state, cls) else cls(source.find(config))

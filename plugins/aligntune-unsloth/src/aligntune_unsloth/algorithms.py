"""Which of the TRL backend's algorithms are offered here: all but those named. Light.

Unsloth patches TRL's trainers as they come, so an algorithm that the TRL backend trains is trained here too.
"""

from __future__ import annotations

from aligntune_trl import api

NOT_OFFERED = {"gspo": "GSPO"}
"""Name -> how people write it. That says nothing about what Unsloth itself can do."""


def refusal(algorithm: str) -> str | None:
    """Why ``algorithm`` is not trained here, or None where it is."""
    if algorithm in api.names() and algorithm not in NOT_OFFERED:
        return None
    return f'aligntune-unsloth does not offer {NOT_OFFERED.get(algorithm, algorithm)}; use backend="trl"'

"""The kit without any code: collected by ``pytest --pyargs aligntune_core.testing --aligntune-backend NAME``."""

from __future__ import annotations

from aligntune_core.testing.conformance import BackendConformance


class TestBackend(BackendConformance):
    """The backend that ``--aligntune-backend`` names."""

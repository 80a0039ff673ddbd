"""The conformance kit, for those who write backends: one class, ``BackendConformance``.

```python
from aligntune_core.testing import BackendConformance


class TestMine(BackendConformance):
    backend = "mine"
```

Without any code: ``pytest -p aligntune_core.testing.plugin --pyargs aligntune_core.testing --aligntune-backend mine``.
docs/plugins/conformance.md describes tiers, tests and the rule for releases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aligntune_core._lazy import lazy

if TYPE_CHECKING:
    from aligntune_core.testing.conformance import BackendConformance

__getattr__, __dir__ = lazy(__name__)

__all__ = ["BackendConformance"]

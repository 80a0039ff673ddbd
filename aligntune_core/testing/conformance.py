"""``BackendConformance``: the three tiers in one class."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("aligntune_core.testing.tiers")

from aligntune_core.testing.tiers.argument import ArgumentTier  # noqa: E402
from aligntune_core.testing.tiers.live import LiveTier  # noqa: E402
from aligntune_core.testing.tiers.live_after import LiveAfterTier  # noqa: E402
from aligntune_core.testing.tiers.static import StaticTier  # noqa: E402


class BackendConformance(LiveAfterTier, LiveTier, ArgumentTier, StaticTier):
    """Tests that every backend has to pass. Derive a class whose name starts with ``Test``.

    A test's name says what it is: ``test_live_order_of_samples`` is required and belongs to the live tier,
    ``test_optional_static_refusals_say_why`` is advice: where it is not met it is reported as an expected failure, and
    the backend conforms all the same.

    A test skips for two reasons only, and says so: for what the backend itself declares; and with "waits for
    test_x: ..." where another test of the same session, test_x, fails and reports the fault that keeps this
    one from passing. Where test_x is not part of the session, this one fails.

    Attributes:
        backend: the entry point's name; by default what ``--aligntune-backend`` says.
        process: classes with the same text here share one worker process. Default: a process for each backend, since
            backends may not share one.
        settings: keywords of every call that the kit makes, e.g. ``{"backend_options": {"license": "..."}}``, where the
            backend does not run without.
    """

"""The order of rows."""

from __future__ import annotations

from itertools import islice

from aligntune_torch.batches import Batches


def test_rows_come_in_their_own_order_on_request_and_a_resumed_run_goes_on_there() -> None:
    batches = Batches(rows=5, size=2, accumulation=1, seed=3, shuffle=False)
    steps = [part for _, part in islice(batches.after(0), 6)]
    assert steps == [[[0, 1]], [[2, 3]], [[4]]] * 2
    assert [part for _, part in islice(batches.after(4), 2)] == steps[4:]
    shuffled = Batches(rows=5, size=2, accumulation=1, seed=3)
    assert [part for _, part in islice(shuffled.after(0), 3)] != steps[:3]

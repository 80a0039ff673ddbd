"""Dynamic sampling: no group without a difference where the data allow, nothing changed where none occurs."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Barrier, Thread
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core.errors import RunError

if TYPE_CHECKING:
    from aligntune_trl.algorithms.grpo.dynamic_sampling import Drawn, DynamicSampling
    from tests.grpo.conftest import Build, Look

pytestmark = pytest.mark.backend

GROUP = 2


def rows_of(numbers: Sequence[int], group: int = GROUP) -> list[dict[str, Any]]:
    return [{"prompt": f"p{n}", "n": n} for n in numbers for _ in range(group)]


class Ranks:
    """Processes in threads: what each generates and scores, and lists put together in their order."""

    def __init__(self, useful: set[int], count: int = 1, group: int = GROUP) -> None:
        self.useful, self.count, self.group = useful, count, group
        self.drawn: list[int] = []
        self._barrier = Barrier(count)
        self._slots: list[Any] = [None] * count

    def gather(self, rank: int, values: list[Any]) -> list[Any]:
        self._slots[rank] = values
        self._barrier.wait(10)
        whole = [value for part in self._slots for value in part]
        self._barrier.wait(10)
        return whole

    def draw(self, rank: int, rows: list[dict[str, Any]]) -> Drawn:
        """Completions of row n score 0, 1, ... where n is useful, else n each."""
        import torch

        from aligntune_trl.algorithms.grpo.dynamic_sampling import Drawn

        self.drawn += [row["n"] for row in rows]
        first = rank * len(rows)
        scores = [
            [float((first + index) % self.group if row["n"] in self.useful else row["n"])]
            for index, row in enumerate(rows)
        ]
        texts = [f"c{row['n']}" for row in rows]
        return Drawn(list(rows), [texts, None], torch.tensor(self.gather(rank, scores)))

    def sampling(self, rank: int = 0, order: Sequence[int] = range(8), **more: Any) -> DynamicSampling:
        import torch

        from aligntune_trl.algorithms.grpo.dynamic_sampling import DynamicSampling

        return DynamicSampling(
            draw=lambda rows: self.draw(rank, rows),
            gather=lambda values: self.gather(rank, values),
            fresh=lambda step: [(n + step) % 8 for n in order],
            row=lambda n: {"prompt": f"p{n}", "n": n},
            group=self.group,
            weights=torch.ones(1),
            attempts=more.pop("attempts", 5),
            keep=more.pop("keep", False),
            rank=rank,
            processes=self.count,
        )


def test_groups_that_score_alike_are_replaced() -> None:
    ranks = Ranks(useful={1, 5, 6})
    sampling = ranks.sampling()
    drawn = ranks.draw(0, rows_of([0, 1, 2]))
    outcome = sampling.fill(drawn, 0)
    # Row 3 and 4 come first in the order and are useless too; 5 and 6 then fill both places.
    assert [row["n"] for row in drawn.rows] == [5, 5, 1, 1, 6, 6]
    assert drawn.generated[0] == ["c5", "c5", "c1", "c1", "c6", "c6"]
    assert drawn.rewards.flatten().tolist() == [0, 1, 0, 1, 0, 1]
    assert (outcome.resampled, outcome.attempts, outcome.left) == (2, 2, 0)


def test_prompts_of_the_batch_come_back_only_when_no_other_is_left() -> None:
    ranks = Ranks(useful={1})
    drawn = ranks.draw(0, rows_of([0, 1]))
    with pytest.raises(RunError):
        ranks.sampling(attempts=7).fill(drawn, 0)
    assert ranks.drawn[4::2] == [2, 3, 4, 5, 6, 7, 0]


def test_which_prompts_come_in_depends_on_the_step() -> None:
    ranks = Ranks(useful={1, 3, 7})
    first, later = (ranks.draw(0, rows_of([0])) for _ in range(2))
    ranks.sampling().fill(first, 0)
    ranks.sampling().fill(later, 4)
    assert (first.rows[0]["n"], later.rows[0]["n"]) == (1, 7)


def test_nothing_is_drawn_where_all_groups_differ() -> None:
    ranks = Ranks(useful={0, 1})
    drawn = ranks.draw(0, rows_of([0, 1]))
    outcome = ranks.sampling().fill(drawn, 0)
    assert (outcome.resampled, outcome.attempts, outcome.left) == (0, 0, 0)
    assert ranks.drawn == [0, 0, 1, 1]


def test_spent_attempts_show_the_rewards_or_keep_the_batch() -> None:
    ranks = Ranks(useful={1})
    drawn = ranks.draw(0, rows_of([4, 1]))
    with pytest.raises(RunError, match=r"after 1 further draws .* 1 of 2 groups .* rewards seen: 4, 4\."):
        ranks.sampling(attempts=1, order=[3]).fill(drawn, 0)
    kept = ranks.sampling(attempts=1, order=[3], keep=True).fill(drawn, 0)
    assert (kept.resampled, kept.attempts, kept.left) == (0, 1, 1)
    assert [row["n"] for row in drawn.rows] == [4, 4, 1, 1]


def test_sums_that_differ_by_rounding_are_alike() -> None:
    import torch

    sampling = Ranks(useful=set()).sampling()
    rewards = torch.tensor([[0.1 + 0.2], [0.3], [1e3], [1e3 + 1e-4], [0.0], [1e-3]])
    assert sampling._alike(rewards) == [0, 1]


@pytest.mark.parametrize(
    ("group", "asked", "filled"),
    [
        (2, [0, 1, 2], [6, 1, 1]),  # the group of row 1 lies on both processes
        (3, [0, 1], [6, 1]),  # one group of three cannot be shared out: two are drawn
    ],
)
def test_two_processes_agree_and_each_keeps_its_own_rows(
    group: int, asked: list[int], filled: list[int]
) -> None:
    ranks = Ranks(useful={1, 6}, count=2, group=group)
    batch = rows_of(asked, group)
    half = len(batch) // 2
    results: dict[int, Any] = {}

    def process(rank: int) -> None:
        drawn = ranks.draw(rank, batch[rank * half : (rank + 1) * half])
        results[rank] = drawn, ranks.sampling(rank, attempts=9).fill(drawn, 0)

    threads = [Thread(target=process, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    (left, first), (right, second) = results[0], results[1]
    assert first == second
    assert first.left == 0
    assert left.rewards.tolist() == right.rewards.tolist()
    numbers = [row["n"] for row in (*left.rows, *right.rows)]
    assert numbers == [n for n in filled for _ in range(group)]
    assert [*left.generated[0], *right.generated[0]] == [f"c{n}" for n in numbers]


# --- in training ------------------------------------------------------------------------------------------------------


def solved_or_not(completions: list[Any], answer: list[str], **columns: Any) -> list[float]:
    """Prompts with an answer below 12 are hopeless: 0 for all. The others differ within their group."""
    return [float(index % 2) if int(a) > 12 else 0.0 for index, a in enumerate(answer)]


def test_no_group_without_difference_is_learnt_from(build: Build, look: type[Look], ending: Any) -> None:
    keywords = {
        "reward_functions": [solved_or_not],
        "max_steps": 4,
        "generation_kwargs": ending,
        "overlong_punishment": 0,
    }
    with_it = build("dapo", "with", **keywords)
    with_it.train()
    steps = look.steps(with_it)
    assert [step["frac_reward_zero_std"] for step in steps] == [0.0] * 4
    assert sum(step["resampled"] for step in steps) > 0
    assert all(step["resampling_attempts"] >= 1 for step in steps if step["resampled"])
    assert all(step["groups_alike"] == 0 for step in steps)
    asked = [int(line["prompt"][0]["content"].split()[1]) for line in look.lines(with_it, "samples.jsonl")]
    assert min(asked) > 5

    without = build("dapo", "without", dynamic_sampling=False, **keywords)
    without.train()
    assert max(step["frac_reward_zero_std"] for step in look.steps(without)) > 0
    assert "resampled" not in look.steps(without)[0]


def test_nothing_changes_where_no_group_scores_alike(build: Build, look: type[Look], ending: Any) -> None:
    import torch

    keywords = {"max_steps": 3, "generation_kwargs": ending, "full": True}
    with_it, without = (build("dapo", str(on), dynamic_sampling=on, **keywords) for on in (True, False))
    with_it.train()
    without.train()
    assert [step["resampled"] for step in look.steps(with_it)] == [0.0] * 3
    assert look.losses(with_it.native) == look.losses(without.native)
    found, wanted = look.weights(with_it.model), look.weights(without.model)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_the_punishment_of_length_makes_no_difference_between_completions(
    build: Build, look: type[Look]
) -> None:
    """All solve the task alike; that some are longer is nothing to fill a batch for."""
    trainer = build(
        "dapo",
        reward_functions=[lambda completions, **_: [1.0] * len(completions)],
        max_resampling=1,
        mask_truncated_completions=False,
        overlong_cache=8,
    )
    assert trainer.native.reward_func_names == ["lambda", "overlong"]
    with pytest.raises(RunError, match="rewards seen: 1, 1, 1, 1; 1, 1, 1, 1"):
        trainer.train()


def test_a_resumed_run_draws_the_same_prompts(build: Build, look: type[Look], ending: Any) -> None:
    keywords = {"reward_functions": [solved_or_not], "max_steps": 4, "generation_kwargs": ending}
    saving = {"save_strategy": "steps", "save_steps": 2}
    whole = build("dapo", "whole", **keywords)
    whole.train()
    build("dapo", "cut", **keywords, **saving).train()
    again = build("dapo", "cut", **keywords, **saving)
    again.train(resume=again.output_dir / "checkpoint-2")
    assert look.lines(again, "samples.jsonl") == look.lines(whole, "samples.jsonl")
    assert [s["loss"] for s in look.steps(again)] == [s["loss"] for s in look.steps(whole)]

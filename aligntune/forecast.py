"""What ``aligntune plan`` knows of a run, in types that JSON knows."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aligntune_core.config import Config
    from aligntune_core.pipeline.plan import Plan


def describe(plan: Plan, rows: int = 1) -> dict[str, Any]:
    """Everything that is known of a run before weights load.

    Args:
        plan: of the run.
        rows: how many of the first training rows are shown as the model will see them.
    """
    from aligntune_core.config import paths, plain
    from aligntune_core.pipeline.announce import shown_rows

    config, data = plan.config, plan.datasets
    shown = [
        {name: [{"text": text, "loss": loss} for text, loss in pieces] for name, pieces in row.items()}
        for row in islice(shown_rows(plan), rows)
    ]
    values = plain(config)
    steps = _steps(plan)
    return {
        "algorithm": config.algorithm,
        "backend": {
            "name": plan.backend.name,
            "reason": plan.reason,
            "distribution": str(plan.backend.distribution),
            "versions": dict(plan.prepared.versions),
        },
        "device": vars(plan.prepared.device),
        "config": values,
        "sources": {
            path: config.sources.get(path, "default") for path in paths(config) if at(values, path)[0]
        },
        "data": data.report.as_dict() if data.report else {},
        "steps": steps,
        "size": _size(config),
        "time": _time(plan, steps),
        "first_row": shown[0] if shown else {},
        "rows": shown,
        "writes": _writes(plan),
    }


def at(tree: dict[str, Any], path: str) -> tuple[bool, Any]:
    """Whether ``path`` is in the written configuration (secrets are not), and its value."""
    value: Any = tree
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            return False, None
        value = value[part]
    return True, value


def _steps(plan: Plan) -> dict[str, Any]:
    """How long the run is: what it was told, and what follows for the other measure."""
    from aligntune_core.run.topology import world_size

    optim, report = plan.config.optim, plan.datasets.report
    rows = None if plan.config.data.streaming else len(plan.datasets.train)
    batch = optim.batch_size * optim.gradient_accumulation_steps
    epochs = optim.num_epochs
    if plan.config.sources.get("optim.max_steps", "default").split(":")[0] not in ("default", "resolved"):
        epochs = optim.max_steps * batch * world_size() / rows if rows and optim.max_steps else None
    tokens = report.mean_tokens if report is not None else 0
    return {
        "max_steps": optim.max_steps,
        "epochs": epochs,
        "rows": rows,
        "global_batch": batch,
        "warmup_steps": optim.warmup_steps,
        "processes": world_size(),
        "tokens": round(tokens * rows * epochs) if tokens and rows and epochs else None,
    }


def _size(config: Config) -> dict[str, Any] | None:
    """Parameters and memory of the policy; None where only a repository's code knows them."""
    from aligntune_core.model.size import policy_size

    size = policy_size(config)
    return None if size is None else vars(size)


def _time(plan: Plan, steps: dict[str, Any]) -> dict[str, Any] | None:
    """How long the run takes at the pace of the one that lies in its folder; None without one of the same kind."""
    from aligntune_core.config.resolve.defaults import output_dir
    from aligntune_core.run import manifest
    from aligntune_core.run.folder import METRICS

    folder = Path(output_dir(plan.config))
    try:
        earlier = manifest.read(folder)
        lines = [json.loads(line) for line in (folder / METRICS).read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):  # no run, or one that was cut off: it has no pace to tell
        return None
    paces = [line["tokens_per_second"] for line in lines if line.get("tokens_per_second")]
    if earlier is None or not paces or steps["tokens"] is None or not _alike(earlier, plan):
        return None
    pace = median(paces)
    return {"tokens_per_second": pace, "seconds": steps["tokens"] / pace, "run": str(folder)}


def _alike(earlier: Any, plan: Plan) -> bool:
    """Whether an earlier run trained the same model with the same algorithm on the same kind of device."""
    from aligntune_core.config import plain

    model = at(dict(earlier.config), "model.name")[1]
    device = (earlier.device.get("kind"), earlier.device.get("name"))
    return (
        earlier.algorithm == plan.config.algorithm
        and model == at(plain(plan.config), "model.name")[1]
        and device == (plan.prepared.device.kind, plan.prepared.device.name)
    )


def _writes(plan: Plan) -> list[dict[str, str]]:
    """List what the run will write, and say what becomes of an earlier run in its folder."""
    from aligntune_core.config.resolve.defaults import output_dir
    from aligntune_core.run.checkpoints import checkpoints
    from aligntune_core.run.folder import CHECKPOINT, EARLIER, LOG, MANIFEST, MERGED_BASE, METRICS, OF_THE_RUN

    config, run = plan.config, plan.config.run
    folder = Path(output_dir(config))
    limit = f", the last {run.save_total_limit} are kept" if run.save_total_limit else ""
    alone = ", without the optimiser: not to be resumed from" if run.save_only_model else ""
    share = f"after each {run.save_steps:.3g} of all steps"  # of packed rows, which the library counts
    when = {
        "no": "",
        "steps": f"every {run.save_steps} steps" if run.save_steps >= 1 else share,
        "epoch": "after each epoch",
        "best": "whenever it is best",
    }
    entries = [
        (".", f"{'adapter' if config.peft.enabled else 'model'} and tokenizer"),
        (MANIFEST, OF_THE_RUN[MANIFEST]),
        (METRICS, f"a line every {run.logging_steps} step(s)"),
        (LOG, OF_THE_RUN[LOG]),
    ]
    if when[run.save_strategy]:
        entries.append((f"{CHECKPOINT}N", when[run.save_strategy] + limit + alone))
    if config.peft.merge_adapter:
        entries.append((MERGED_BASE, OF_THE_RUN[MERGED_BASE]))
    if (folder / METRICS).is_file() or checkpoints(folder):
        entries.append(
            (f"{EARLIER}/N", "the run that lies there now is moved here, unless this one resumes it")
        )
    return [{"path": str(folder / name), "what": what} for name, what in entries]

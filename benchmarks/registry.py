"""Measure the registry: discovery among 200 distributions, loading one plugin, one hook call.

Run ``python benchmarks/registry.py``. Prints a table; the exit code is 1 where a limit is passed. Each repetition is an
interpreter of its own, so that nothing is cached but the files and their .pyc. CPU time, as a busy machine would only
measure its other work.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DISTRIBUTIONS = 200
REPETITIONS = 7
CALLS = 20_000
ROWS = {  # what is measured -> its limit
    "discovery, first (ms)": 60.0,
    "discovery, again (ms)": 60.0,
    "loading one plugin (ms)": 5.0,
    "one hook call (us)": 20.0,
}
README = "A line of a long description, as real distributions carry it in their metadata.\n" * 120

PLUGIN = """
from aligntune_core import BackendInfo, Support, hookimpl

@hookimpl
def backend_info(): return BackendInfo(summary="benchmark", honours=frozenset({"optim.learning_rate"}))
@hookimpl
def supports_algorithm(algorithm): return Support(algorithm == "sft")
@hookimpl
def load_model(config, prepared): ...
@hookimpl
def apply_peft(loaded, config): ...
@hookimpl
def build_trainer(loaded, config, datasets, prepared, run): ...
"""


def install(site: Path) -> None:
    """Write the metadata of the fake distributions; the first brings a backend, every third a console script."""
    (site / "bench_plugin.py").write_text(PLUGIN)
    for number in range(DISTRIBUTIONS):
        meta = site / f"fake_{number}-1.0.dist-info"
        meta.mkdir()
        requires = "Requires-Dist: pluggy>=1\nRequires-Dist: packaging\n"
        (meta / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: fake-{number}\nVersion: 1.0\n{requires}\n{README}"
        )
        if number == 0:
            (meta / "entry_points.txt").write_text("[aligntune.backends]\nbench = bench_plugin\n")
        elif number % 3 == 0:
            (meta / "entry_points.txt").write_text(f"[console_scripts]\nfake{number} = fake{number}:main\n")


def measure() -> dict[str, float]:
    """Measure in this interpreter; the site folder is on sys.path."""
    import aligntune_core.config.keywords  # noqa: F401  it costs once, whatever is installed
    from aligntune_core.backends import registry

    gc.collect()
    gc.disable()  # as timeit does
    start = time.process_time()
    backends = registry.Registry()
    first = time.process_time() - start
    registry.refresh()
    start = time.process_time()
    registry.Registry()
    again = time.process_time() - start
    start = time.process_time()
    backend = backends.get("bench")
    loading = time.process_time() - start
    start = time.process_time()
    for _ in range(CALLS):
        backend.supports("sft")
    call = (time.process_time() - start) / CALLS
    return dict(zip(ROWS, (first * 1e3, again * 1e3, loading * 1e3, call * 1e6), strict=True))


def main() -> int:
    """Repeat the measurement, print medians and worst figures beside the limits."""
    if len(sys.argv) == 2:
        sys.path.insert(0, sys.argv[1])
        print(json.dumps(measure()))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder))
        command = [sys.executable, __file__, folder]
        runs = [json.loads(subprocess.check_output(command, text=True)) for _ in range(REPETITIONS + 1)]
    print(f"{DISTRIBUTIONS} fake distributions beside those of this environment, {REPETITIONS} runs")
    print(f"{'':28}{'median':>10}{'worst':>10}{'limit':>10}")
    slow = False
    for row, limit in ROWS.items():
        values = [run[row] for run in runs[1:]]  # the first run writes the .pyc files
        median = statistics.median(values)
        print(f"{row:28}{median:10.2f}{max(values):10.2f}{limit:10.0f}")
        slow = slow or median > limit
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())

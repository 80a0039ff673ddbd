"""A worker that cannot read what it is sent says so; one that is no longer wanted is gone, and later calls say why."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.config import payload
from aligntune_core.errors import RunError
from aligntune_core.launch.client import TrainerProcess


class Call:
    """Unpickling it calls ``function``, over there."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.args


@pytest.fixture
def worker() -> Iterator[TrainerProcess]:
    """One that has no trainer."""
    made = TrainerProcess()
    yield made
    made.end("the test")


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An object of a module that only this process has."""
    module = types.ModuleType("only_here")
    exec("class Rows:\n    pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    return module.__dict__["Rows"]()


def test_an_argument_that_the_worker_cannot_read_is_told(worker: TrainerProcess, stranger: Any) -> None:
    with pytest.raises(RunError, match=r"could not read the arguments of evaluate\(\).*only_here.*sys\.path"):
        worker.call("evaluate", ((stranger,), {}))
    with pytest.raises(RunError, match=r"FileNotFoundError.*/not/there"):
        worker.call("evaluate", ((Call(open, "/not/there"),), {}))
    # It still answers.
    with pytest.raises(RunError, match='was asked for "evaluate"'):
        worker.call("evaluate", ((None,), {}))


def test_an_object_of_the_configuration_that_cannot_be_read_is_named(stranger: Any) -> None:
    from aligntune_core.config import resolve_config

    packed = payload.pack(resolve_config("sft", model_name="m", dataset_name=stranger))
    del sys.modules["only_here"]
    with pytest.raises(RunError, match=r"could not read data\.dataset \(a Rows\).*only_here"):
        payload.unpack(packed)


def test_an_argument_that_cannot_be_sent_leaves_the_worker_as_it_is(worker: TrainerProcess) -> None:
    with pytest.raises(RunError, match=r"arguments of evaluate\(\) cannot be sent.*generator"):
        worker.call("evaluate", (((i for i in "ab"),), {}))
    with pytest.raises(RunError, match="was asked for"):
        worker.call("evaluate", ((None,), {}))


def test_output_that_cannot_be_shown_does_not_stop_the_worker(
    worker: TrainerProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Closed:
        def write(self, text: str) -> None:
            raise BrokenPipeError("nobody reads this")

    monkeypatch.setattr(sys, "stdout", Closed())
    more_than_a_pipe_holds = "x\n" * 200_000
    with pytest.raises(RunError, match="was asked for"):
        worker.call("evaluate", ((Call(print, more_than_a_pipe_holds),), {}))
    assert "no longer shown: BrokenPipeError(" in caplog.text


def test_a_failed_call_does_not_keep_the_worker() -> None:
    gc.collect()
    gc.disable()
    try:
        worker = TrainerProcess()
        process = worker.process
        with pytest.raises(RunError, match="was asked for"):
            worker.call("evaluate", ((None,), {}))
        del worker
        assert process.returncode is not None
    finally:
        gc.enable()


def test_a_trainer_that_cannot_be_created_leaves_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    from aligntune_core.config import resolve_config
    from aligntune_core.errors import BackendError
    from aligntune_core.launch import client

    made: list[TrainerProcess] = []

    def kept() -> TrainerProcess:
        made.append(TrainerProcess())
        return made[0]

    monkeypatch.setattr(client, "TrainerProcess", kept)
    with pytest.raises(BackendError, match="no backend"):
        client.RemoteTrainer(resolve_config("sft", model_name="m", dataset_name="d"), "not-there")
    assert made[0].process.returncode is not None


def test_a_closed_worker_says_so_and_not_that_memory_ran_out(worker: TrainerProcess) -> None:
    worker.end("close()")
    for _ in range(2):
        with pytest.raises(RunError) as caught:
            worker.call("evaluate", ((None,), {}))
        assert str(caught.value) == "the worker process was ended by close(). Create the trainer again."


def test_ctrl_c_ends_a_worker_that_is_at_work(worker: TrainerProcess) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            worker.call("generate", (Call(time.sleep, 60),))
    finally:
        signal.signal(signal.SIGINT, before)
    assert worker.process.returncode is not None
    with pytest.raises(RunError, match=r"was ended by Ctrl-C\. Create the trainer again"):
        worker.call("evaluate", ((None,), {}))


@pytest.mark.parametrize("code", [7, None, "no data"])
def test_an_exit_over_there_is_one_here_and_leaves_the_worker(
    worker: TrainerProcess, code: int | str | None
) -> None:
    with pytest.raises(SystemExit) as caught:
        worker.call("generate", (Call(sys.exit, code),))
    assert caught.value.code == code
    assert caught.value.__notes__[-1].startswith("traceback in the worker process:")
    with pytest.raises(RunError, match="was asked for"):
        worker.call("evaluate", ((None,), {}))


FORK = """
import os, signal, sys
child = os.fork()
if child == 0:
    signal.alarm(20)  # should it go on as a second worker
    sys.exit(3)
raise ValueError(f"the child ended with {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")
"""


def test_the_exit_of_a_fork_of_the_worker_ends_the_fork_alone(worker: TrainerProcess) -> None:
    with pytest.raises(RunError, match="the child ended with 3"):
        worker.call("generate", (Call(exec, FORK),))
    with pytest.raises(RunError, match="was asked for"):
        worker.call("evaluate", ((None,), {}))


def test_a_late_ctrl_c_does_not_end_an_idle_worker(worker: TrainerProcess) -> None:
    with pytest.raises(RunError, match="was asked for"):
        worker.call("evaluate", ((None,), {}))
    worker.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    with pytest.raises(RunError, match="was asked for"):
        worker.call("evaluate", ((None,), {}))


def test_a_worker_that_died_keeps_its_reason(worker: TrainerProcess) -> None:
    worker.process.send_signal(signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(RunError, match=r"was killed by SIGKILL.*resume=True"):
            worker.call("evaluate", ((None,), {}))


TRAIN = """
import sys, time
from aligntune_core.config import resolve_config
from aligntune_core.launch.client import RemoteTrainer, TrainerProcess
class Slow:
    def __reduce__(self):
        return time.sleep, (60,)
trainer = RemoteTrainer.__new__(RemoteTrainer)
trainer._worker, trainer.backend, trainer.on_event = TrainerProcess(), "trl", None
trainer.config = resolve_config("sft", model_name="m", dataset_name="d")
print(trainer._worker.process.pid, flush=True)
trainer.train(Slow())
"""


def test_a_sigterm_before_the_run_ends_both_at_once(tmp_path: Path, gone: Callable[[int], bool]) -> None:
    process = subprocess.Popen([sys.executable, "-c", TRAIN], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    time.sleep(3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == -signal.SIGTERM
    assert gone(worker)

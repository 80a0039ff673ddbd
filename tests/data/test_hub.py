"""Names that are looked for on the hub: unknown, gated, unreachable, cached; each said without waiting."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

HUB = """
import sys, time
from aligntune_core.config import resolve_config
from aligntune_core.data.sources.source import open_source
from aligntune_core.model.source import check_source
from aligntune_core.model.tokenizer import load_tokenizer
import datasets, huggingface_hub, transformers
waits = []  # what a library decides to wait between its tries, which a busy machine does not change
sleep = time.sleep
time.sleep = lambda seconds: (waits.append(seconds), sleep(min(seconds, 0.01)))
kind, *names = sys.argv[1:]
for name in names:
    waits.clear()
    try:
        if kind == "source":
            check_source(name)
        elif kind == "model":
            load_tokenizer(resolve_config("sft", model_name=name, dataset_name="d").model)
        else:
            open_source(name, resolve_config("sft", model_name="m", dataset_name=name)).rows("train")
    except Exception as error:
        print(f"{type(error).__name__}|{sum(waits):.1f}|{error}")
    else:
        print(f"loaded|{sum(waits):.1f}|{name}")
"""


@pytest.fixture
def answering_hub() -> Iterator[str]:
    """A hub that knows no repository but the gated one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, text = (403, "GatedRepo") if "gated" in self.path else (404, "RepoNotFound")
            self.send_response(code)
            self.send_header("X-Error-Code", text)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def ask(kind: str, endpoint: str, tmp_path: Path, *names: str, offline: bool = False) -> list[list[str]]:
    """What became of each name: its error's class, the seconds of waiting between tries, and what was said."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "HF_HOME": str(tmp_path / "home"),
        "NO_PROXY": "*",
        "no_proxy": "*",
    }
    done = subprocess.run(
        [sys.executable, "-c", HUB, kind, *names],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return [line.split("|", 2) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(("kind", "error"), [("dataset", "DataError"), ("model", "ConfigError")])
def test_what_the_hub_does_not_have(answering_hub: str, tmp_path: Path, kind: str, error: str) -> None:
    (tmp_path / "tatsu-lab" / "alpaca").mkdir(parents=True)
    unknown, gated = ask(kind, answering_hub, tmp_path, "tatsu-lab/alpacca", "some/gated")
    assert unknown[0] == gated[0] == error
    assert f'the hub has no {kind} "tatsu-lab/alpacca", or it is private' in unknown[2]
    assert re.search(r'Did you mean (the local )?"(tatsu-lab/)?alpaca"\?', unknown[2])
    assert "gated: accept its terms" in gated[2]


@pytest.mark.parametrize(("kind", "error"), [("dataset", "DataError"), ("model", "ConfigError")])
def test_a_hub_that_cannot_be_reached_is_said_at_once(tmp_path: Path, kind: str, error: str) -> None:
    (line,) = ask(kind, "http://127.0.0.1:9", tmp_path, "tatsu-lab/alpaca")
    assert line[0] == error
    assert f'{kind} "tatsu-lab/alpaca" was looked for on the hub, which cannot be reached' in line[2]
    assert "Give a local f" in line[2]
    assert float(line[1]) < 1
    (line,) = ask(kind, "http://127.0.0.1:9", tmp_path, "tatsu-lab/alpaca", offline=True)
    assert "offline mode is on" in line[2]


def test_a_model_in_the_local_cache_needs_no_hub(tiny_model_dir: Path, tmp_path: Path) -> None:
    repository = tmp_path / "home" / "hub" / "models--org--tiny"
    snapshot = repository / "snapshots" / ("0" * 40)
    shutil.copytree(tiny_model_dir, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    (line,) = ask("model", "http://127.0.0.1:9", tmp_path, "org/tiny", offline=True)
    assert line[0] == "loaded", line
    (line,) = ask("source", "http://127.0.0.1:9", tmp_path, "org/tiny")
    assert line[0] == "loaded", line
    assert float(line[1]) < 1

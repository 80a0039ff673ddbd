"""The page on PPO: its example runs, its tables name every parameter and every figure."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "algorithms" / "ppo.md"


def table(heading: str) -> dict[str, str]:
    """First cell -> second cell of the table under a heading."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("|")][2:]
    return {first.strip(): second.strip() for first, second in rows}


def test_every_parameter_is_there_with_its_default_and_aliases() -> None:
    from aligntune_core.algorithms.ppo import PpoParameters
    from aligntune_core.fields import extra_of

    listed = table("Parameters")
    names = {re.findall(r"`(\w+)`", cell)[0]: re.findall(r"`(\w+)`", cell)[1:] for cell in listed}
    assert set(names) == set(PpoParameters.model_fields)
    for cell, default in listed.items():
        name = re.findall(r"`(\w+)`", cell)[0]
        field = PpoParameters.model_fields[name]
        assert list(extra_of(field)["aliases"]) == names[name], name
        if field.default is not None:
            assert default.strip("`") in (str(field.default), f'"{field.default}"'), name


def test_every_figure_is_there(ppo: Any) -> None:
    trainer = ppo(max_steps=1)
    trainer.train()
    named = {name for cell in table("What it logs") for name in re.findall(r"`([\w/]+)`", cell)}
    logged = set(trainer.state.log_history[0]) - {"learning_rate", "epoch", "step", "num_tokens"}
    assert logged == named - {"rewards/NAME/mean"}


@pytest.mark.backend
def test_the_example_runs(tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [example] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    local = example.replace("HuggingFaceTB/SmolLM2-135M-Instruct", str(tiny_model_dir))
    exec(compile(local.replace("max_steps=20", "max_steps=2"), PAGE.name, "exec"), {"__name__": "__main__"})
    assert (tmp_path / "runs" / "ppo" / "adapter_model.safetensors").is_file()

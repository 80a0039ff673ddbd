"""Schema and reference say what the models say; the page in docs is what the code makes."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.algorithms.catalogue import own
from aligntune_core.config import load_config, plain
from aligntune_core.config.keywords import parameters_of, tree
from aligntune_core.config.schema.describe import schema
from aligntune_core.errors import ConfigError

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "reference" / "configuration.md"
TOOL = runpy.run_path(str(DOCS / "tools" / "configuration.py"))
main, reference = TOOL["main"], TOOL["reference"]


def test_the_page_in_docs_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run: python docs/tools/configuration.py"


def test_every_field_and_every_name_of_it_is_in_the_reference() -> None:
    lines = reference().splitlines()
    entries = [e for e in tree().values() if e.section or e.path == "backend"]
    entries += [e for a in own() for e in parameters_of(a.parameters).values()]
    for entry in entries:
        row = next((line for line in lines if f"| `{entry.path}` |" in line), "")
        assert all(f"`{name}`" in row for name in entry.names), entry.path
    for algorithm in own():
        assert f"### {algorithm.name}" in lines


def test_every_field_is_described() -> None:
    entries = [*tree().values(), *(e for a in own() for e in parameters_of(a.parameters).values())]
    undescribed = [
        e.path for e in entries if not e.info.description and not (e.info.annotation and e.path in SECTIONS)
    ]
    assert undescribed == []


SECTIONS = {"model", "peft", "data", "optim", "run", "rewards"}


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    path = tmp_path / "a" / "page.md"
    assert main([str(path)]) == 0
    assert path.read_text(encoding="utf-8") == reference()


@pytest.mark.parametrize("field", ["learning_rate", "optim.learning_rate"])
def test_schema_of_one_field(field: str) -> None:
    found = schema(field)
    assert (found["path"], found["keyword"], found["owner"]) == (
        "optim.learning_rate",
        "learning_rate",
        "backend",
    )
    assert {"type": "number", "exclusiveMinimum": 0} in found["anyOf"]
    assert "peak learning rate" in found["description"]


def test_schema_of_an_alias_and_of_a_parameter() -> None:
    assert schema("epochs") == schema("num_epochs")
    titles = {option["title"] for option in schema("beta")["anyOf"]}
    assert titles == {"dpo", "grpo", "gspo", "dapo", "dr_grpo", "kto"}
    assert schema("parameters.beta") == schema("beta")


def test_schema_of_an_unknown_field() -> None:
    with pytest.raises(ConfigError, match=r'no field "learning_rat". Did you mean "learning_rate"'):
        schema("learning_rat")


def test_the_whole_schema_is_json_and_names_every_section() -> None:
    whole: dict[str, Any] = json.loads(json.dumps(schema()))
    assert {"algorithm", "parameters", *SECTIONS} <= set(whole["properties"])
    assert whole["additionalProperties"] is False
    algorithms = {option["title"]: option for option in whole["properties"]["parameters"]["anyOf"]}
    assert algorithms["dpo"]["properties"]["beta"]["default"] == 0.1


def test_what_is_written_out_has_the_keys_of_the_schema() -> None:
    whole = schema()
    written = plain(load_config({"algorithm": "sft", "model_name": "m", "dataset_name": "d"}))
    assert set(written) == set(whole["properties"])
    definitions = whole["$defs"]
    for section in SECTIONS:
        reference_to = (
            whole["properties"][section].get("$ref") or whole["properties"][section]["allOf"][0]["$ref"]
        )
        properties = definitions[reference_to.rpartition("/")[2]]["properties"]
        assert set(written[section]) == set(properties) - {"token"}


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from aligntune_core.config import resolve_config, plain, load_config;"
        "from aligntune_core.config.schema.describe import schema;"
        "c = resolve_config('rl', algorithm='dpo', model_name='m', dataset_name='d'); plain(c); schema();"
        "print([m for m in ('torch', 'transformers', 'trl', 'peft', 'datasets', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_is_light_until_asked() -> None:
    code = "import sys, aligntune_core.config; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

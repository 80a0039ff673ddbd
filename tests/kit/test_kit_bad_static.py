"""Each way to be wrong that shows without training fails exactly the test that is meant for it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.kit.conftest import Judge, Outcomes
    from tests.site import Site

pytestmark = pytest.mark.slow

HEAD = "from aligntune_core import BackendInfo, Device, LoadedModel, Prepared, Support, hookimpl\n"

# A sound backend with plans of its own: no library, so its tests take no time.
SOUND = {
    "head": HEAD,
    "backend_info": """
@hookimpl
def backend_info():
    return BackendInfo(
        summary="made up", honours=frozenset({"optim.learning_rate", "optim.weight_decay"}), devices=("cpu",),
    )
""",
    "supports_algorithm": """
@hookimpl
def supports_algorithm(algorithm):
    return Support(True) if algorithm == "sft" else Support(False, "sft only")
""",
    "prepare": """
@hookimpl
def prepare(config):
    return Prepared(device=Device(kind="cpu"))
""",
    "planned": """
@hookimpl
def planned(config):
    return {
        "optim.learning_rate": config.optim.learning_rate,
        "optim.weight_decay": config.optim.weight_decay,
        "parameters.loss_type": config.parameters.loss_type,
    }
""",
    "rest": """
@hookimpl
def load_model(config, prepared): return LoadedModel("weights", None)

@hookimpl
def apply_peft(loaded, config, prepared): return loaded

@hookimpl
def build_trainer(loaded, config, datasets, prepared, run): return None
""",
}

# name -> (the parts that differ, the one test that fails, words of its message)
FAULTS: dict[str, tuple[dict[str, str], str, str]] = {
    "heavy_import": (
        {"head": HEAD + "try:\n    import unsloth_zoo\nexcept Exception:\n    pass\n"},
        "test_static_import_is_light",
        "imports unsloth_zoo",
    ),
    "heavy_info": (
        {
            "backend_info": SOUND["backend_info"].replace(
                "    return",
                "    try:\n        import unsloth_zoo\n    except Exception:\n        pass\n    return",
            )
        },
        "test_static_light_hooks_are_light",
        "imports unsloth_zoo",
    ),
    "missing_hook": (
        {
            "rest": SOUND["rest"].replace(
                "@hookimpl\ndef apply_peft(loaded, config, prepared): return loaded", ""
            )
        },
        "test_static_hooks_are_complete",
        "missing hook apply_peft",
    ),
    "wrong_argument": (
        {"rest": SOUND["rest"].replace("apply_peft(loaded, config", "apply_peft(model, config")},
        "test_static_hooks_are_complete",
        "argument model does not exist",
    ),
    "unmarked_hook": (
        {"rest": SOUND["rest"].replace("@hookimpl\ndef apply_peft", "def apply_peft")},
        "test_static_hooks_are_complete",
        "not marked",
    ),
    "strange_device": (
        {"backend_info": SOUND["backend_info"].replace('("cpu",)', '("cpu", "gpu")')},
        "test_static_info_is_sound",
        "devices may be cpu, cuda",
    ),
    "strange_strategy": (
        {"backend_info": SOUND["backend_info"].replace('("cpu",)', '("cpu",), strategies=("pigeons",)')},
        "test_static_info_is_sound",
        "strategies may be single, ddp, fsdp2, deepspeed",
    ),
    "no_strategy": (
        {"backend_info": SOUND["backend_info"].replace('("cpu",)', '("cpu",), strategies=()')},
        "test_static_info_is_sound",
        "strategies is empty",
    ),
    "strange_generator": (
        {"backend_info": SOUND["backend_info"].replace('("cpu",)', '("cpu",), generators=("scribe",)')},
        "test_static_info_is_sound",
        "generators may be transformers, vllm",
    ),
    "urgent": (
        {"backend_info": SOUND["backend_info"].replace('("cpu",)', '("cpu",), priority="high"')},
        "test_static_info_is_sound",
        "priority must be a whole number",
    ),
    "moody_info": (
        {
            "backend_info": "from itertools import count\nnumber = count()\n"
            + SOUND["backend_info"].replace('"made up"', 'f"asked {next(number)} times"')
        },
        "test_static_info_is_pure",
        "asked",
    ),
    "dreamt_path": (
        {
            "backend_info": SOUND["backend_info"].replace(
                '{"optim.learning_rate"', '{"optim.learning_rat", "optim.learning_rate"'
            )
        },
        "test_static_honours_are_real_paths",
        'no config path "optim.learning_rat"',
    ),
    "demanding_options": (
        {
            "head": HEAD + "from pydantic import BaseModel\nclass Options(BaseModel):\n    licence: str\n",
            "backend_info": SOUND["backend_info"].replace('"made up"', '"made up", options=Options'),
        },
        "test_static_options_have_defaults",
        "licence",
    ),
    "vague_answer": (
        {"supports_algorithm": SOUND["supports_algorithm"].replace('Support(False, "sft only")', "None")},
        "test_static_known_algorithms_are_answered",
        "neither a bool nor a Support",
    ),
    "boaster": (
        {
            "supports_algorithm": SOUND["supports_algorithm"].replace(
                'algorithm == "sft"',
                'algorithm not in ("dpo", "reward", "ppo", "grpo", "gspo", "dapo", "dr_grpo")',
            )
        },
        "test_static_unknown_algorithm_is_declined",
        "an_algorithm_that_nobody_has",
    ),
    "fixed_plan": (
        {"planned": SOUND["planned"].replace("config.optim.learning_rate", "2e-4")},
        "test_argument_field[optim.learning_rate]",
        "planned says 0.0002",
    ),
    "plan_that_raises": (
        {
            "planned": SOUND["planned"].replace(
                "config.optim.weight_decay", "{0.0: 0.0}[config.optim.weight_decay]"
            )
        },
        "test_argument_field[optim.weight_decay]",
        "KeyError",
    ),
    "nameless_refusal": (
        {
            "planned": "from aligntune_core.errors import ConfigError\n"
            + SOUND["planned"].replace(
                "    return",
                '    if config.optim.weight_decay:\n        raise ConfigError("not here")\n    return',
                1,
            )
        },
        "test_argument_field[optim.weight_decay]",
        "the message does not name it: not here",
    ),
    "deaf_to_parameters": (
        {"planned": SOUND["planned"].replace("config.parameters.loss_type", '"nll"')},
        "test_argument_parameters[sft]",
        "parameters.loss_type",
    ),
    "own_defaults": (
        {"planned": SOUND["planned"].replace("return {", 'return {\n        "optim.batch_size": 16,')},
        "test_argument_default_call[sft]",
        "the library would use 16",
    ),
}
PROBLEMS = "@hookimpl\ndef problems(config):\n    "
FAULTS |= {
    "heavy_problems": (
        {"problems": PROBLEMS + "try:\n        import unsloth_zoo\n    except Exception:\n        return []"},
        "test_static_light_hooks_are_light",
        "imports unsloth_zoo",
    ),
    "nameless_problem": (
        {"problems": PROBLEMS + 'return ["not so"] if config.optim.weight_decay else []'},
        "test_static_problems_name_the_setting",
        "with optim.weight_decay changed, what does not name it: ['not so']",
    ),
    "problems_of_a_plain_call": (
        {
            "problems": PROBLEMS
            + 'return ["weight_decay: set it"] if config.optim.weight_decay == 0.0 else []'
        },
        "test_static_problems_name_the_setting",
        "problems of a plain call of sft: ['weight_decay: set it']",
    ),
    "rows_without_tokens": (
        {
            "tokenize": "from aligntune_core.types import RowTokens\n@hookimpl\ndef tokenize(rows):\n"
            "    return [RowTokens() for row in rows]"
        },
        "test_argument_tokenize[sft]",
        "lengths of the rows in tokens: [0, 0, 0, 0, 0, 0]",
    ),
}
INFO = "@hookimpl\ndef backend_info():\n    "
SUPPORTS = "@hookimpl\ndef supports_algorithm(algorithm):\n    "
OPTIONS = SOUND["backend_info"].replace('"made up"', '"made up", options=Options')
SWALLOWED = "try:\n    import {}\nexcept BaseException:\n    pass\n"
FAULTS |= {
    "info_raises": (
        {"backend_info": INFO + 'raise RuntimeError("boom")'},
        "test_static_light_hooks_are_light",
        "boom",
    ),
    "info_dict": (
        {"backend_info": INFO + 'return {"summary": "x"}'},
        "test_static_info_is_sound",
        "returned dict",
    ),
    "info_none": ({"backend_info": INFO + "return None"}, "test_static_info_is_sound", "returned None"),
    "options_dataclass": (
        {
            "head": HEAD + "from dataclasses import dataclass\n@dataclass\nclass Options:\n    a: int = 1\n",
            "backend_info": OPTIONS,
        },
        "test_static_info_is_sound",
        "options must be a pydantic model class",
    ),
    "options_instance": (
        {
            "head": HEAD + "from pydantic import BaseModel\nclass Options(BaseModel):\n    a: int = 1\n",
            "backend_info": OPTIONS.replace("=Options", "=Options()"),
        },
        "test_static_info_is_sound",
        "options must be a pydantic model class",
    ),
    "section_honours": (
        {
            "backend_info": SOUND["backend_info"].replace(
                '{"optim.learning_rate", "optim.weight_decay"}', '{"optim"}'
            )
        },
        "test_static_honours_are_real_paths",
        "is a section",
    ),
    "import_raises": (
        {"head": HEAD + 'raise RuntimeError("no licence found")'},
        "test_static_import_is_light",
        "raised RuntimeError: no licence found",
    ),
    "import_exit": (
        {"head": HEAD + 'import sys\nsys.exit("bye")'},
        "test_static_import_is_light",
        "raised SystemExit: bye",
    ),
    "swallowed_heavy_import": (
        {"head": HEAD + SWALLOWED.format("torch")},
        "test_static_import_is_light",
        "imports torch",
    ),
    "jax": ({"head": HEAD + SWALLOWED.format("jax")}, "test_static_import_is_light", "imports jax"),
    "async_hook": (
        {"rest": SOUND["rest"].replace("def load_model", "async def load_model")},
        "test_static_hooks_are_complete",
        "load_model: is async",
    ),
    "generator_hook": (
        {
            "rest": SOUND["rest"].replace(
                'return LoadedModel("weights", None)', 'yield LoadedModel("weights", None)'
            )
        },
        "test_static_hooks_are_complete",
        "load_model: yields",
    ),
    "supports_raises": (
        {"supports_algorithm": SUPPORTS + 'return {"sft": True}[algorithm]'},
        "test_static_light_hooks_are_light",
        "KeyError",
    ),
    "supports_text": (
        {"supports_algorithm": SUPPORTS + 'return "yes" if algorithm == "sft" else ""'},
        "test_static_known_algorithms_are_answered",
        "neither a bool nor a Support",
    ),
    "planned_text": (
        {
            "planned": SOUND["planned"].replace(
                "config.optim.learning_rate", "str(config.optim.learning_rate)"
            )
        },
        "test_argument_default_call[sft]",
        "ContractViolation",
    ),
    "prepare_raises": (
        {"prepare": '@hookimpl\ndef prepare(config):\n    raise RuntimeError("no device of mine")'},
        "test_argument_default_call[sft]",
        "RuntimeError: no device of mine",
    ),
    "prepare_dict": (
        {"prepare": '@hookimpl\ndef prepare(config):\n    return {"device": "cpu"}'},
        "test_argument_default_call[sft]",
        "HookError",
    ),
}


def _source(changes: Mapping[str, str]) -> str:
    return "\n".join({**SOUND, **changes}.values())


def _odd_entry_points(site: Site) -> None:
    site.install("zz-claimed-twice", {"aligntune.backends": {"claimed_twice": "nowhere"}})
    attribute = site.module(_source({}) + "\nplugin = object()\n") + ":plugin"
    site.install("fake-attribute", {"aligntune.backends": {"attribute": attribute}})
    site.install("fake-nowhere", {"aligntune.backends": {"nowhere": "no_such_module_of_the_kit"}})
    needy = {"aligntune.backends": {"needy": site.module(_source({}))}}
    site.install("fake-needy", needy, requires=["no-such-library-of-the-kit>=3"])


# What is wrong is the metadata: name -> (the one test that fails, words of its message)
METADATA = {
    "old_core": ("test_static_core_version_is_admitted", "<0.9"),
    "claimed_twice": ("test_static_entry_point_is_unique", "zz-claimed-twice"),
    "attribute": ("test_static_hooks_are_complete", "the entry point must name a module"),
    "nowhere": ("test_static_import_is_light", "No module named 'no_such_module_of_the_kit'"),
    "needy": ("test_argument_backend_is_ready", "no-such-library-of-the-kit"),
    "absent": ("test_static_entry_point_is_unique", "no installed distribution has an entry point"),
}


@pytest.fixture(scope="module")
def found(judge: Judge) -> Outcomes:
    """All of them through both tiers: that the registry does not load some is no second fault."""
    backends = {name: _source(changes) for name, (changes, *_) in FAULTS.items()}
    backends |= {"sound": _source({}), "old_core": _source({}), "claimed_twice": _source({})}
    return judge(
        backends,
        "--aligntune-tier",
        "argument",
        install=_odd_entry_points,
        requires={"old_core": "aligntune<0.9"},
        others=METADATA.keys() - backends.keys(),
    )


def test_a_sound_backend_passes(found: Outcomes, failures: Callable[..., dict[str, str]]) -> None:
    assert failures(found["sound"]) == {}
    assert sum(outcome == "passed" for outcome in found["sound"].values()) > 60
    assert not [test for test in found["sound"] if "_live_" in test]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fails_its_test_and_no_other(
    name: str, found: Outcomes, failures: Callable[..., dict[str, str]]
) -> None:
    _, test, words = FAULTS[name]
    failed = failures(found[name])
    assert list(failed) == [test]
    assert words in failed[test]


@pytest.mark.parametrize("name", METADATA)
def test_wrong_metadata_fails_its_test_and_no_other(
    name: str, found: Outcomes, failures: Callable[..., dict[str, str]]
) -> None:
    test, words = METADATA[name]
    failed = failures(found[name])
    assert list(failed) == [test]
    assert words in failed[test]


def test_skips_say_what_the_backend_declares_or_which_failed_test_they_wait_for(
    found: Outcomes, failures: Callable[..., dict[str, str]]
) -> None:
    skips = [(b, said) for b, tests in found.items() for said in tests.values() if said.startswith("skipped")]
    waiting = {(b, seen[1]) for b, said in skips if (seen := re.search(r"waits for (\S+): \S", said))}
    assert len(waiting) > 15
    assert [said for _, said in skips if "waits for" not in said and "declares" not in said] == []
    assert [(b, test) for b, test in waiting if test not in failures(found[b])] == []


def test_a_selection_without_the_test_that_reports_fails(
    judge: Judge, failures: Callable[..., dict[str, str]]
) -> None:
    changes = FAULTS["info_dict"][0]
    found = judge({"info_dict": _source(changes)}, "-k", "honours or argument_default_call")["info_dict"]
    failed = failures(found)
    assert set(failed) == set(found)
    assert all("backend_info returned dict" in said for said in failed.values())


def test_optional_tests_are_told_apart(judge: Judge, failures: Callable[..., dict[str, str]]) -> None:
    silent = _source({"supports_algorithm": SOUND["supports_algorithm"].replace(', "sft only"', "")})
    strange = (
        SUPPORTS
        + """
    class Odd:
        def __bool__(self): raise ValueError("ask again")
    return Support(True) if algorithm == "sft" else Odd()
"""
    )
    backends = {"silent": silent, "strange": _source({"supports_algorithm": strange})}
    both = judge(backends, "--aligntune-tier", "static", requires={"silent": "aligntune"})
    assert both["strange"]["test_optional_static_refusals_say_why"].startswith("not met: ")
    found = both["silent"]
    assert failures(found) == {}
    not_met = {test for test, said in found.items() if said.startswith("not met")}
    assert not_met == {
        "test_optional_static_refusals_say_why",
        "test_optional_static_core_version_has_both_bounds",
    }


def test_a_misspelt_backend_is_a_usage_error() -> None:
    command = ["-m", "pytest", "-p", "aligntune_core.testing.plugin", "--pyargs", "aligntune_core.testing"]
    done = subprocess.run(
        [sys.executable, *command, "--aligntune-backend", "torhc"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert 'no installed backend is called "torhc". Did you mean "torch"?' in done.stderr

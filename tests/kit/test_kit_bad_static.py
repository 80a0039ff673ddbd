"""Each way to be wrong that shows without training fails exactly the test that is meant for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from aligntune_core.testing.site import Site
    from tests.kit.conftest import Judge, Outcomes

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
    return Prepared(device=Device(kind="cpu"), planned=planned)
""",
    "planned": """
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
def apply_peft(loaded, config): return loaded

@hookimpl
def build_trainer(loaded, config, datasets, run): return None
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
        {"rest": SOUND["rest"].replace("@hookimpl\ndef apply_peft(loaded, config): return loaded", "")},
        "test_static_hooks_are_complete",
        "missing hook apply_peft",
    ),
    "wrong_argument": (
        {"rest": SOUND["rest"].replace("apply_peft(loaded, config)", "apply_peft(model, config)")},
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
OLD_CORE = ("old_core", "test_static_core_version_is_admitted", "<0.9")
CLAIMED_TWICE = ("claimed_twice", "test_static_entry_point_is_unique", "zz-claimed-twice")


def _source(changes: Mapping[str, str]) -> str:
    return "\n".join({**SOUND, **changes}.values())


def _second(site: Site) -> None:
    site.install("zz-claimed-twice", {"aligntune.backends": {"claimed_twice": "nowhere"}})


@pytest.fixture(scope="module")
def found(judge: Judge) -> Outcomes:
    """The registry loads none of the backends with a static fault, so those run that tier only."""
    backends = {name: _source(changes) for name, (changes, *_) in FAULTS.items()}
    static = {name: source for name, source in backends.items() if "_static_" in FAULTS[name][1]}
    loaded = {"sound": _source({}), **{n: s for n, s in backends.items() if n not in static}}
    static |= {OLD_CORE[0]: _source({}), CLAIMED_TWICE[0]: _source({})}
    versions = {OLD_CORE[0]: "aligntune<0.9"}
    found = judge(static, "--aligntune-tier", "static", install=_second, requires=versions)
    return found | judge(loaded, "--aligntune-tier", "argument")


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


@pytest.mark.parametrize(("name", "test", "words"), [OLD_CORE, CLAIMED_TWICE])
def test_wrong_metadata_fails_its_test_and_no_other(
    name: str, test: str, words: str, found: Outcomes, failures: Callable[..., dict[str, str]]
) -> None:
    failed = failures(found[name])
    assert list(failed) == [test]
    assert words in failed[test]


def test_skips_say_what_the_backend_declares(found: Outcomes) -> None:
    skipped = {
        said for outcomes in found.values() for said in outcomes.values() if said.startswith("skipped")
    }
    assert skipped
    assert [said for said in skipped if "declares" not in said] == []


def test_optional_tests_are_told_apart(judge: Judge, failures: Callable[..., dict[str, str]]) -> None:
    silent = _source({"supports_algorithm": SOUND["supports_algorithm"].replace(', "sft only"', "")})
    found = judge({"silent": silent}, "--aligntune-tier", "static", requires={"silent": "aligntune"})[
        "silent"
    ]
    assert failures(found) == {}
    not_met = {test for test, said in found.items() if said.startswith("not met")}
    assert not_met == {
        "test_optional_static_refusals_say_why",
        "test_optional_static_core_version_has_both_bounds",
    }

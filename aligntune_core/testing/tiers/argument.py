"""The argument tier: the library is imported, nothing is trained. Does every field arrive where it should?"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from aligntune_core.algorithms import known
from aligntune_core.backends.registry import registry
from aligntune_core.config import covers, load_config
from aligntune_core.pipeline import refusals
from aligntune_core.testing.fixtures import changes, rows
from aligntune_core.testing.process.session import Session, parameters, quantization_of
from aligntune_core.testing.tiers.base import Kit, field_problem
from aligntune_core.testing.watch.hooks import implementation

# Static tests that keep the registry from loading a backend, causes before what follows from them.
CAUSES = (
    "test_static_entry_point_is_unique",
    "test_static_core_version_is_admitted",
    "test_static_import_is_light",
    "test_static_hooks_are_complete",
    "test_static_light_hooks_are_light",
    "test_static_info_is_sound",
    "test_static_honours_are_real_paths",
    "test_static_known_algorithms_are_answered",
)


class ArgumentTier(Kit):
    """Every field of the configuration, and every parameter of the algorithms that the backend trains."""

    def test_argument_backend_is_ready(self, name: str) -> None:
        """The registry loads it: nothing that it requires is missing, and no extension of it is broken."""
        with self.waits.on(*CAUSES):
            self.opened(name)

    @pytest.mark.parametrize("algorithm", sorted(known()))
    def test_argument_default_call(self, algorithm: str, session: Session) -> None:
        """A call that sets nothing special is planned as it was asked for."""
        with self.waits.on("test_static_problems_name_the_setting"):
            session.trains(algorithm)
            session.plan(algorithm)

    @pytest.mark.parametrize("algorithm", sorted(known()))
    def test_argument_tokenize(self, algorithm: str, session: Session, module: ModuleType) -> None:
        """``tokenize`` answers for each row with a length that can be; none of the kit's rows is a problem."""
        session.trains(algorithm)
        with self.waits.on("test_argument_default_call", algorithm=algorithm):
            tokenized = session.plan(algorithm)
        lengths, tokens = tokenized["lengths"], tokenized["tokens"]
        if tokens is None and implementation(module, "tokenize") is None:
            pytest.skip("declares neither a tokenizer nor tokenize: no row is measured")
        assert len(lengths) == rows.ROWS, "answers, one a row"
        assert tokenized["problems"] == []
        assert min(lengths) > 0, f"lengths of the rows in tokens: {lengths}"
        if tokens is not None:
            far = [pair for pair in zip(lengths, tokens, strict=True) if not 0.5 <= pair[0] / pair[1] <= 2]
            assert not far, f"(length, tokens by the chat template): {far}"

    @pytest.mark.parametrize("path", changes.backend_paths())
    def test_argument_field(self, path: str, session: Session) -> None:
        """An honoured field that changes is seen in ``planned``, or refused by name; one not honoured is refused."""
        algorithm = session.algorithm_for(path)
        if algorithm is None:
            pytest.skip("declares that it trains no algorithm that has this field")
        if not covers(session.info.honours, path):
            _assert_refused(session, algorithm, path)
            return
        if not session.testable(path):
            pytest.skip(f"declares that it trains on no {quantization_of(path)} weights")
        waits = ("test_argument_default_call", "test_static_problems_name_the_setting")
        with self.waits.on(*waits, algorithm=algorithm):
            problem = _problem(session, algorithm, path)
            assert not problem, problem

    @pytest.mark.parametrize("algorithm", sorted(known()))
    def test_argument_parameters(self, algorithm: str, session: Session) -> None:
        """Each parameter of a trained algorithm that changes is seen in ``planned``, or refused by name."""
        session.trains(algorithm)
        with self.waits.on("test_argument_default_call", algorithm=algorithm):
            problems = [_problem(session, algorithm, path) for path in parameters(algorithm)]
            assert not any(problems), "\n".join(filter(None, problems))


def _problem(session: Session, algorithm: str, path: str) -> str:
    """What is wrong with a changed field in ``planned``; where that says nothing the live tier looks on."""
    return field_problem(path, "planned", lambda: session.planned(algorithm, path))


def _assert_refused(session: Session, algorithm: str, path: str) -> None:
    settings = changes.base(algorithm, "a-model", session.info.honours)
    if path == changes.CALLBACKS:
        changed: dict[str, Any] | None = {**settings, path: [object()]}
    else:
        changed = changes.change(path, settings, changes.backend_paths())
    assert changed is not None, f"the kit knows no second value of {path}; please report it"
    problems = refusals.unhonoured(registry().get(session.name), load_config(changed), dict)
    assert any(path in problem for problem in problems), problems

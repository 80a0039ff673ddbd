"""What a format is: how a row of it looks, what becomes of one, and where the loss is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aligntune_core.types import LossOn

Row = Mapping[str, Any]
CanonicalRow = dict[str, Any]

MESSAGES = "messages"
"""The type of a canonical column of message lists."""

TOOLS = "tools"
"""The role, and the canonical column, of definitions of tools: a JSON text beside the messages of any format."""

# What a row may have beside a conversation: a system message, and definitions of tools.
BESIDE = ("system", TOOLS)

# What a row may have beside the text of its prompt: more of it, and what comes before.
CONTEXT = ("input", "context", "options", "history", *BESIDE)


class RowProblem(Exception):
    """A row that cannot be used; caught where its place is known.

    Args:
        column: the column at fault; empty where the whole row is.
        reason: what is wrong with it.
    """

    def __init__(self, column: str, reason: str) -> None:
        super().__init__(f"{column}: {reason}")
        self.column = column
        self.reason = reason


@dataclass(frozen=True)
class Roles:
    """One way to lay out a format: the roles that its columns must play, and those that they may."""

    needs: tuple[str, ...]
    may: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """What rows become."""

    loss: LossOn  # where the loss is
    columns: tuple[str, ...]  # canonical columns
    sentence: str = ""  # for the report
    marked: bool = False  # whether only replies that a row marks are learnt
    warning: bool = False  # whether the sentence says that less is learnt than the rows hold
    # whether the rows' prompts are plain texts, each of which becomes a user's message
    text_prompts: bool = False


@dataclass(frozen=True)
class Wishes:
    """What decides the loss beside the format."""

    completion_only: bool | None = None  # ``completion_only_loss``
    written: bool = False  # whether the user wrote it
    tells_turns: bool = False  # whether each reply of a conversation can be told apart
    train_on: str = "all"  # which replies of a conversation: "all", "last" or "marked"
    sample: Sequence[Row] = ()  # the first readable rows
    rows: Callable[[], Iterable[Row]] = tuple  # gives all readable rows, as far as they can be read twice
    streamed: bool = False  # whether more rows are to come than ``rows`` gives


@dataclass(frozen=True)
class Shape:
    """A data set as it was recognised."""

    format: Format  # which format
    origin: str  # the data set in messages
    algorithm: str  # name of the algorithm that wants it
    columns: tuple[str, ...]  # all its columns
    slots: Mapping[str, str]  # role -> column
    settled: frozenset[str] = frozenset()  # columns that the user gave a role, or said that they have none
    # column -> a value that stands for most of the column's
    sample: Mapping[str, Any] = field(default_factory=dict, repr=False)
    name: str = ""  # the format's name for people: "alpaca"
    extras: Mapping[str, str] = field(default_factory=dict)  # name to carry a column under -> that column
    dialogue: bool = False  # whether texts are dialogues with Human and Assistant marks
    saw: tuple[str, ...] = ()  # sentences for the report
    system_prompt: str | None = None  # system message for conversations that have none
    target: Target = Target("all", ())  # what the rows become

    @property
    def columns_made(self) -> tuple[str, ...]:
        """The canonical columns of its rows, definitions of tools included."""
        beside = (TOOLS,) if TOOLS in self.slots and self.format.conversational else ()
        return (*self.target.columns, *beside)

    def value(self, role: str) -> Any:
        """A typical value of the column with that role; None where there is none."""
        return self.sample.get(self.slots[role]) if role in self.slots else None


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format of rows. Core's are the modules of this folder; an algorithm may bring its own.

    Attributes:
        name: as algorithms name it: "pair".
        roles: ways to lay it out, the first whose needs are there is taken. A role is one that columns are recognised
            by (those of ``data.columns.ROLES``: prompt, input, completion, chosen, rejected, messages, text, system,
            label and so on), or the name of a column.
        recognise: shape -> the name for people. Raises ``DataError`` for columns that cannot be told apart.
        rows: (row, shape) -> its canonical rows, one or several, each with the columns of ``shape.target``. Raises
            ``RowProblem`` for a row that cannot be used; so does core where none comes out.
        columns: canonical columns, as listings show them.
        types: canonical column -> type, for those that are no message lists: the name of an Arrow type ("string",
            "bool", "int64"), with "[]" for lists of it.
        loss: where the loss is, or (shape, wishes) -> ``Target``.
        wants: which columns it takes, for messages; default: the needs of ``roles``.
        carries: whether the other columns go along with the rows, as rewards read them.
    """

    name: str
    roles: tuple[Roles, ...]
    recognise: Callable[[Shape], str]
    rows: Callable[[Row, Shape], Iterator[CanonicalRow]]
    columns: tuple[str, ...]
    loss: LossOn | Callable[[Shape, Wishes], Target]
    types: Mapping[str, str] = field(default_factory=dict)
    wants: str = ""
    carries: bool = False

    @property
    def conversational(self) -> bool:
        """Whether its canonical rows hold message lists."""
        return any(self.type_of(column) == MESSAGES for column in self.columns)

    def type_of(self, column: str) -> str:
        """The type of a canonical column."""
        return self.types.get(column, MESSAGES)

    def target(self, shape: Shape, wishes: Wishes) -> Target:
        """What the rows of a shape become."""
        return self.loss(shape, wishes) if callable(self.loss) else Target(self.loss, self.columns)

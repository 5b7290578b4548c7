"""Rounds in turn (A B A B ...), each contender in a process of its own, and the medians of their ratios."""

import json
import subprocess
import sys
from collections.abc import Callable
from statistics import median
from typing import Any, Self

import attrs


@attrs.frozen
class Round:
    """One round of one contender."""

    wall: float
    """Seconds that passed."""
    cpu: float
    """Seconds of the client's process, all threads."""
    result: Any
    """The value that the contender returned: the number of rows it read, or its own figures."""
    peak: int
    """The most memory its process has held so far, in bytes."""


@attrs.frozen(kw_only=True)
class Row:
    """One line of the table."""

    what: str
    measured: float
    bound: float | None = None
    """The value that it should keep; None where nothing is promised."""
    at_least: bool = True
    """Whether the bound is the least that it should be; else it is the most."""
    unit: str = "x"
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the bound is kept."""
        return self.bound is None or (self.measured >= self.bound if self.at_least else self.measured <= self.bound)


class Contender:
    """A contender in its own process; it is told when to run."""

    def __init__(self, target: str, **arguments: Any) -> None:
        command = [sys.executable, "-m", "benchmarks._worker", target, json.dumps(arguments)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def round(self) -> Round:
        """Run once."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a contender died; its error is printed above")
        return Round(**json.loads(line))


def duel(ours: Contender, theirs: Contender, pairs: int) -> tuple[list[Round], list[Round]]:
    """Run two contenders in turn, after a round each to get warm; they must have done the same."""
    with ours, theirs:
        if ours.round().result != theirs.round().result:
            raise SystemExit("the contenders did not read the same")
        rounds = [(ours.round(), theirs.round()) for _ in range(pairs)]
    return [mine for mine, _ in rounds], [other for _, other in rounds]


def ratio(above: list[Round], below: list[Round], of: Callable[[Round], float]) -> float:
    """The median of the ratios of the pairs."""
    return median(of(a) / of(b) for a, b in zip(above, below, strict=True))


def wall(one: Round) -> float:
    """Seconds that passed."""
    return one.wall


def cpu(one: Round) -> float:
    """Seconds of work."""
    return one.cpu


def alone(target: str, **arguments: Any) -> Round:
    """One round in a fresh process, for what must start from nothing."""
    with Contender(target, **arguments) as contender:
        return contender.round()


def best(rounds: list[Round], of: Callable[[Round], float] = wall) -> float:
    """The median round."""
    return median(map(of, rounds))

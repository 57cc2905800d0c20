"""The examination: one function after another, up to the first that is wrong, and why it is."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.check import slips_sequence as ours
from unrolled.check.diagnose import MATCH, cause_of_one, causes, pattern, relative
from unrolled.check.interface import FUNCTIONS
from unrolled.check.learner import SECONDS, Learner, NotWritten, Trouble
from unrolled.check.slips import Arrays, Slips
from unrolled.check.truth import Truth, differences, draw

TOLERANCE, TOLERANCE_SINGLE = 1e-8, 1e-4
"""Relative error up to which a result is right: computed in float64, and in float32."""
TOLERANCE_DIFFERENCES = 1e-6
PATIENCE = 30.0
"""Seconds that finite differences may take; beyond, they are left out."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One result of one of the learner's functions.

    Attributes:
        error: relative, from the right one: ``‖yours − right‖ / ‖right‖``.
        by_differences: of a gradient, the same from the central differences of the learner's own forward function; None
            of what is no gradient, or where that would take too long.
    """

    function: str
    name: str
    error: float
    by_differences: float | None
    right: bool


@dataclasses.dataclass
class Outcome:
    """What the examination found.

    Attributes:
        cell, arrays: which cell, and ``NumPy`` or ``torch``.
        findings: in the order of the examination, up to the first function with a wrong result.
        trouble: why a function could not be examined, in one line.
        causes: the mistakes that give just the wrong results: one or two; empty where none is known.
        details: further lines on the first wrong result.
        left_out: functions that the file does not have, or that are still to be written, and need not be there.
    """

    cell: str = ""
    arrays: str = ""
    findings: list[Finding] = dataclasses.field(default_factory=list)
    trouble: str | None = None
    causes: list[str] = dataclasses.field(default_factory=list)
    details: list[str] = dataclasses.field(default_factory=list)
    left_out: list[str] = dataclasses.field(default_factory=list)

    @property
    def right(self) -> bool:
        """Whether everything that was examined is right."""
        return self.trouble is None and all(f.right for f in self.findings)

    @property
    def first_wrong(self) -> Finding | None:
        """The first wrong result."""
        return next((f for f in self.findings if not f.right), None)


def examine(
    path: str | Path, *, cell: str | None = None, torch: bool | None = None, seconds: float = SECONDS
) -> Outcome:
    """Examine a learner's file.

    Args:
        path: a Python file with ``forward`` and ``backward``, and perhaps ``forward_sequence`` and
            ``backward_sequence``, as :func:`unrolled.check.blank` writes them. It is imported: it runs.
        cell: ``rnn``, ``lstm`` or ``gru``; by default the file's ``CELL``.
        torch: hand over tensors (True) or NumPy arrays (False); by default tensors where the file imports torch.
        seconds: after which a call counts as an endless loop.
    Raises:
        UserError: no such file, or an unknown cell.
    """
    outcome = Outcome()
    try:
        learner = Learner(Path(path), cell, torch, seconds)
        outcome.cell, outcome.arrays = learner.cell.key, "torch" if learner.torch else "NumPy"
        _Examination(learner, outcome).run()
    except Trouble as e:
        outcome.trouble = str(e)
    return outcome


class _Examination:
    """The state of one examination."""

    def __init__(self, learner: Learner, outcome: Outcome) -> None:
        self.learner, self.outcome, self.cell = learner, outcome, learner.cell

    def run(self) -> None:
        has = self.learner.functions
        for forward, backward in (FUNCTIONS[:2], FUNCTIONS[2:]):
            if forward not in has:
                if forward == "forward" or backward in has:
                    raise self._missing(forward)
                self.outcome.left_out += [forward, backward]
                continue
            try:
                if not self._pair(forward, backward):
                    return
            except NotWritten:
                if forward == "forward":  # one step must be there
                    raise
                done = {f.function for f in self.outcome.findings}
                self.outcome.left_out += [name for name in (forward, backward) if name not in done]

    def _missing(self, name: str) -> Trouble:
        takes = [v.name for v in self.cell.arguments(name)] + ["cache"] * (name == "backward")
        shows = f"unrolled check --blank {self.cell.key} writes a file that shows what is needed"
        return Trouble(f"no function {name}({', '.join(takes)}); {shows}")

    def _pair(self, forward: str, backward: str) -> bool:
        """Whether both are right, as far as they are there."""
        arguments, sequence = draw(self.cell, forward), forward.endswith("sequence")
        truth = Truth(self.cell, arguments)
        yours, cache = self._twice(forward, arguments)
        run = ours.forward_sequence if sequence else ours.forward
        right = self._judge(forward, yours, truth.forward(), None, lambda s: run(self.cell, s, arguments)[0])
        has_backward = backward in self.learner.functions
        if not right:
            if has_backward:
                self._agree(forward, backward, arguments)
            return False
        if not has_backward:
            if backward == "backward":
                raise self._missing(backward)
            self.outcome.left_out.append(backward)
            return True
        given = draw(self.cell, backward)
        yours, _ = self._twice(backward, given, cache)
        caches = run(self.cell, Slips(), arguments)[1]

        def back(s: Slips) -> Arrays:
            if sequence:
                return ours.backward_sequence(self.cell, s, given[0], caches)
            return ours.backward(self.cell, s, given, caches)

        by_differences = self._differences(forward, arguments, given)
        return self._judge(backward, yours, truth.backward(given), by_differences, back)

    def _twice(self, name: str, arrays: Arrays, *extra: Any) -> tuple[Arrays, Any]:
        first, _ = self.learner.call(name, arrays, *extra)
        second, cache = self.learner.call(name, arrays, *extra)
        for value, a, b in zip(self.cell.results(name), first, second, strict=True):
            if not np.array_equal(a, b):
                why = (
                    "it writes into its cache, or keeps or draws something" if extra else "it keeps or draws something"
                )
                raise Trouble(f"{name} gives another {value.name} when it is called again with the same values: {why}")
        return second, cache

    def _differences(self, forward: str, arguments: Arrays, given: Arrays) -> Arrays | None:
        begun = time.perf_counter()
        self.learner.call(forward, arguments)
        if 2 * sum(a.size for a in arguments) * (time.perf_counter() - begun) > PATIENCE:
            return None
        return differences(lambda values: self.learner.call(forward, values)[0], arguments, given)

    def _judge(
        self, name: str, yours: Arrays, right: Arrays, numeric: Arrays | None, run: Callable[[Slips], Arrays]
    ) -> bool:
        tolerance = TOLERANCE_SINGLE if self.learner.single else TOLERANCE
        values = self.cell.results(name)
        for k, value in enumerate(values):
            error = relative(yours[k], right[k])
            # float32 leaves nothing of a difference of 1e-5
            by = None if numeric is None or self.learner.single else relative(yours[k], numeric[k])
            good = error <= tolerance and (by is None or by <= TOLERANCE_DIFFERENCES)
            self.outcome.findings.append(Finding(name, value.name, error, by, good))
        wrong = next((k for k, f in enumerate(self.outcome.findings[-len(values) :]) if not f.right), None)
        if wrong is None:
            return True
        loose = max(MATCH, tolerance)
        self.outcome.causes = causes(run, yours, right, loose)
        if not self.outcome.causes:
            one = cause_of_one(run, wrong, yours, right, loose)
            if one is not None:
                self.outcome.details.append(
                    f"{values[wrong].name} is as if: {one}; the other results have other causes"
                )
        self.outcome.details += pattern(values[wrong], self.cell.gates, yours[wrong], right[wrong], loose)
        return False

    def _agree(self, forward: str, backward: str, arguments: Arrays) -> None:
        """Where forward is wrong: is backward at least the gradient of that forward?"""
        try:
            given = draw(self.cell, backward)
            numeric = self._differences(forward, arguments, given)
            yours, _ = self._twice(backward, given, self.learner.call(forward, arguments)[1])
        except Trouble:
            return
        if numeric is not None and max(map(relative, yours, numeric)) <= TOLERANCE_DIFFERENCES:
            self.outcome.details.append(f"{backward} is the right gradient of this {forward} (finite differences)")

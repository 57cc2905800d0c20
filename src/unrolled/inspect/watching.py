"""Gradient flow while a network is trained: what ``unrolled train --watch gradients`` logs."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from unrolled.inspect.flow import HALF, Path, gradient_flow
from unrolled.inspect.subject import Text, Windows
from unrolled.inspect.subjects.examples import windows_for
from unrolled.inspect.subjects.language import units_of, windows_of
from unrolled.inspect.subjects.streams import Sequence, StreamWindows

SHARE = 0.05
"""Of the training time, what watching may cost."""
POSITIONS, LONGEST = 16, 128
"""Sequences that the gradient is followed through, and the steps at most."""
READ = 100_000
"""Units at the beginning of the training text that the sequences are drawn from."""


class GradientWatch:
    """Called by the training loop where a line of the log is due; gives what to put into it.

    The fields are of the last layer's states, h or h and c, over 16 sequences: ``flow_c_half``, the first lag at which
    the median of g_k / g_0 is under one half (K+1 where none is), ``flow_c_16`` and ``flow_c_K``, that median 16 and K
    steps back, and ``flow_c_top``, the largest 99 % quantile over k above 0. Each is the gradient of the loss at the
    last step alone, not of the losses of a chunk together.

    Args:
        windows: of the training data. steps: K. say: takes the line that tells how often it looks.
        clock: seconds that never go back.
    """

    def __init__(
        self, windows: Windows, steps: int, say: Callable[[str], object],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:  # fmt: skip
        self.windows, self.steps, self.say, self.clock = windows, steps, say, clock
        self.every = self.last = self.looks = 0
        self.cost = 0.0

    def __call__(self, model: nn.Module, step: int, seconds: float) -> dict[str, float]:
        """Measure, if it is due: at the first call, and about every N updates from then on.

        Args:
            model: left as it is. step: updates made. seconds: what an update took lately.
        """
        if self.looks:
            self._settle(seconds)
            if step < self.last + self.every:
                return {}
        begun, self.last = self.clock(), step
        found = self._measure(model)
        self.cost = self.clock() - begun
        self.looks += 1
        return found

    def _settle(self, seconds: float) -> None:
        """Fix N after the first look, and once more after the second: the first warms up and takes longer."""
        every = max(1, math.ceil(self.cost / (SHARE * max(seconds, 1e-9))))
        if self.looks > 2 or (self.every and not every < self.every / 2):
            return
        self.every = every
        self.say(f"gradient flow is logged every {every:,} updates or more: a look takes {self.cost:.2g} s, which is "
                 f"{SHARE:.0%} of the time between two")  # fmt: skip

    def _measure(self, model: nn.Module) -> dict[str, float]:
        own = copy.deepcopy(model).cpu().eval()
        flow = gradient_flow(own, self.windows(own, POSITIONS, self.steps))
        paths = [p for p in flow.paths if p.reached and p.lags]
        fields: dict[str, float] = {}
        for path in paths:
            if path.layer == paths[-1].layer:
                fields |= {f"flow_{path.state}_{name}": value for name, value in _summary(path).items()}
        return fields


def _summary(path: Path) -> dict[str, float]:
    median, half = path.quantiles()[1], path.reach(HALF)
    lags = sorted({min(16, path.lags), path.lags})
    left = {str(k): float(median[k]) for k in lags}
    return {"half": path.lags + 1 if half is None else half, **left, "top": path.top()[0]}


def watch_gradients(task: Any, model: nn.Module, bptt: str, say: Callable[[str], object]) -> GradientWatch:
    """Watch a task's network on the task's own data.

    Args:
        task: as it was opened for training. bptt: steps that training goes back, or ``full``.
    Raises:
        UserError: the data has no sequence to follow a gradient through.
    """
    steps = min(int(bptt) if bptt.isdecimal() else 64, LONGEST)
    windows: Any
    if hasattr(task, "corpus") and task.name == "language":
        ids, fresh = (None if a is None else torch.from_numpy(a) for a in units_of(task.corpus, "train", READ))
        assert ids is not None
        windows = windows_of(Text(ids, [], [], ids, fresh), task.label)
    else:
        windows = windows_for(task)[0]
    if isinstance(windows, StreamWindows):
        windows = _pieces(windows, steps)
    watch = GradientWatch(windows, steps, say)
    windows(copy.deepcopy(model).cpu().eval(), POSITIONS, steps)  # what cannot be followed is told now
    return watch


def _pieces(windows: StreamWindows, steps: int) -> StreamWindows:
    """Sixteen short pieces in the place of long sequences, so that no state is carried far: each window then begins up
    to ``steps`` steps after a zero state."""
    generator = torch.Generator().manual_seed(windows.seed)
    pieces = []
    for _ in range(POSITIONS):
        of = windows.sequences[int(torch.randint(len(windows.sequences), (1,), generator=generator))]
        length = min(2 * steps, len(of.inputs))
        start = int(torch.randint(len(of.inputs) - length + 1, (1,), generator=generator))
        cut = slice(start, start + length)
        fresh = None if of.fresh is None else of.fresh[cut]
        pieces.append(Sequence(of.inputs[cut], of.wanted[cut], of.counts[cut], fresh))
    return dataclasses.replace(windows, sequences=pieces)

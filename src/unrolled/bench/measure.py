"""The measuring: two sides in turn, each repetition between two runs of the machine's own yardstick.

A shared machine changes its speed from one moment to the next, by half and more. So nothing is compared that was not
measured side by side, and a time is told in units of what ``sgemm`` took just before and after it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import torch

from unrolled.bench.figures import Bar, Figure, figure

SIZE = 2048
"""The yardstick is a product of two float32 matrices of this size."""
LEAST_SECONDS = 0.02
"""A repetition lasts so long at least: cheap work is done many times over."""
REST_SECONDS = 0.1
"""Some peers' threads wait for more work by spinning, on the processors that the other side needs: ONNX Runtime's for
tens of milliseconds. After so long they sleep."""


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two that are compared.

    Attributes:
        run: the work, once.
        threads: torch's thread count while it runs; None leaves it alone.
        own_clock: ``run`` returns the seconds that count; the rest of it is preparation.
        units: a run is so many of what is compared (updates): times are told for one.
    """

    name: str
    run: Callable[[], object]
    threads: int | None = None
    own_clock: bool = False
    units: int = 1

    def seconds(self, count: int) -> float:
        """Run so often; the seconds it took in all."""
        run = self.run
        if self.own_clock:
            return sum(float(run()) for _ in range(count))  # type: ignore[arg-type, misc]
        begun = time.perf_counter()
        for _ in range(count):
            run()
        return time.perf_counter() - begun


class Yardstick:
    """One ``sgemm`` of 2048^3 at the thread count of the moment, into memory that is there already."""

    def __init__(self, size: int = SIZE) -> None:
        generator = torch.Generator().manual_seed(1)
        self.a, self.b = (torch.randn(size, size, generator=generator) for _ in range(2))
        self.out = torch.empty(size, size)
        self.flops = 2.0 * size**3
        torch.mm(self.a, self.b, out=self.out)

    def __call__(self) -> float:
        """Flops a second, now."""
        begun = time.perf_counter()
        torch.mm(self.a, self.b, out=self.out)
        return self.flops / (time.perf_counter() - begun)


@dataclasses.dataclass(frozen=True)
class Repetition:
    """Seconds of one run, and sgemm's flops a second around it (1 without a yardstick)."""

    seconds: float
    sgemm: float


@dataclasses.dataclass(frozen=True)
class Pairs:
    """The repetitions of both sides; the k-th of one belongs to the k-th of the other."""

    ours: list[Repetition]
    peer: list[Repetition]

    @property
    def ratios(self) -> list[float]:
        """The peer's time over ours, pair by pair, each time in units of its own sgemm."""
        return [p.seconds * p.sgemm / (o.seconds * o.sgemm) for o, p in zip(self.ours, self.peer, strict=True)]

    def ratio(self, bar: Bar | None = None) -> Figure:
        """Median and quartiles of :attr:`ratios`: above 1 we are faster."""
        return figure(self.ratios, "x", bar)

    def share(self, flops: float, bar: Bar | None = None, *, of: str = "ours") -> Figure:
        """The share of sgemm's speed at which a side does ``flops``."""
        return figure([flops / (r.seconds * r.sgemm) for r in getattr(self, of)], "sgemm", bar)

    def more(self, bar: Bar | None = None) -> Figure:
        """By how many per cent our time is above the other's."""
        return figure([100.0 * (1.0 / ratio - 1.0) for ratio in self.ratios], "%", bar)

    def milliseconds(self, of: str = "ours") -> Figure:
        """Plain time of one run."""
        return figure([1e3 * r.seconds for r in getattr(self, of)], "ms")

    def rate(self, units: float, of: str = "ours") -> Figure:
        """``units`` a run, as units a second."""
        return figure([units / r.seconds for r in getattr(self, of)], "/s")

    def sgemm(self) -> Figure:
        """The yardstick's GFLOP/s during this comparison."""
        return figure([r.sgemm / 1e9 for r in (*self.ours, *self.peer)], "GFLOP/s")


def compare(
    ours: Side, peer: Side, *, pairs: int = 9, yardstick: Callable[[], float] | None = None,
    least_seconds: float = LEAST_SECONDS, most_seconds: float | None = None, least_pairs: int = 3, rest: float = 0.0,
) -> Pairs:  # fmt: skip
    """Run both in turn; which goes first changes from pair to pair.

    Check first that they compute the same: see :func:`unrolled.bench.parity.check`.

    Args:
        yardstick: run before the first repetition and after every one.
        least_seconds: cheap work is repeated within a repetition until it lasts so long.
        most_seconds: fewer pairs, down to ``least_pairs``, where ``pairs`` would take longer than this.
        rest: seconds of sleep before every repetition, for peers whose threads go on spinning.
    """
    counts, once = {}, {}
    for side in (ours, peer):
        counts[side.name], once[side.name] = _calibrate(side, least_seconds)
    if most_seconds is not None:
        a_pair = sum(counts[s.name] * once[s.name] for s in (ours, peer))
        pairs = min(pairs, max(least_pairs, int(most_seconds / a_pair)))
    found: dict[str, list[Repetition]] = {ours.name: [], peer.name: []}
    with quiet():
        before = yardstick() if yardstick is not None else 1.0
        for k in range(pairs):
            for side in (ours, peer) if k % 2 == 0 else (peer, ours):
                # The yardstick has cleared the caches, which one more run of anything short would pay for alone.
                seconds = _repeat(side, counts[side.name], warm=once[side.name] < least_seconds, rest=rest)
                after = yardstick() if yardstick is not None else 1.0
                found[side.name].append(Repetition(seconds, (before + after) / 2))
                before = after
    return Pairs(found[ours.name], found[peer.name])


def best_threads(
    side: Side, candidates: Sequence[int], *, least_seconds: float = LEAST_SECONDS, rest: float = 0.0
) -> Side:
    """The side at the thread count that suits it best."""
    tries = [dataclasses.replace(side, threads=n) for n in dict.fromkeys(candidates)]
    return fastest(tries, least_seconds=least_seconds, rest=rest)


def fastest(sides: Sequence[Side], *, least_seconds: float = LEAST_SECONDS, rest: float = 0.0) -> Side:
    """Of several ways to do the same work, the one that is fastest here, by three short tries each, in turn."""
    if len(sides) == 1:
        return sides[0]
    known = [_calibrate(one, least_seconds) for one in sides]
    with quiet():
        times = [
            [_repeat(one, n, warm=once < least_seconds, rest=rest) for one, (n, once) in zip(sides, known, strict=True)]
            for _ in range(3)
        ]
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    return sides[medians.index(min(medians))]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No garbage collection in the middle of a measurement; the thread count as it was, afterwards."""
    threads, collected = torch.get_num_threads(), gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if collected:
            gc.enable()


@contextlib.contextmanager
def _at(threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if threads is not None and threads != before:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def _calibrate(side: Side, least_seconds: float) -> tuple[int, float]:
    """How often to run in a repetition, and the seconds of one run; the first run warms up."""
    with _at(side.threads):
        side.run()
        n = 1
        while True:
            took = side.seconds(n)
            if took >= least_seconds / 2:
                return max(1, round(n * least_seconds / took)), took / n
            n = max(2 * n, int(n * least_seconds / max(took, 1e-7) / 2))


def _repeat(side: Side, count: int, *, warm: bool, rest: float) -> float:
    time.sleep(rest)
    with _at(side.threads):
        if warm:
            side.run()
        return side.seconds(count) / count / side.units

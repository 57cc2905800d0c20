"""How many units in the last place the core's activations are off, against a wider type's."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from unrolled.doctor.kernel import native_module

WHICH = ("exp", "sigmoid", "tanh")
LIMIT = 4.0
"""Units in the last place; each is made of an exponential good to about one, and a division."""
COUNT = 200_000


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """One activation in one number type on one set of instructions.

    Attributes:
        ulp: the largest error in units in the last place, None where no wider type is there to tell.
        at: where it was found. wrong: what a special value gives that it should not, or nothing.
    """

    engine: str
    activation: str
    dtype: str
    ulp: float | None
    at: float
    limit: float
    wrong: str

    @property
    def passed(self) -> bool:
        """Near enough, and right at 0, the infinities and NaN."""
        return not self.wrong and (self.ulp is None or self.ulp <= self.limit)


def measure() -> Iterator[Accuracy]:
    """Every activation, number type and set of instructions of this machine."""
    native = native_module()
    before = native.isa()
    try:
        for isa in native.supported_isas():
            native.set_isa(isa)
            for dtype in ("float32", "float64"):
                for which, name in enumerate(WHICH):
                    yield _measure(f"native {isa}", which, name, dtype)
    finally:
        native.set_isa(before)


def activate(which: int, x: Any) -> Any:
    """An activation of the core, by number, over a NumPy array of float32 or float64."""
    native, y = native_module(), np.empty_like(x)
    run = native.activate32 if x.dtype == np.float32 else native.activate64
    run(which, x.ctypes.data, y.ctypes.data, x.size)
    return y


def inputs(name: str, dtype: str) -> Any:
    """Points close to 0, in the middle and out to where the result leaves the normal numbers; both signs."""
    end = {"float32": 86.0, "float64": 700.0}[dtype] if name == "exp" else {"float32": 30.0, "float64": 60.0}[dtype]
    middle = np.random.default_rng(1).uniform(-end, end, COUNT)
    small = 10.0 ** np.random.default_rng(2).uniform(-30.0, 0.5, COUNT) * np.where(np.arange(COUNT) % 2, 1.0, -1.0)
    return np.concatenate((middle, small, np.linspace(-2.0, 2.0, COUNT))).astype(dtype)


def exact(name: str, x: Any) -> Any:
    """The activation in a wider type: float64 for float32, the machine's long double for float64."""
    wide = x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)
    if name == "exp":
        return np.exp(wide)
    if name == "tanh":
        return np.tanh(wide)
    e = np.exp(-np.abs(wide))
    return np.where(wide >= 0, 1 / (1 + e), e / (1 + e))


def _measure(engine: str, which: int, name: str, dtype: str) -> Accuracy:
    x = inputs(name, dtype)
    wrong = _specials(which, name, dtype)
    if dtype == "float64" and np.finfo(np.longdouble).nmant <= np.finfo(np.float64).nmant:
        return Accuracy(engine, name, dtype, None, math.nan, LIMIT, wrong)
    right = exact(name, x)
    normal = np.abs(right) >= np.finfo(dtype).tiny  # what lies below is flushed to zero in the kernels
    place = np.spacing(np.abs(right[normal]).astype(dtype)).astype(right.dtype)
    ulp = np.abs(activate(which, x)[normal].astype(right.dtype) - right[normal]) / place
    ulp = np.where(np.isnan(ulp), np.inf, ulp)
    k = int(ulp.argmax())
    return Accuracy(engine, name, dtype, float(ulp[k]), float(x[normal][k]), LIMIT, wrong)


def _specials(which: int, name: str, dtype: str) -> str:
    """Zeros, infinities and NaN; beyond the ends of exp the type's largest and smallest numbers will do."""
    x = np.array([0.0, -0.0, math.inf, -math.inf, math.nan], dtype)
    zero, _, up, down, nan = activate(which, x).tolist()
    tiny, huge = {"float32": (1e-37, 1e37), "float64": (1e-300, 1e300)}[dtype]
    at_zero, ends = {"exp": (1.0, up >= huge and down <= tiny), "sigmoid": (0.5, up == 1.0 and 0 <= down <= tiny),
                     "tanh": (0.0, up == 1.0 and down == -1.0)}[name]  # fmt: skip
    if zero != at_zero:
        return f"{name}(0) = {zero!r}"
    if not ends:
        return f"{name}(inf) = {up!r}, {name}(-inf) = {down!r}"
    return "" if math.isnan(nan) else f"{name}(nan) = {nan!r}"

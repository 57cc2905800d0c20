"""What runs a cell over time: ``native`` (our compiled core), ``aten`` (torch's kernels), ``reference`` (the
specification)."""

from __future__ import annotations

from typing import Any

from unrolled.engines.call import Call, Trace
from unrolled.engines.select import ENGINES, Explanation, Request, choose, pick, refusal, transformed, values_visible
from unrolled.engines.spying import record, spy


def explain(layer: Any, input: Any, hx: Any = None, **call: Any) -> Explanation:
    """Which engine a call of ``layer`` (or a cell) with these arguments runs on, and why; nothing is computed.

    ``print(unrolled.explain(layer, x, resets=mask))``.

    Raises:
        TypeError: ``layer`` is not one of ours.
    """
    if not hasattr(layer, "explain"):
        raise TypeError(f"explain: {type(layer).__name__} is not a layer or cell of unrolled, so it chooses no engine")
    found: Explanation = layer.explain(input, hx, **call)
    return found


__all__ = [
    "ENGINES", "Call", "Explanation", "Request", "Trace", "choose", "explain", "pick", "record", "refusal",
    "spy", "transformed", "values_visible",
]  # fmt: skip

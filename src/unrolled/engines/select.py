"""Which engine runs a call, and why: :func:`choose`, and the table of what each engine takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from unrolled.engines import aten, native

ENGINES = ("native", "aten", "reference")
"""In the order in which ``engine="auto"`` asks them."""


class Request(NamedTuple):
    """What a call needs of an engine; everything a choice may depend on."""

    cell: str
    proj_size: bool = False
    layer_norm: bool = False
    recurrent_dropout: bool = False
    zoneout: bool = False
    lengths: bool = False
    resets: bool = False
    trace: bool = False
    tokens: bool = False
    embedding: bool = False
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    autocast: bool = False
    transformed: bool = False
    """Inside ``torch.func`` or forward-mode differentiation."""
    compiled: bool = False
    """Being traced by ``torch.compile`` or ``torch.export``."""
    onnx: bool = False
    """Being traced for ONNX."""


OPTIONS = {
    "proj_size": "proj_size",
    "layer_norm": "layer_norm",
    "recurrent_dropout": "recurrent_dropout",
    "zoneout": "zoneout",
    "lengths": "lengths=",
    "resets": "resets=",
    "trace": "trace=True",
    "tokens": "integer input (one-hot as a lookup)",
    "embedding": "embedding= (ids looked up first)",
    "autocast": "autocast",
    "transformed": "torch.func and forward mode",
    "compiled": "torch.compile and torch.export",
    "onnx": "torch.onnx.export(dynamo=False)",
}
"""Fields of :class:`Request` that are options, with the words for them."""


def native_missing() -> str | None:
    """Why the native engine is not there, or None if it is."""
    return native.missing()


def native_refusal(request: Request) -> str | None:
    """Why the compiled core, where there is one, does not take ``request``; None if it does."""
    if request.cell not in native.CODES:
        return f"the compiled core has no kernel for the {request.cell} cell"
    if request.device != "cpu":
        return f"the compiled core runs on a CPU, not on {request.device}"
    if request.dtype not in native.DTYPES:
        return f"the compiled core computes in float32 and float64, not in {str(request.dtype).removeprefix('torch.')}"
    if request.autocast:
        return "autocast reaches torch's own operators alone"
    if request.onnx:
        return "ONNX knows torch's own operators alone"
    return f"the compiled core does not take {OPTIONS['transformed']}" if request.transformed else None


def refusal(engine: str, request: Request) -> str | None:
    """Why ``engine`` does not take ``request``; None if it does."""
    if engine == "native":
        return native_missing() or native_refusal(request)
    if engine == "reference":
        return None
    if request.cell not in aten.CELLS:
        return f"torch has no kernel for the {request.cell} cell"
    if request.compiled:
        return "torch's kernels do not go through torch.compile"
    for name in ("layer_norm", "recurrent_dropout", "zoneout", "resets", "trace", "tokens", "transformed"):
        if getattr(request, name):
            return f"torch's kernels do not take {OPTIONS[name]}"
    return None


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The engine that runs a call, and what each of the others said."""

    engine: str
    asked: str
    reasons: dict[str, str]

    def __str__(self) -> str:
        lines = [f"engine: {self.engine} (asked for: {self.asked})"]
        return "\n".join(lines + [f"  {name:<10} {reason}" for name, reason in self.reasons.items()])


def choose(asked: str, request: Request) -> Explanation:
    """Pick an engine.

    Raises:
        ValueError: an unknown engine, or one asked for by name that cannot run the call. Nothing falls back in silence.
    """
    if asked != "auto" and asked not in ENGINES:
        raise ValueError(f"engine={asked!r}: not one of auto, {', '.join(ENGINES)}")
    if asked != "auto":
        why = refusal(asked, request)
        if why is not None:
            raise ValueError(f"engine={asked!r} cannot run this call: {why}; use engine='auto'")
        return Explanation(asked, asked, {asked: "asked for by name"})
    reasons: dict[str, str] = {}
    for engine in ENGINES:
        why = refusal(engine, request)
        reasons[engine] = f"no: {why}" if why else "runs this call"
        if why is None:
            return Explanation(engine, asked, reasons)
    raise AssertionError("the reference engine takes every call")


_PICKED: dict[tuple[str, Request], str] = {}


def pick(asked: str, cell: str, like: Tensor, describe: Callable[[], Request]) -> str:
    """The engine of :func:`choose` alone, for the call itself, where microseconds count: the call of ``cell`` with
    weights like ``like`` is described only where an option of it matters, and what was chosen is remembered."""
    if native_at_once(asked, cell, like):
        return "native"
    request = describe()
    if request.compiled:  # what is traced must not depend on what was called before
        return choose(asked, request).engine
    engine = _PICKED.get((asked, request))
    if engine is None:
        engine = _PICKED[asked, request] = choose(asked, request).engine
    return engine


def native_at_once(asked: str, cell: str, like: Tensor) -> bool:
    """Whether :func:`choose` says native of any call of ``cell`` with weights like ``like``, whatever its options: to
    describe a whole call takes as long as the smallest kernel."""
    return (
        (asked == "auto" or asked == "native")
        and cell in native.CODES
        and like.is_cpu
        and like.dtype in native.DTYPES
        and native.missing() is None
        and not torch.is_autocast_enabled("cpu")
        and not transformed()
        and not exporting_onnx()
    )


def transformed() -> bool:
    """Whether we stand inside ``torch.func`` or forward-mode differentiation.

    It must be seen before a fused kernel is entered: inside it is too late.
    """
    if torch._C._are_functorch_transforms_active():
        return True
    return bool(torch.autograd.forward_ad._current_level >= 0)


def exporting_onnx() -> bool:
    """Whether a call is being traced for ONNX, which has no operators of ours."""
    if torch.compiler.is_compiling():
        return False
    return bool(torch._C._is_tracing() and torch.onnx.is_in_onnx_export())


def autocasting(device: str) -> bool:
    """Whether autocast is on for this kind of device; meta, and others that know no autocast, are never under it."""
    if device != "cpu" and not torch.amp.is_autocast_available(device):
        return False
    return torch.is_autocast_enabled(device)


def values_visible() -> bool:
    """Whether a check may look at the values of a tensor: not while compiling, and not under ``vmap``."""
    return not (torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active())

"""Every kernel against the reference engine, on this machine: each cell, forward and backward, option by option.

The reference computes in float64, for the float32 kernels too. A difference is told as a share of the largest
element of the tensor it stands in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from unrolled.cells import Cell, GRUCell, LSTMCell, RNNCell
from unrolled.doctor.kernel import KernelCall, native_module, widened, zoned
from unrolled.engines import Call, reference
from unrolled.engines.masks import draw_seed, dropout_mask

LIMITS = {torch.float32: 2e-5, torch.float64: 1e-11}
"""Sums of some hundred terms in another order; a wrong gate is a thousand times as far off."""
SHAPES = ((7, 5, 9, 19), (6, 37, 48, 96), (3, 37, 136, 200))
"""T, B, I, H: one that fills no vector, one that fills the blocks of the product and leaves a rest, one whose products
all go over tiles where the processor has them."""
CELLS = ("rnn-tanh", "rnn-relu", "rnn-identity", "lstm", "gru", "gru-reset-before")
OPTIONS = ("plain", "ids", "lengths", "resets", "reverse", "recurrent dropout", "zoneout", "zoneout, evaluation",
           "layer norm", "projection", "no bias", "all at once")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Finding:
    """One cell and number type on one set of instructions, over all options and shapes.

    Attributes:
        distance: the largest difference found, as a share. where: the option and the tensor it was found in.
    """

    engine: str
    cell: str
    dtype: str
    distance: float
    limit: float
    where: str
    tests: int

    @property
    def passed(self) -> bool:
        """Whether every result was near enough (a NaN is not)."""
        return self.distance <= self.limit


def make_cell(name: str, I: int, H: int, **options: Any) -> Cell:
    """A cell by its name."""
    if name.startswith("rnn"):
        return RNNCell(I, H, nonlinearity=name.removeprefix("rnn-"), **options)
    if name == "lstm":
        return LSTMCell(I, H, **options)
    return GRUCell(I, H, reset_after=name == "gru", **options)


def make_call(name: str, option: str, shape: tuple[int, int, int, int], dtype: torch.dtype) -> Call | None:
    """A seeded call; None where the cell has no such option."""
    T, B, I, H = shape
    every = option == "all at once"
    norm = (every or option == "layer norm") and name != "gru-reset-before"
    if (option == "layer norm" and not norm) or (option == "projection" and name != "lstm"):
        return None
    proj = H // 2 + 1 if name == "lstm" and (every or option == "projection") else 0
    cell = make_cell(name, I, H, bias=option != "no bias", proj_size=proj, layer_norm=norm)
    generator = torch.Generator().manual_seed(3)

    def draw(*size: int, scale: float = 1.0) -> Tensor:
        return (scale * torch.randn(size, generator=generator, dtype=torch.float64)).to(dtype)

    w = {p.name: draw(*p.shape, scale=0.7 / H**0.5) + (1.0 if p.name.startswith("gain") else 0.0)
         for p in cell.parameters()}  # fmt: skip
    call = Call(cell, w, draw(T, B, I), tuple(draw(B, n, scale=0.5) for n in cell.state_sizes()))
    more: dict[str, Any] = {}
    if option == "ids":
        more["x"] = torch.randint(0, I, (T, B), generator=generator)
    if every or option == "lengths":
        more["lengths"] = torch.randint(0, T + 1, (B,), generator=generator)
    if every or option == "resets":
        more["resets"] = torch.rand(T, B, generator=generator) < 0.2
    if option == "reverse":
        more["reverse"] = True
    if every or option == "recurrent dropout":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            more["mask"] = dropout_mask(0.3, draw_seed(), 1 << 24, B, cell.output_size, draw(1))
    if every or option.startswith("zoneout"):
        more["zoneout"] = (0.3, 0.2)[: len(cell.states)]
        if option != "zoneout, evaluation":
            more["zoned"] = zoned(more["zoneout"], T, B, cell.state_sizes())
    return dataclasses.replace(call, **more)


def expected(call: Call, d_output: Tensor, d_state: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """What the reference engine finds, by the names of :meth:`KernelCall.results`."""
    output, state, tape = reference.unroll(call)
    grads = reference.backward(tape, d_output, d_state, per_step=True)
    found = {"output": output, "d_h": grads.d_h, "d_gates": grads.d_gates, "dx": grads.x}
    for k, name in enumerate(call.cell.states):
        found |= {f"{name}_n": state[k], f"d_{name}0": grads.state[k]}
    found |= {f"d_{name}": g for name, g in grads.weights.items()}
    return {name: t for name, t in found.items() if t is not None}


def distance(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> tuple[float, str]:
    """The largest difference as a share of the tensor's largest element, and the tensor; NaN counts as infinite."""
    worst, where = 0.0, ""
    for name, theirs in wanted.items():
        scale = max(float(theirs.abs().max()), 1e-3)
        here = float((found[name].double() - theirs).abs().max()) / scale
        here = here if here == here else float("inf")
        if here >= worst:
            worst, where = here, name
    return worst, where


def examples(dtype: torch.dtype, name: str) -> Iterator[tuple[str, Call, Tensor, tuple[Tensor, ...]]]:
    """Every option and shape of one cell: what it is called, the call, and the gradients that come in."""
    for option in OPTIONS:
        for shape in SHAPES:
            call = make_call(name, option, shape, dtype)
            if call is None:
                continue
            T, B = call.x.shape[:2]
            generator = torch.Generator().manual_seed(5)
            d_output = torch.randn(T, B, call.cell.output_size, generator=generator, dtype=dtype)
            d_state = tuple(torch.randn(s.shape, generator=generator, dtype=dtype) for s in call.state)
            yield option, call, d_output, d_state


def kernels(threads: int = 2) -> Iterator[Finding]:
    """The compiled core's kernels on every set of instructions that this machine has; the chosen one is left as it was.

    Args:
        threads: of a kernel; results do not depend on it.
    """
    native = native_module()
    before = native.isa()
    try:
        for dtype in (torch.float32, torch.float64):
            for name in CELLS:
                tests = [(option, call, d, ds, expected(widened(call), d.double(), tuple(s.double() for s in ds)))
                         for option, call, d, ds in examples(dtype, name)]  # fmt: skip
                for isa in native.supported_isas():
                    native.set_isa(isa)
                    yield _tested(f"native {isa}", name, dtype, tests, threads)
    finally:
        native.set_isa(before)


def _tested(engine: str, name: str, dtype: torch.dtype, tests: list[Any], threads: int) -> Finding:
    worst, where = 0.0, "everywhere"
    for option, call, d_output, d_state, wanted in tests:
        kernel = KernelCall(call, d_output, d_state, threads=threads, per_step=True)
        kernel.run()
        here, tensor = distance(kernel.results(), wanted)
        if here >= worst:
            worst, where = here, f"{option}: {tensor}"
    return Finding(engine, name, str(dtype).removeprefix("torch."), worst, LIMITS[dtype], where, len(tests))


def torch_kernels() -> Iterator[Finding]:
    """torch's own kernels, as the engine ``aten`` calls them: what an installation without the core runs on."""
    from unrolled.engines import aten

    for dtype in (torch.float32, torch.float64):
        for name in aten.CELLS:
            worst, where, tests = 0.0, "", 0
            for option, call, d_output, d_state in examples(dtype, name):
                if option not in ("plain", "no bias"):
                    continue
                x, *rest = (t.clone().requires_grad_() for t in (call.x, *call.state, *call.w.values()))
                state, w = rest[: len(call.state)], rest[len(call.state) :]
                output, last = aten.run_stack(
                    name, x, tuple(s[None] for s in state), w, bias=call.cell.bias, num_layers=1, dropout=0.0,
                    training=True, bidirectional=False,
                )  # fmt: skip
                torch.autograd.backward((output, *last), (d_output, *(d[None] for d in d_state)))
                wanted = expected(widened(call), d_output.double(), tuple(d.double() for d in d_state))
                found = {"output": output.detach(), "dx": _grad(x)}
                found |= {f"d_{n}": _grad(t) for n, t in zip(call.w, w, strict=True)}
                here, tensor = distance(found, {k: wanted[k] for k in found})
                tests += 1
                if here >= worst:
                    worst, where = here, f"{option}: {tensor}"
            yield Finding("aten", name, str(dtype).removeprefix("torch."), worst, LIMITS[dtype], where, tests)


def _grad(t: Tensor) -> Tensor:
    assert t.grad is not None
    return t.grad

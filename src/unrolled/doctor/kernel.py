"""One layer in one direction straight through the compiled core, no autograd and no layer between: what is tested here,
and what ``unrolled bench tiny`` calls the engine's own call."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from unrolled.engines import Call
from unrolled.engines.masks import ZONEOUT, hits, stream

CODES = ("rnn-tanh", "rnn-relu", "rnn-identity", "lstm", "gru", "gru-reset-before")
"""The cells in the core's own numbering."""
_PLACES = {
    "weight_ih": "w_ih", "weight_hh": "w_hh", "bias_ih": "b_ih", "bias_hh": "b_hh", "weight_hr": "w_hr",
    "gain_ih": "gain_ih", "gain_hh": "gain_hh", "gain_c": "gain_c", "shift_c": "shift_c",
}  # fmt: skip
SEED = 20_151_221


def native_module() -> Any:
    """The compiled core; only where :func:`unrolled.engines.select.native_missing` is None."""
    import importlib

    return importlib.import_module("unrolled._native")


def zoned(p: tuple[float, ...], T: int, B: int, sizes: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Zoneout's masks as :class:`KernelCall` draws them: from :data:`SEED`, layer 0, forward."""
    seed = torch.tensor(SEED)
    return tuple(hits(q, seed, stream(ZONEOUT, 0, 0, j), T, B, n, torch.device("cpu"))
                 for j, (q, n) in enumerate(zip(p, sizes, strict=True)))  # fmt: skip


class KernelCall:
    """A call with all its memory, made once and run as often as one likes.

    Args:
        call: what the reference engine takes too; every tensor dense, in float32 or float64 on the CPU. Where it has
            ``zoned`` masks they are those of :func:`zoned`, which the core draws itself.
        d_output: (T, B, R). d_state: the gradient of the last states.
        per_step: also fill ``d_h`` (T, B, R) and ``d_gates`` (T, B, G*H).

    Attributes:
        output: (T, B, R). state: the last states. dx: (T, B, I), None for ids. d_state: of the initial states.
        d_weights: by the parameter's name.
    """

    def __init__(
        self, call: Call, d_output: Tensor, d_state: tuple[Tensor, ...], *, threads: int = 1, per_step: bool = False
    ) -> None:  # fmt: skip
        self.call, self.threads, dtype = call, threads, d_output.dtype
        cell, x = call.cell, call.x
        T, B, H, R = x.shape[0], x.shape[1], cell.hidden_size, cell.output_size
        G, has_c, rate = len(cell.gates), "c" in cell.states, any(call.zoneout)

        def made(wanted: object, *shape: int) -> Tensor | None:
            return torch.zeros(shape, dtype=dtype) if wanted else None

        taped = 4 if cell.name in ("lstm", "gru") else G
        self.output = torch.zeros(T, B, R, dtype=dtype)
        self.state = tuple(torch.zeros_like(s) for s in call.state)
        self.dx = torch.zeros_like(x) if x.is_floating_point() else None
        self.d_initial = tuple(torch.zeros_like(s) for s in call.state)
        self.d_weights = {name: torch.zeros_like(w) for name, w in call.w.items()}
        self.d_h, self.d_gates = made(per_step, T, B, R), made(per_step, T, B, cell.rows)
        tape = {
            "gates": made(G, T, B, taped * H),
            "cells": made(has_c or (rate and not G), T, B, H),
            "norms": made(cell.layer_norm, T, B, 2 * cell.rows + 4),
        }
        tensors: dict[str, Tensor | None] = {
            "x" if self.dx is not None else "ids": x, "lengths": call.lengths, "mask": call.mask,
            "resets": None if call.resets is None else call.resets.to(torch.uint8), "output": self.output, **tape,
            "d_output": d_output, "dx": self.dx, "d_h": self.d_h, "d_gates": self.d_gates,
            **{_PLACES[name]: w for name, w in call.w.items()},
            **{f"d_{_PLACES[name]}": w for name, w in self.d_weights.items()},
        }  # fmt: skip
        for name, given in {"{}0": call.state, "{}_n": self.state, "d_{}0": self.d_initial, "d_{}_n": d_state}.items():
            tensors |= {name.format(s): t for s, t in zip(cell.states, given, strict=True)}
        # The core holds addresses: what they point at must live as long as this object.
        self._alive = {name: t for name, t in tensors.items() if t is not None}
        numbers = {
            "cell": CODES.index(cell.name), "T": T, "B": B, "I": cell.input_size, "H": H, "P": cell.proj_size,
            "reverse": int(call.reverse), "layer_norm": int(cell.layer_norm), "out_step": B * R, "out_row": R,
            "d_out_step": B * R, "d_out_row": R,
        }  # fmt: skip
        for name in ("x", "dx") if self.dx is not None else ("ids",):
            width = cell.input_size if self.dx is not None else 1
            numbers |= {f"{name}_step": B * width, f"{name}_row": width}
        numbers |= {name: t.data_ptr() for name, t in self._alive.items()}
        native = native_module()
        self._native: Any = native.Call32() if dtype is torch.float32 else native.Call64()
        self._native.set([numbers.get(name, 0) for name in self._native.fields])
        for j, p in enumerate(call.zoneout):
            self._native.set_zoneout(j, p, bool(call.zoned), SEED, stream(ZONEOUT, 0, 0, j))

    def run(self) -> None:
        """Forward and backward."""
        self._native.forward(self.threads)
        self._native.backward(self.threads)

    def results(self) -> dict[str, Tensor]:
        """Everything :meth:`run` has filled, by name."""
        found = {"output": self.output}
        for name, tensors in {"{}_n": self.state, "d_{}0": self.d_initial}.items():
            found |= {name.format(s): t for s, t in zip(self.call.cell.states, tensors, strict=True)}
        found |= {f"d_{name}": w for name, w in self.d_weights.items()}
        per_call = {"dx": self.dx, "d_h": self.d_h, "d_gates": self.d_gates}
        return found | {name: t for name, t in per_call.items() if t is not None}


def widened(call: Call) -> Call:
    """The same call in float64: what a float32 kernel is held against."""

    def wide(t: Tensor) -> Tensor:
        return t.double() if t.is_floating_point() else t

    return dataclasses.replace(
        call, w={n: wide(w) for n, w in call.w.items()}, x=wide(call.x), state=tuple(map(wide, call.state)),
        mask=None if call.mask is None else wide(call.mask),
    )  # fmt: skip

"""One step as a module: drop-in ``torch.nn.RNNCell``, ``LSTMCell`` and ``GRUCell``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unrolled import cells
from unrolled.cells import check_init
from unrolled.engines import aten, native, reference
from unrolled.engines.select import Explanation, Request, autocasting, choose, exporting_onnx, pick, transformed
from unrolled.layers.border import as_input, as_state, check_dtype, check_ids, check_state
from unrolled.layers.weights import reinitialise
from unrolled.shapes import ShapeError, expect

_EXTRAS = """
    Keyword-only extras: ``layer_norm``, ``init``, ``t_max``, ``engine``, and for the LSTM ``forget_bias``, as the
    layers have them. Recurrent dropout and zoneout belong to a sequence (one mask for all its steps): they are on the
    layers.
"""


class _RecurrentCell(nn.RNNCellBase):
    def __init__(
        self,
        cell: cells.Cell,
        input_size: int,
        hidden_size: int,
        bias: bool,
        device: Any,
        dtype: Any,
        *,
        layer_norm: bool = False,
        init: str = "torch",
        t_max: int | None = None,
        forget_bias: float | None = None,
        engine: str = "auto",
    ) -> None:
        if input_size <= 0 or hidden_size <= 0:
            raise ValueError(f"input_size={input_size}, hidden_size={hidden_size}: both must be at least 1")
        check_init(cell, init, forget_bias, t_max)
        self._cell, self.layer_norm, self.engine = cell, layer_norm, engine
        self._net = native.Net([cell], 1)
        self.init, self.t_max, self.forget_bias = init, t_max, forget_bias
        self._names = [(p.name, p.name) for p in cell.parameters()]
        choose(engine, Request(cell.name, layer_norm=layer_norm))
        self._constructed = False  # RNNCellBase calls reset_parameters before the extras exist
        super().__init__(input_size, hidden_size, bias, max(1, len(cell.gates)), device, dtype)
        for parameter in cell.parameters():
            if parameter.name.startswith(("gain", "shift")):  # torch's own are there already
                self.register_parameter(parameter.name, nn.Parameter(self.weight_ih.new_empty(parameter.shape)))
        self._constructed = True
        self.reset_parameters()

    def _weights(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name, _ in self._names}

    def reset_parameters(self) -> None:
        """Initialise every parameter again, by ``init``; see :meth:`Recurrent.reset_parameters`."""
        if self._constructed:
            reinitialise(self, self._cell, self._names, self.init, self.forget_bias, self.t_max)

    @property
    def mode(self) -> str:
        """torch's name for the kind of state: ``LSTM`` has (h, c)."""
        return "LSTM" if "c" in self._cell.states else "RNN"

    def _request(self, x: Tensor) -> Request:
        return Request(
            self._cell.name, layer_norm=self.layer_norm, tokens=not x.is_floating_point(), device=x.device.type,
            dtype=self.weight_ih.dtype, autocast=autocasting(x.device.type), transformed=transformed(),
            compiled=torch.compiler.is_compiling(), onnx=exporting_onnx(),
        )  # fmt: skip

    def explain(self, input: Any, hx: Any = None) -> Explanation:
        """Which engine a call with these arguments runs on, and why; nothing is computed."""
        return choose(self.engine, self._request(self._enter(input, hx)[0]))

    def _enter(self, input: Any, hx: Any) -> tuple[Tensor, tuple[Tensor, ...], bool]:
        """Check and bring to (B, ...): the input, the states, and whether the input was batched."""
        input = as_input(input, "a Tensor")
        tokens = not input.is_floating_point()
        dims = 1 if tokens else 2
        if input.dim() not in (dims - 1, dims):
            words = "ids (B,) or ()" if tokens else "(B, I) or (I,)"
            raise ShapeError(f"input has {input.dim()} dimensions, expected {words}")
        if not tokens and input.shape[-1] != self.input_size:
            raise ShapeError(f"input has shape {tuple(input.shape)}, expected a last dimension of {self.input_size}")
        if tokens:
            check_ids(input, self.input_size)
        check_dtype(input, self.weight_ih)
        batched = input.dim() == dims
        x = input if batched else input.unsqueeze(0)
        sizes = self._cell.state_sizes()
        if hx is None:
            like = self.weight_ih if tokens else x
            return x, tuple(like.new_zeros(x.shape[0], N) for N in sizes), batched
        state = as_state(hx, len(sizes))
        for name, s, N in zip(self._cell.states, state, sizes, strict=True):
            if batched:
                expect(f"hx ({name})", tuple(s.shape), (x.shape[0], N), "(B, H)")
            else:
                expect(f"hx ({name})", tuple(s.shape), (N,), "(H,), as the input is unbatched")
            check_state(name, s, x, self.weight_ih)
        return x, state if batched else tuple(s.unsqueeze(0) for s in state), batched

    def _step(self, input: Any, hx: Any) -> tuple[Tensor, ...]:
        x, state, batched = self._enter(input, hx)
        engine = pick(self.engine, self._cell.name, self.weight_ih, lambda: self._request(x))
        if engine == "native":
            new = native.run_step(self._net, x, state, list(self._weights().values()))
        elif engine == "aten":
            weights: list[Any] = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
            new = aten.run_step(self._cell.name, x, state, weights)
        else:
            new = reference.run_step(self._cell, x, state, self._weights())
        return new if batched else tuple(s.squeeze(0) for s in new)


class RNNCell(_RecurrentCell):
    """A drop-in ``torch.nn.RNNCell``: one step of :class:`unrolled.cells.RNNCell`, ``(B, I), (B, H) -> (B, H)``."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", device: Any = None,
        dtype: Any = None, **extras: Any,
    ) -> None:  # fmt: skip
        if nonlinearity not in cells.NONLINEARITIES:
            raise ValueError(f"nonlinearity={nonlinearity!r}: not one of {', '.join(cells.NONLINEARITIES)}")
        self.nonlinearity = nonlinearity
        cell = cells.RNNCell(
            input_size, hidden_size, nonlinearity=nonlinearity, bias=bias, layer_norm=extras.get("layer_norm", False)
        )
        super().__init__(cell, input_size, hidden_size, bias, device, dtype, **extras)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """One step; ``hx`` None is zeros, integer input is ids."""
        return self._step(input, hx)[0]


class LSTMCell(_RecurrentCell):
    """A drop-in ``torch.nn.LSTMCell``: one step of :class:`unrolled.cells.LSTMCell`, ``(B, I), (h, c) -> (h, c)``."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None, **extras: Any
    ) -> None:
        cell = cells.LSTMCell(input_size, hidden_size, bias=bias, layer_norm=extras.get("layer_norm", False))
        super().__init__(cell, input_size, hidden_size, bias, device, dtype, **extras)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """One step; ``hx`` None is zeros, integer input is ids."""
        h, c = self._step(input, None if hx is None else tuple(hx))
        return h, c


class GRUCell(_RecurrentCell):
    """A drop-in ``torch.nn.GRUCell``: one step of :class:`unrolled.cells.GRUCell`, ``(B, I), (B, H) -> (B, H)``."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None, *,
        reset_after: bool = True, **extras: Any,
    ) -> None:  # fmt: skip
        cell = cells.GRUCell(
            input_size, hidden_size, reset_after=reset_after, bias=bias, layer_norm=extras.get("layer_norm", False)
        )
        super().__init__(cell, input_size, hidden_size, bias, device, dtype, **extras)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """One step; ``hx`` None is zeros, integer input is ids."""
        return self._step(input, hx)[0]


for _cell in (RNNCell, LSTMCell, GRUCell):
    _cell.__doc__ = (_cell.__doc__ or "") + _EXTRAS

"""One step as a module: drop-in ``torch.nn.RNNCell``, ``LSTMCell`` and ``GRUCell``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unrolled import cells
from unrolled.cells import check_init, initialise
from unrolled.engines import Request, choose, record, transformed
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
        t_max: int = 256,
        forget_bias: float | None = None,
        engine: str = "auto",
    ) -> None:
        if input_size <= 0 or hidden_size <= 0:
            raise ValueError(f"input_size={input_size}, hidden_size={hidden_size}: both must be at least 1")
        check_init(cell, init, forget_bias)
        self._cell, self.layer_norm, self.engine = cell, layer_norm, engine
        self.init, self.t_max, self.forget_bias = init, t_max, forget_bias
        choose(engine, self._request(False))
        self._constructed = False  # RNNCellBase calls reset_parameters before the extras exist
        super().__init__(input_size, hidden_size, bias, max(1, len(cell.gates)), device, dtype)
        for parameter in cell.parameters():
            if parameter.name.startswith(("gain", "shift")):  # torch's own are there already
                self.register_parameter(parameter.name, nn.Parameter(self.weight_ih.new_empty(parameter.shape)))
        self._constructed = True
        self.reset_parameters()

    def _weights(self) -> dict[str, Tensor]:
        return {p.name: getattr(self, p.name) for p in self._cell.parameters()}

    def reset_parameters(self) -> None:
        """Initialise every parameter again, by ``init``."""
        if self._constructed:
            initialise(self._cell, self._weights(), self.init, self.forget_bias, self.t_max)

    def _request(self, tokens: bool) -> Request:
        return Request(self._cell.name, layer_norm=self.layer_norm, tokens=tokens, transformed=transformed())

    def _step(self, input: Tensor, state: tuple[Tensor, ...] | None) -> tuple[Tensor, ...]:
        """Check, bring to (B, ...), step, and give back in the caller's layout."""
        tokens = not input.is_floating_point()
        dims = 1 if tokens else 2
        if input.dim() not in (dims - 1, dims):
            words = "ids (B,) or ()" if tokens else "(B, I) or (I,)"
            raise ShapeError(f"input has {input.dim()} dimensions, expected {words}")
        if not tokens and input.shape[-1] != self.input_size:
            raise ShapeError(f"input has shape {tuple(input.shape)}, expected a last dimension of {self.input_size}")
        batched = input.dim() == dims
        x = input if batched else input.unsqueeze(0)
        if state is None:
            like = self.weight_ih if tokens else x
            state = tuple(like.new_zeros(x.shape[0], N) for N in self._cell.state_sizes())
        elif not batched:
            state = tuple(s.unsqueeze(0) for s in state)
        for name, s, N in zip(self._cell.states, state, self._cell.state_sizes(), strict=True):
            expect(f"hx ({name})", tuple(s.shape), (x.shape[0], N), "(B, H)")
        engine = choose(self.engine, self._request(tokens)).engine
        if not torch.compiler.is_compiling():
            record(engine)
        new = self._fused(x, state) if engine == "aten" else self._by_cell(x, state)
        return new if batched else tuple(s.squeeze(0) for s in new)

    def _by_cell(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        w = self._weights()
        return self._cell.step(self._cell.project(x, w), state, w)[0]

    def _fused(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def _flat(self) -> tuple[Any, ...]:
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh


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
        return self._step(input, None if hx is None else (hx,))[0]

    def _fused(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        step = torch._VF.rnn_tanh_cell if self.nonlinearity == "tanh" else torch._VF.rnn_relu_cell
        return (step(x, state[0], *self._flat()),)


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

    def _fused(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        new: tuple[Tensor, ...] = torch._VF.lstm_cell(x, state, *self._flat())
        return new


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
        return self._step(input, None if hx is None else (hx,))[0]

    def _fused(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (torch._VF.gru_cell(x, state[0], *self._flat()),)


for _cell in (RNNCell, LSTMCell, GRUCell):
    _cell.__doc__ = (_cell.__doc__ or "") + _EXTRAS

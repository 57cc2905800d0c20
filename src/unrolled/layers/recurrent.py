"""What RNN, LSTM and GRU share: construction, the choice of an engine, and layers and directions over it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from unrolled.cells import Cell, check_init, initialise
from unrolled.engines import Call, Explanation, Request, Trace, aten, choose, masks, record, reference, transformed
from unrolled.layers.border import Entry, enter, leave

EXTRAS = ("forget_bias", "layer_norm", "recurrent_dropout", "zoneout", "init", "t_max", "engine")


class Recurrent(nn.RNNBase):
    """A recurrent layer: torch.nn's constructor, call and state_dict, with keyword-only extras.

    It derives from ``torch.nn.RNNBase``, and on purpose not from ``torch.nn.LSTM`` and its siblings, at which
    ``torch.compile`` breaks the graph.
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float | None = None,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float | tuple[float, float] = 0.0,
        init: str = "torch",
        t_max: int = 256,
        engine: str = "auto",
        **options: Any,
    ) -> None:
        self._constructed = False  # RNNBase calls reset_parameters before the extras exist
        super().__init__(mode, input_size, hidden_size, **options)
        self.forget_bias, self.layer_norm, self.init, self.t_max = forget_bias, layer_norm, init, t_max
        self.recurrent_dropout = _rate("recurrent_dropout", recurrent_dropout)
        self.engine = engine
        cell = self._cell(0)
        check_init(cell, init, forget_bias)
        self.zoneout = _zoneout(zoneout, cell)
        choose(engine, self._request())
        for k in range(self._rows):
            for p in self._cell(k).parameters():
                if p.name.startswith(("gain", "shift")):  # torch's own are there already
                    like: Any = self.weight_ih_l0
                    self.register_parameter(self._parameter_name(p.name, k), nn.Parameter(like.new_empty(p.shape)))
        self._constructed = True
        self.reset_parameters()

    # -- parameters --------------------------------------------------------------------------------------------

    def _make_cell(self, input_size: int, **options: Any) -> Cell:
        raise NotImplementedError

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _rows(self) -> int:
        """L*D: layers times directions, in torch's order, direction fastest."""
        return self.num_layers * self._directions

    def _cell(self, k: int) -> Cell:
        """The cell of row ``k``."""
        R = self.proj_size or self.hidden_size
        input_size = self.input_size if k < self._directions else R * self._directions
        return self._make_cell(input_size, bias=self.bias, proj_size=self.proj_size, layer_norm=self.layer_norm)

    def _parameter_name(self, name: str, k: int) -> str:
        return f"{name}_l{k // self._directions}" + ("_reverse" if k % self._directions else "")

    def _weights(self, k: int) -> dict[str, Tensor]:
        """Row ``k``'s parameters by name, read anew at every forward: parametrisations and functional_call count."""
        return {p.name: getattr(self, self._parameter_name(p.name, k)) for p in self._cell(k).parameters()}

    def reset_parameters(self) -> None:
        """Initialise every parameter again, by ``init``."""
        if not self._constructed:
            return
        for k in range(self._rows):
            initialise(self._cell(k), self._weights(k), self.init, self.forget_bias, self.t_max)

    # -- the choice of an engine -------------------------------------------------------------------------------

    def _request(self, entry: Entry | None = None, trace: bool = False) -> Request:
        return Request(
            cell=self._cell(0).name,
            proj_size=self.proj_size > 0,
            layer_norm=self.layer_norm,
            recurrent_dropout=self.recurrent_dropout > 0 and self.training,
            zoneout=any(self.zoneout),
            lengths=entry is not None and entry.lengths is not None,
            resets=entry is not None and entry.resets is not None,
            trace=trace,
            tokens=entry is not None and entry.tokens,
            transformed=entry is not None and transformed(),
        )

    def explain(
        self, input: Any, hx: Any = None, *, lengths: Any = None, resets: Any = None, trace: bool = False
    ) -> Explanation:
        """Which engine a call with these arguments runs on, and why; nothing is computed."""
        return choose(self.engine, self._request(enter(self, input, hx, lengths, resets), trace))

    # -- the call ----------------------------------------------------------------------------------------------

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Any = None,
        *,
        lengths: Any = None,
        resets: Tensor | None = None,
        trace: bool = False,
    ) -> Any:
        """Run the layer over time.

        Args:
            input: (T, B, I), with ``batch_first`` (B, T, I), unbatched (T, I), or a PackedSequence. Integer input (T,
                B) is ids: the one-hot vectors they stand for are never built.
            hx: initial states as torch.nn takes them, h (L*D, B, R), for an LSTM (h, c); None is zeros.
            lengths: (B,) integers on any device, in any order, 0 allowed. Output past a length is zero; the last state
                is the last valid one, the initial one for length 0. Padding gets exactly zero gradient.
            resets: (T, B) bool ((B, T) with ``batch_first``). True at t cuts between t-1 and t in both directions: the
                state is zeroed.
            trace: return every state and gate as well.
        Returns:
            ``output, hx`` as torch.nn returns them; with ``trace`` also a list of :class:`~unrolled.engines.Trace`,
            one for each row of h_n, time first whatever the layout.
        Raises:
            ShapeError, ValueError, TypeError: name the argument and both shapes.
        """
        entry = enter(self, input, hx, lengths, resets)
        engine = choose(self.engine, self._request(entry, trace)).engine
        if not torch.compiler.is_compiling():
            record(engine)
        traces: list[Trace] = []
        if engine == "aten":
            output, state = self._run_aten(entry)
        else:
            output, state, traces = self._run_reference(entry, trace)
        output, hx = leave(self, entry, output, state)
        return (output, hx, traces) if trace else (output, hx)

    def _run_aten(self, entry: Entry) -> tuple[Tensor, tuple[Tensor, ...]]:
        weights = [getattr(self, name) for name in self._flat_weights_names]
        return aten.run_stack(
            self._cell(0).name, entry.x, entry.state, weights, bias=self.bias, num_layers=self.num_layers,
            dropout=self.dropout, training=self.training, bidirectional=self.bidirectional, lengths=entry.lengths,
        )  # fmt: skip

    def _run_reference(self, entry: Entry, trace: bool) -> tuple[Tensor, tuple[Tensor, ...], list[Trace]]:
        needs_seed = self.training and (self.recurrent_dropout > 0 or any(self.zoneout))
        seed = masks.draw_seed() if needs_seed else None
        x, last, traces = entry.x, [], []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(self._directions):
                call = self._call(entry, x, layer, direction, seed)
                output, state, traced = reference.run(call, trace=trace)
                outputs.append(output)
                last.append(state)
                traces += [] if traced is None else [traced]
            x = torch.cat(outputs, -1) if self.bidirectional else outputs[0]
            if self.dropout and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        return x, tuple(torch.stack(parts) for parts in zip(*last, strict=True)), traces

    def _call(self, entry: Entry, x: Tensor, layer: int, direction: int, seed: Tensor | None) -> Call:
        k = layer * self._directions + direction
        cell, w, state = self._cell(k), self._weights(k), tuple(s[k] for s in entry.state)
        T, B, like = x.shape[0], x.shape[1], state[0]
        mask: Tensor | None = None
        zoned: tuple[Tensor, ...] = ()
        if seed is not None and self.recurrent_dropout:
            stream = masks.stream(masks.RECURRENT_DROPOUT, layer, direction)
            mask = masks.dropout_mask(self.recurrent_dropout, seed, stream, B, cell.output_size, like)
        if seed is not None and any(self.zoneout):
            zoned = tuple(
                masks.hits(p, seed, masks.stream(masks.ZONEOUT, layer, direction, j), T, B, N, like.device)
                for j, (p, N) in enumerate(zip(self.zoneout, cell.state_sizes(), strict=True))
            )
        zoneout = self.zoneout if any(self.zoneout) else ()
        return Call(cell, w, x, state, entry.lengths, entry.resets, direction == 1, mask, zoneout, zoned)

    def extra_repr(self) -> str:
        """torch's line, and the extras that differ from their defaults."""
        shown = [super().extra_repr()]
        if self.forget_bias is not None:
            shown.append(f"forget_bias={self.forget_bias}")
        if self.layer_norm:
            shown.append("layer_norm=True")
        if self.recurrent_dropout:
            shown.append(f"recurrent_dropout={self.recurrent_dropout}")
        if any(self.zoneout):
            shown.append(f"zoneout={self.zoneout}")
        shown += [f"init={self.init!r}"] if self.init != "torch" else []
        shown += [f"engine={self.engine!r}"] if self.engine != "auto" else []
        return ", ".join(shown)


def _rate(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise ValueError(f"{name}={value!r}: expected a probability from 0 to below 1")
    return float(value)


def _zoneout(value: float | tuple[float, float], cell: Cell) -> tuple[float, ...]:
    if isinstance(value, (tuple, list)):
        if len(value) != len(cell.states):
            raise ValueError(f"zoneout={value!r}: expected one rate, or one for each of {', '.join(cell.states)}")
        return tuple(_rate("zoneout", p) for p in value)
    return tuple(_rate("zoneout", value) for _ in cell.states)

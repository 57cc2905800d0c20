"""What a learner's file holds: the functions, what goes in, what comes out, and the shapes.

One step, as the lecture writes it and with the batch first: ``x (B, I)``, ``W_xh (G*H, I)``, ``W_hh (G*H, H)``, so a
product is ``x @ W_xh.T``. ``forward`` hands ``backward`` whatever it likes as ``cache``.
"""

from __future__ import annotations

import dataclasses

SIZES = {"T": 6, "B": 3, "I": 4, "H": 5}
"""What is tried: small, and all different, so that two mixed up show in a shape."""

FUNCTIONS = ("forward", "backward", "forward_sequence", "backward_sequence")


@dataclasses.dataclass(frozen=True)
class Value:
    """An array by its name in the learner's file.

    Attributes:
        shape: letters of the legend, ``4H`` for four of them: ``("B", "4H")``.
    """

    name: str
    shape: tuple[str, ...]

    def size(self) -> tuple[int, ...]:
        """The shape in the numbers that are tried."""
        return tuple(int(s[:-1] or 1) * SIZES[s[-1]] for s in self.shape)

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.shape)}{',' * (len(self.shape) == 1)})"


@dataclasses.dataclass(frozen=True)
class Interface:
    """The interface of one kind of cell.

    Attributes:
        key: ``rnn``, ``lstm`` or ``gru``.
        gates: in the order of the blocks of the weights: torch's.
        states: ``h``, or ``h`` and ``c``.
        biases: their names.
        equations: one step, in lines.
    """

    key: str
    gates: tuple[str, ...]
    states: tuple[str, ...]
    biases: tuple[str, ...]
    equations: tuple[str, ...]

    @property
    def rows(self) -> str:
        """G*H as a letter: ``H``, ``3H``, ``4H``."""
        return f"{len(self.gates)}H" if self.gates else "H"

    @property
    def parameters(self) -> tuple[Value, ...]:
        """Weights and biases, in the order of the arguments."""
        weights = (Value("W_xh", (self.rows, "I")), Value("W_hh", (self.rows, "H")))
        return weights + tuple(Value(b, (self.rows,)) for b in self.biases)

    def arguments(self, function: str) -> tuple[Value, ...]:
        """Arrays that go in; ``cache`` or ``caches`` stands behind those of the backward functions."""
        step = ("B", "H")
        if function == "forward":
            return (Value("x", ("B", "I")), *(Value(f"{s}_prev", step) for s in self.states), *self.parameters)
        if function == "backward":
            return tuple(Value(f"d{s}", step) for s in self.states)
        if function == "forward_sequence":
            return (Value("xs", ("T", "B", "I")), *(Value(f"{s}0", step) for s in self.states), *self.parameters)
        return (Value("dhs", ("T", "B", "H")),)

    def results(self, function: str) -> tuple[Value, ...]:
        """Arrays that come out; ``cache`` or ``caches`` stands behind those of the forward functions."""
        if function == "forward":
            return tuple(Value(s, ("B", "H")) for s in self.states)
        if function == "forward_sequence":
            return (Value("hs", ("T", "B", "H")),)
        inputs = self.arguments("forward" if function == "backward" else "forward_sequence")
        return tuple(Value(f"d{v.name}", v.shape) for v in inputs)


CELLS = {
    "rnn": Interface("rnn", (), ("h",), ("b",), ("h = tanh(W_xh x + W_hh h_prev + b)",)),
    "lstm": Interface(
        "lstm",
        ("i", "f", "g", "o"),
        ("h", "c"),
        ("b",),
        (
            "[i_bar, f_bar, g_bar, o_bar] = W_xh x + W_hh h_prev + b      (blocks of H, in this order)",
            "i = sigmoid(i_bar)   f = sigmoid(f_bar)   g = tanh(g_bar)   o = sigmoid(o_bar)",
            "c = f * c_prev + i * g",
            "h = o * tanh(c)",
        ),
    ),
    "gru": Interface(
        "gru",
        ("r", "z", "n"),
        ("h",),
        ("b_xh", "b_hh"),
        (
            "[x_r, x_z, x_n] = W_xh x + b_xh        [h_r, h_z, h_n] = W_hh h_prev + b_hh      (blocks of H)",
            "r = sigmoid(x_r + h_r)   z = sigmoid(x_z + h_z)",
            "n = tanh(x_n + r * h_n)                 (reset after the product, as in torch)",
            "h = (1 - z) * n + z * h_prev            (z near 1 keeps)",
        ),
    ),
}

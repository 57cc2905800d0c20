"""The inside of a cell as drawn *is* the cell: run node by node it gives the cell's step, and its path the gradient."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unrolled.cells import Cell, GRUCell, LSTMCell, RNNCell
from unrolled.inspect.diagrams.gates import lstm_gates
from unrolled.inspect.diagrams.insides import inside, rows
from unrolled.inspect.diagrams.picture import Picture

CELLS: dict[str, Cell] = {
    "rnn-tanh": RNNCell(4, 5),
    "rnn-relu": RNNCell(4, 5, nonlinearity="relu"),
    "rnn-identity": RNNCell(4, 5, nonlinearity="identity"),
    "lstm": LSTMCell(4, 5),
    "gru": GRUCell(4, 5),
}


def weights(cell: Cell, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {p.name: 0.7 * torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in cell.parameters()}


def inputs(cell: Cell) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    sizes = {"x": cell.input_size} | {s: cell.hidden_size for s in cell.states}
    return {
        k: torch.randn(1, n, generator=generator, dtype=torch.float64, requires_grad=True) for k, n in sizes.items()
    }


class Run:
    """Evaluates a drawing: every arrow but the gradient's carries a value."""

    def __init__(self, picture: Picture, cell: Cell, w: dict[str, Tensor], given: dict[str, Tensor]) -> None:
        self.p, self.cell, self.w, self.given = picture, cell, w, given
        self.values: dict[str, Tensor] = {}

    def sources(self, key: str) -> list[str]:
        return [e.source for e in self.p.edges if e.target == key and e.kind == "flow"]

    def __call__(self, key: str) -> Tensor:
        if key not in self.values:
            self.values[key] = self.compute(key)
        return self.values[key]

    def compute(self, key: str) -> Tensor:
        op, _, of = self.p.nodes[key].op.partition(":")
        if op == "input":
            return self.given[of]
        sources = self.sources(key)
        if op == "product":
            return self.product(of, sources)
        values = [self.rows(s, of) if self.p.nodes[s].op.startswith("product") and of else self(s) for s in sources]
        total = values[0].clone()
        for v in values[1:]:
            total = total * v if op == "times" else total + v
        functions = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu, "one-minus": lambda a: 1 - a}
        if op in functions:
            return functions[op](total)
        assert op in ("rows", "times", "plus", "identity", "state"), op
        assert op in ("times", "plus") or len(values) == 1, key
        return total

    def product(self, which: str, sources: list[str]) -> Tensor:
        names = ("ih", "hh") if which == "both" else (which,)
        entering = {"ih": "input:x", "hh": "input:h"}
        by_op = {self.p.nodes[s].op: s for s in sources}
        assert set(by_op) == {entering[n] for n in names}
        parts = [F.linear(self(by_op[entering[n]]), self.w[f"weight_{n}"], self.w[f"bias_{n}"]) for n in names]
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    def rows(self, source: str, gate: str) -> Tensor:
        a, b = map(int, rows(self.cell, gate).split(":"))
        return self(source)[:, a:b]


def step(cell: Cell, w: dict[str, Tensor], given: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The cell's own step: the new states and the tape."""
    state = tuple(given[s] for s in cell.states)
    new, tape = cell.step(cell.project(given["x"].unsqueeze(0), w)[0], state, w)
    return dict(zip(cell.states, new, strict=True)), tape


@pytest.mark.parametrize("name", CELLS)
def test_the_drawing_run_node_by_node_is_the_cells_step(name: str) -> None:
    cell = CELLS[name]
    w, given = weights(cell), inputs(cell)
    run = Run(inside(cell), cell, w, given)
    new, tape = step(cell, w, given)
    for s in cell.states:
        torch.testing.assert_close(run(s), new[s], rtol=1e-13, atol=1e-13)
    for gate in cell.gates:
        torch.testing.assert_close(run(gate), tape[gate], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", CELLS)
def test_what_depends_on_what_is_what_autograd_finds(name: str) -> None:
    cell = CELLS[name]
    w, given = weights(cell), inputs(cell)
    picture = inside(cell)
    new, tape = step(cell, w, given)
    ours = {"x": given["x"], **{f"{s}_prev": given[s] for s in cell.states}, **{g: tape[g] for g in cell.gates}, **new}
    reach = ancestors(picture)
    for later, value in ours.items():
        if later in given or later.endswith("_prev"):
            continue
        for earlier, on in ours.items():
            if earlier == later:
                continue
            (gradient,) = torch.autograd.grad(value.sum(), on, retain_graph=True, allow_unused=True)
            depends = gradient is not None and bool(gradient.abs().max() > 0)
            assert depends == (earlier in reach[later]), (later, earlier)


def ancestors(picture: Picture) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}

    def of(key: str) -> set[str]:
        if key not in found:
            found[key] = set()
            for e in picture.edges:
                if e.target == key and e.kind == "flow":
                    found[key] |= {e.source} | of(e.source)
        return found[key]

    return {key: of(key) for key in picture.nodes}


@pytest.mark.parametrize("name", CELLS)
def test_the_gradients_path_gives_the_jacobian_that_stands_above_it(name: str) -> None:
    """The product of the derivatives of each node on the path with respect to the next one is what the label says."""
    cell = CELLS[name]
    w, given = weights(cell), inputs(cell)
    picture = inside(cell)
    run = Run(picture, cell, w, given)
    for s in cell.states:
        run(s)
    product = torch.eye(cell.hidden_size, dtype=torch.float64)
    for later, earlier in zip(picture.path, picture.path[1:], strict=False):
        assert earlier in run.sources(later)
        product = product @ local(run, later, earlier)
    new, tape = step(cell, w, given)
    if name == "lstm":
        expected = torch.diag(tape["f"][0])
        # and that is autograd's, where h is held: c depends on the old c along this path alone
        for k in range(cell.hidden_size):
            (row,) = torch.autograd.grad(new["c"][0, k], given["c"], retain_graph=True)
            torch.testing.assert_close(row[0], expected[k], rtol=0, atol=0)
    elif name == "gru":
        expected = torch.diag(tape["z"][0])
    else:
        slope = {"tanh": 1 - new["h"][0] ** 2, "relu": (new["h"][0] > 0).double(), "identity": torch.ones(5)}
        expected = slope[name[4:]].double().unsqueeze(1) * w["weight_hh"]
        for k in range(cell.hidden_size):
            (row,) = torch.autograd.grad(new["h"][0, k], given["h"], retain_graph=True)
            torch.testing.assert_close(row[0], expected[k], rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(product, expected, rtol=1e-13, atol=1e-13)


def local(run: Run, later: str, earlier: str) -> Tensor:
    """The derivative of one node with respect to one that enters it, the others held."""
    values = {s: run(s).detach() for s in run.sources(later)}
    values[earlier].requires_grad_()
    again = Run(run.p, run.cell, run.w, run.given)
    again.values = dict(values)
    result = again.compute(later)[0]
    rows_ = [torch.autograd.grad(r, values[earlier], retain_graph=True)[0][0] for r in result]
    return torch.stack(rows_)


def test_gates_stand_in_the_cells_own_order() -> None:
    cell = LSTMCell(4, 5)
    picture = lstm_gates(cell)
    heights = [picture.nodes[g].y for g in cell.gates]
    assert heights == sorted(heights, reverse=True)
    said = [re.findall(r"rows (\d+):(\d+)", n.text) for n in picture.notes if n.text.startswith("rows")]
    assert [tuple(map(int, s[0])) for s in said] == [(0, 5), (5, 10), (10, 15), (15, 20)]
    assert "in the order i f g o" in "\n".join(n.text for n in inside(cell).notes)
    assert "in the order r z n" in "\n".join(n.text for n in inside(GRUCell(4, 5)).notes)

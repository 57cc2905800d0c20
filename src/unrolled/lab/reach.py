"""What ``unrolled lab tradeoffs`` measures on networks: lengths they never met, places, reach of the gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from unrolled.lab.held import OPEN, SHUT, cell_gradient, held_lstm
from unrolled.lab.problems import Adding
from unrolled.lab.trial import Network, Trial
from unrolled.layers import GRU, LSTM, RNN

FAINT = 1e-3
"""Of the gradient at lag 0: below it the gradient is taken for gone."""


def errors_by_length(state: dict[str, Tensor], trial: Trial, lengths: tuple[int, ...]) -> dict[int, float]:
    """MSE of one set of weights on adding at lengths it was not trained on (64 examples each)."""
    problem = Adding(trial.T)
    model = Network(trial, problem)
    model.load_state_dict(state)
    found = {}
    for T in lengths:
        problem = Adding(T)
        batch = problem.batch(torch.Generator().manual_seed(7), 64, "test")
        with torch.no_grad():
            found[T] = problem.score(model(batch.x), batch.y)
    return found


def same_anywhere(T: int) -> bool:
    """Whether 20 inputs give the same bits wherever they stand in T steps, each time from a fresh state."""
    torch.manual_seed(1)
    layer = GRU(3, 16)
    piece, x = torch.randn(20, 2, 3), torch.randn(T, 2, 3)
    places = (0, T // 3, T - 20)
    resets = torch.zeros(T, 2, dtype=torch.bool)
    for place in places:
        x[place : place + 20] = piece
        resets[place] = True
    with torch.no_grad():
        alone, whole = layer(piece)[0], layer(x, resets=resets)[0]
    return all(torch.equal(whole[place : place + 20], alone) for place in places)


def held_over(T: int) -> tuple[bool, bool]:
    """An LSTM with f = 1 and i = 0 over T steps: is c what it was, to the bit; is ∂c_T/∂c_0 the identity, to the "
    "bit."""
    c = torch.linspace(-2, 2, 4, dtype=torch.float64)
    step = held_lstm(4, OPEN, SHUT, 1)
    h, now = torch.zeros_like(c), c
    for _ in range(T):
        h, now = step(h, now)
    gradient = cell_gradient(step, c, T)
    return torch.equal(now, c), torch.equal(gradient, torch.eye(4, dtype=torch.float64))


def reaches(T: int, H: int = 64) -> dict[str, int | None]:
    """For untrained networks by start: the first lag k at which ‖∂(v·h_T)/∂x_{T-k}‖ is below 1e-3 of lag 0 (median of
    32 sequences of normal input); None where that is beyond T."""
    layers: dict[str, RNN | LSTM | GRU] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layers["vanilla tanh, torch's start"] = RNN(8, H).double()
        layers["vanilla tanh, orthogonal"] = RNN(8, H, init="orthogonal").double()
        layers["LSTM, forget bias 0"] = LSTM(8, H, forget_bias=0.0).double()
        layers["LSTM, forget bias 1"] = LSTM(8, H, forget_bias=1.0).double()
        layers["LSTM, chrono"] = LSTM(8, H, init="chrono", t_max=T).double()
        x = torch.randn(T, 32, 8, dtype=torch.float64)
        v = torch.randn(H, dtype=torch.float64)
    found: dict[str, int | None] = {}
    for name, layer in layers.items():
        given = x.clone().requires_grad_()
        (layer(given)[0][-1] @ v).sum().backward()
        assert given.grad is not None
        norms = given.grad.norm(dim=-1).flip(0)
        faint = ((norms / norms[0]).median(1).values < FAINT).nonzero()
        found[name] = int(faint[0]) if len(faint) else None
    return found

"""One training: one network, one problem, one length, one seed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from unrolled.lab.problems import Batch, Problem, comfortably, solved
from unrolled.layers import GRU, LSTM, RNN
from unrolled.training.clipping import Clipper

HALF = "half-identity"
LOOKS, DEV, TEST = 25, 256, 1000
"""Evaluations on the dev examples in a training; how many dev and test examples there are."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """Everything that decides the result; with the package's version and the machine it is the same to the bit.

    Attributes:
        name: of the problem. T: its length. variant: what is told apart in a table, "" in the plain grid.
        optimiser: adam or sgd. clip_norm, clip_value: 0 is off.
        init, forget_bias, t_max: as the layers take them; ``half-identity`` is the lab's own (:func:`half_identity`).
    """

    name: str
    cell: str
    T: int
    seed: int
    hidden: int
    steps: int
    batch: int = 32
    optimiser: str = "adam"
    lr: float = 1e-3
    clip_norm: float = 1.0
    clip_value: float = 0.0
    init: str = "torch"
    forget_bias: float | None = None
    t_max: int | None = None
    variant: str = ""
    data: str = ""

    def key(self) -> dict[str, Any]:
        """As JSON values: what marks a line of results as this trial's."""
        return dataclasses.asdict(self)


class Network(nn.Module):
    """A recurrent layer and a linear answer at the last step, or at every one."""

    def __init__(self, trial: Trial, problem: Problem) -> None:
        super().__init__()
        halved = trial.init == HALF
        options: dict[str, Any] = {"init": "identity" if halved else trial.init, "t_max": trial.t_max}
        I, H = problem.input_size, trial.hidden
        self.layer: LSTM | GRU | RNN
        if trial.cell == "lstm":
            self.layer = LSTM(I, H, forget_bias=trial.forget_bias, **options)
        elif trial.cell == "gru":
            self.layer = GRU(I, H, **options)
        else:
            self.layer = RNN(I, H, nonlinearity=trial.cell.removeprefix("rnn-"), **options)
        if halved:
            half_identity(self.layer)
        self.answer = nn.Linear(H, problem.outputs)
        self.every_step = problem.every_step

    def forward(self, x: Tensor) -> Tensor:
        """x (T, B, I) or ids (T, B) to (T, B, outputs) or, of the last step, (B, outputs)."""
        h, _ = self.layer(x)
        answer: Tensor = self.answer(h if self.every_step else h[-1])
        return answer


@torch.no_grad()
def half_identity(layer: LSTM | GRU | RNN) -> None:
    """Half of the units remember, the other half look: W_hh starts as the identity on the first H/2 units and as zero
    on the others, but for N(0, 0.01²/H) from those that look to those that remember.

    W_xh is N(0, 0.001²) where units remember and N(0, 0.7²) where they look; biases are 0. With ReLU the first half
    starts as sums over time of what the second half makes of each step, which is what adding needs. The identity
    everywhere (Le, Jaitly & Hinton 2015) leaves no unit whose value is this step's alone. A start of this project.
    """
    H, half = layer.hidden_size, layer.hidden_size // 2
    W, W_in = layer.weight_hh_l0, layer.weight_ih_l0
    assert isinstance(W, Tensor)
    assert isinstance(W_in, Tensor)
    W.zero_()
    W[:half, :half] = torch.eye(half)
    nn.init.normal_(W[:half, half:], 0.0, 0.01 / H**0.5)
    nn.init.normal_(W_in[half:], 0.0, 0.7)


def parameters(cell: str, I: int, H: int, outputs: int) -> int:
    """Parameters of :class:`Network`: G(HI + HH + 2H) + outputs (H + 1)."""
    gates = {"lstm": 4, "gru": 3}.get(cell, 1)
    return gates * H * (I + H + 2) + outputs * (H + 1)


def hidden_for(cell: str, I: int, outputs: int, budget: int) -> int:
    """The largest H with at most ``budget`` parameters, at least 1."""
    H = 1
    while parameters(cell, I, H + 1, outputs) <= budget:
        H += 1
    return H


@dataclasses.dataclass
class Progress:
    """Where a training is, for those who watch or stop it."""

    step: int
    loss: float
    score: float | None


def train(
    trial: Trial, problem: Problem, follow: Callable[[Progress], None] | None = None,
    weights: dict[str, Tensor] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train, keep the weights that were best on the dev examples, read the test examples once.

    Training ends after ``steps`` updates, or where the dev score is solved with half the allowed error, or where the
    loss is no number any more.

    Args:
        follow: called after every update; what it raises ends the training.
        weights: is filled with the weights that were kept, by name.
    Returns:
        ``score`` on the test examples and whether it is ``solved``; ``steps`` made, ``parameters``, ``clipped`` (share
        of updates), ``norm`` (median norm of the gradient before clipping), ``diverged``; ``curve``: pairs of a step
        and its dev score; ``loss`` and, for copy, ``trivial_loss``.
    """
    generator = torch.Generator().manual_seed(1000 + trial.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trial.seed)
        model = Network(trial, problem)
    dev = problem.batch(torch.Generator().manual_seed(1), DEV, "dev")
    params = list(model.parameters())
    optimiser = _optimiser(trial, params)
    clipper = Clipper(trial.clip_norm, trial.clip_value or None)
    best, kept, curve, norms, clipped, diverged = math.inf, _copy(model), [], [], 0, False
    every = max(1, trial.steps // LOOKS)
    step = 0
    for step in range(1, trial.steps + 1):
        batch = problem.batch(generator, trial.batch)
        loss = problem.loss(model(batch.x), batch.y)
        loss.backward()  # type: ignore[no-untyped-call]
        grads = [p.grad for p in params if p.grad is not None]
        value, norm = clipper.measure(loss.detach(), grads)
        if not math.isfinite(value + norm):
            diverged = True
            break
        clipped += clipper.clip(grads, norm)
        norms.append(norm)
        optimiser.step()
        optimiser.zero_grad()
        score = None
        if step % every == 0 or step == trial.steps:
            score = evaluate(model, problem, dev)
            curve.append((step, score))
            worth = -score if problem.rising else score
            if worth < best:
                best, kept = worth, _copy(model)
        if follow is not None:
            follow(Progress(step, value, score))
        if score is not None and comfortably(problem, score):
            break
    model.load_state_dict(kept)
    if weights is not None:
        weights.update(kept)
    return {
        **_final(model, problem), "steps": step, "parameters": sum(p.numel() for p in params),
        "clipped": clipped / max(1, len(norms)), "norm": sorted(norms)[len(norms) // 2] if norms else math.nan,
        "diverged": diverged, "curve": curve,
    }  # fmt: skip


def _final(model: Network, problem: Problem) -> dict[str, Any]:
    test = problem.batch(torch.Generator().manual_seed(2), TEST, "test")
    with torch.no_grad():
        answer = model(test.x)
    score = problem.score(answer, test.y)
    found = {"score": score, "solved": solved(problem, score), "loss": float(problem.loss(answer, test.y).item())}
    return found | ({"trivial_loss": problem.trivial_loss} if hasattr(problem, "trivial_loss") else {})


def evaluate(model: Network, problem: Problem, batch: Batch) -> float:
    """The measure on a batch; infinitely bad where the answers are no numbers."""
    with torch.no_grad():
        score = problem.score(model(batch.x), batch.y)
    return score if math.isfinite(score) else (-math.inf if problem.rising else math.inf)


def _optimiser(trial: Trial, params: list[nn.Parameter]) -> torch.optim.Optimizer:
    if trial.optimiser == "sgd":
        return torch.optim.SGD(params, lr=trial.lr, fused=True)
    return torch.optim.Adam(params, lr=trial.lr, fused=True)


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}

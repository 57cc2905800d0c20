"""``unrolled lab clipping``: what clipping saves, what it does not, and what the lecture's snippet really does."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unrolled.lab import drawing
from unrolled.lab.config import LabConfig
from unrolled.lab.problems import Adding
from unrolled.lab.report import Picture, Report, Table, Watch, number
from unrolled.lab.trial import Network, Trial, parameters
from unrolled.training.clipping import clip_norm, clip_value, total_norm

WAYS = ("none", "by value", "by norm", "the snippet")
T, HIDDEN, LR, LIMIT, VALUE_LIMIT = 100, 64, 0.01, 1.0, 0.02
STEPS, QUICK_STEPS, TRACES = 4_000, 1_200, 40
Point = tuple[float, float, float, float, float]


@torch.no_grad()
def clip_as_in_the_lecture(grads: list[Tensor], threshold: float) -> bool:
    """The lecture's snippet: ``grad_norm = sum(grad*grad)``, and if it is above the threshold, times
    ``threshold/grad_norm``.

    What is compared is the *squared* norm n². It acts as soon as n > √threshold, and leaves a gradient of norm
    threshold/n: the larger the gradient was, the smaller it comes out.
    """
    squared = float(total_norm(grads)) ** 2
    if not squared > threshold:
        return False
    torch._foreach_mul_(grads, threshold / squared)
    return True


def clip(way: str, grads: list[Tensor], norm: float) -> bool:
    """Cut the gradients in one of the ways of :data:`WAYS`, in place; whether anything was cut."""
    if way == "by norm":
        return clip_norm(grads, LIMIT, norm)
    if way == "by value":
        cut = max(float(g.abs().max()) for g in grads) > VALUE_LIMIT
        clip_value(grads, VALUE_LIMIT)
        return cut
    return clip_as_in_the_lecture(grads, LIMIT) if way == "the snippet" else False


@dataclasses.dataclass
class Course:
    """One training, step by step.

    Attributes:
        losses, before, after: loss, and the gradient's norm before and after clipping, of every update.
        jacobian: pairs of a step and log10 of the Frobenius norm of ∂h_T/∂h_0 (:func:`log10_jacobian`).
    """

    way: str
    losses: list[float]
    before: list[float]
    after: list[float]
    jacobian: list[tuple[int, float]]
    clipped: int = 0
    diverged: bool = False


def run_way(way: str, steps: int, seed: int, watch: Watch, share: float) -> Course:
    """Train a ReLU network from the identity on adding, T=100, with plain SGD; the same start and data for each way."""
    problem, generator = Adding(T), torch.Generator().manual_seed(1000 + seed)
    model, params, optimiser = _start(problem, seed)
    path = Course(way, [], [], [], [])
    for step in range(steps):
        if step < TRACES or step % max(1, steps // TRACES) == 0:  # the first ones closely: there it diverges
            path.jacobian.append((step, log10_jacobian(model, problem)))
            watch.stage(f"{way}, step {step}", share + step / steps / len(WAYS))
        batch = problem.batch(generator, 32)
        loss = problem.loss(model(batch.x), batch.y)
        loss.backward()  # type: ignore[no-untyped-call]
        grads = [p.grad for p in params if p.grad is not None]
        norm = float(total_norm(grads))
        path.losses.append(float(loss.detach()))
        path.before.append(norm)
        if not math.isfinite(path.losses[-1] + norm):
            path.diverged = True
            break
        path.clipped += clip(way, grads, norm)
        path.after.append(float(total_norm(grads)))
        optimiser.step()
        optimiser.zero_grad()
    return path


def _start(problem: Adding, seed: int) -> tuple[Network, list[torch.nn.Parameter], torch.optim.Optimizer]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Network(Trial("adding", "rnn-relu", T, seed, HIDDEN, 1, init="identity"), problem)
    params = list(model.parameters())
    return model, params, torch.optim.SGD(params, lr=LR, fused=True)


def log10_jacobian(model: Network, problem: Adding) -> float:
    """log10 of an estimate of ‖∂h_T/∂h_0‖ (Frobenius) at the weights as they are, on fixed examples: √H times the root
    mean square over examples of ‖v ∂h_T/∂h_0‖ for random unit vectors v."""
    generator = torch.Generator().manual_seed(5)
    x = problem.batch(generator, 64).x
    h = torch.zeros(1, 64, HIDDEN, requires_grad=True)
    v = torch.nn.functional.normalize(torch.randn(1, 64, HIDDEN, generator=generator), dim=-1)
    _, last = model.layer(x, h)
    (gradient,) = torch.autograd.grad(last, h, v)
    # float32 has no squared norm of 1e40
    squared = float(gradient.double().square().sum(-1).mean()) * HIDDEN
    return 0.5 * math.log10(squared) if squared > 0 else -math.inf


def run(config: LabConfig, out: Path, watch: Watch) -> Report:
    """Four trainings from one start, and the snippet's rule against ours."""
    steps = config.steps or (QUICK_STEPS if config.quick else STEPS)
    paths = [run_way(way, steps, 1, watch, k / len(WAYS)) for k, way in enumerate(WAYS)]
    rows = [_row(p, steps) for p in paths]
    by_norm = next(p for p in paths if p.way == "by norm")
    settings = (
        f"clipping: adding at T={T}, a ReLU network of {HIDDEN} units from the identity "
        f"({parameters('rnn-relu', 2, HIDDEN, 1):,} parameters), plain SGD at {LR:g}, batches of 32, {steps:,} "
        f"updates; the same start and the same examples each time. By norm: to {LIMIT:g}. By value: each element to "
        f"±{VALUE_LIMIT:g}. The snippet: the lecture's three lines with threshold {LIMIT:g}."
    )
    table = Table(
        "Four trainings from one start",
        ("clipping", "updates", "loss at the end", "updates clipped", "median norm before", "largest before",
         "largest after", "largest log10 ‖∂h_T/∂h_0‖"),
        rows,
        "The loss at the end is the mean of the last 100 updates. The last column is the Jacobian at the weights on "
        "the way.",
    )  # fmt: skip
    points = exploding_points()
    numbers = {"ways": [dataclasses.asdict(p) for p in paths], "rule": _rule_numbers(), "points": points}
    tables = [table, _point_table(points), _rule_table(by_norm)]
    pictures = [_picture(paths), _rule_picture()]
    return Report("clipping", settings, tables, pictures, _verdicts(paths, by_norm, points), numbers)


def _end(path: Course) -> float:
    last = path.losses[-100:]
    return math.nan if path.diverged else sum(last) / len(last)


def _row(p: Course, steps: int) -> tuple[str, ...]:
    middle = sorted(p.before)[len(p.before) // 2]
    jacobian = max((v for _, v in p.jacobian if not math.isnan(v)), default=math.nan)
    end = f"diverged at update {len(p.losses)}" if p.diverged else number(_end(p))
    return (p.way, f"{len(p.losses):,} of {steps:,}", end, f"{p.clipped / max(1, len(p.after)):.1%}", number(middle),
            number(max(p.before)), number(max(p.after, default=math.nan)), f"{jacobian:.1f}")  # fmt: skip


def _rule_numbers() -> dict[str, list[float]]:
    """Norms that come out for norms that go in, ours and the snippet's, each measured on a gradient of that norm."""
    found: dict[str, list[float]] = {"before": [], "ours": [], "snippet": []}
    for k in range(-8, 17):
        n = 10 ** (k / 4)
        for name in ("ours", "snippet"):
            g = [torch.tensor([0.6 * n, 0.0], dtype=torch.float64), torch.tensor([0.8 * n], dtype=torch.float64)]
            clip("by norm" if name == "ours" else "the snippet", g, n)
            found[name].append(float(total_norm(g)))
        found["before"].append(n)
    return found


def _rule_table(path: Course) -> Table:
    rows = []
    for n in (0.5, 1.0, 2.0, 10.0, 100.0):
        rows.append((f"{n:g}", number(min(n, LIMIT)), number(n if n * n <= LIMIT else LIMIT / n)))
    norms = [n for n in path.before if math.isfinite(n)]
    ours = sum(n > LIMIT for n in norms) / len(norms)
    five, snippet5 = sum(n > 5 for n in norms) / len(norms), sum(n * n > 5 for n in norms) / len(norms)
    return Table(
        f"The snippet against ours, threshold {LIMIT:g}: the norm that comes out", ("norm before", "ours", "the "
        "snippet"), rows,
        f"Of the gradients met on the way, {ours:.1%} are longer than {LIMIT:g}. With a threshold of 5 ours would cut "
        f"{five:.1%}, the snippet {snippet5:.1%}: it cuts from a norm of √5 = 2.24 on.",
    )  # fmt: skip


def exploding_points(seed: int = 1) -> list[Point]:
    """For W_hh = s I, s = 1, 1.05, 1.1: s, log10 ‖∂h_T/∂h_0‖, the gradient's norm, the norm after clipping to 1, and
    log10 ‖∂h_T/∂h_0‖ after that clipped update. What a network of this start meets when an update overshoots."""
    problem, found = Adding(T), []
    for s in (1.0, 1.05, 1.1):
        model, params, optimiser = _start(problem, seed)
        weight = model.layer.weight_hh_l0
        assert isinstance(weight, Tensor)
        with torch.no_grad():
            weight.mul_(s)
        before = log10_jacobian(model, problem)
        batch = problem.batch(torch.Generator().manual_seed(1000 + seed), 32)
        problem.loss(model(batch.x), batch.y).backward()  # type: ignore[no-untyped-call]
        grads = [p.grad for p in params if p.grad is not None]
        norm = float(total_norm(grads))
        clip_norm(grads, LIMIT, norm)
        clipped = float(total_norm(grads))
        optimiser.step()
        found.append((s, before, norm, clipped, log10_jacobian(model, problem)))
    return found


def _point_table(points: list[Point]) -> Table:
    rows = [(f"{s:g} I", f"{a:.2f}", number(n), number(c), f"{b:.2f}") for s, a, n, c, b in points]
    header = ("W_hh", "log10 ‖∂h_T/∂h_0‖", "gradient's norm", "after clipping", "log10 ‖∂h_T/∂h_0‖ after the update")
    reading = "The update is short; the Jacobian, and so the next gradient, is about as large as before."
    return Table("One clipped update where the Jacobian explodes", header, rows, reading)


def _verdicts(paths: list[Course], by_norm: Course, points: list[Point]) -> list[str]:
    by: dict[str, Course] = {p.way: p for p in paths}
    found = []
    for p in paths:
        end = f"diverged at update {len(p.losses)}" if p.diverged else f"loss {number(_end(p))} at the end"
        found.append(f"{p.way}: {end} (trivial: 0.167).")
    last = points[-1]
    found.append(
        "Clipping by norm rescues the update, not the Jacobian. Along this training no update was longer than "
        f"{LIMIT:g} times the rate, though gradients of norm up to {number(max(by_norm.before))} arrived; but where "
        "W_hh is "
        f"{last[0]:g} I, the clipped update leaves ‖∂h_T/∂h_0‖ at 10^{last[4]:.2f} (before: 10^{last[1]:.2f})."
    )
    snippet = by["the snippet"]
    cut = [(b, a) for b, a in zip(snippet.before, snippet.after, strict=False) if b > LIMIT]
    if cut:
        b, a = max(cut)
        found.append(
            "The lecture's snippet compares the squared norm and divides by it, so an exploding gradient comes out all "
            f"but zero: its largest, of norm {number(b)}, became {number(a)}. This package clips by the norm."
        )
    return found


def _picture(paths: list[Course]) -> Picture:
    made, axes = drawing.figure(3, width=4.0)
    for colour, p in zip(drawing.SERIES, paths, strict=False):
        smooth, width = _smooth(p.losses), max(1, len(p.losses) // 200)
        for axis, values in ((axes[0], smooth), (axes[1], p.before)):
            shown = [(k, v) for k, v in enumerate(values) if math.isfinite(v) and (k % width == 0 or p.diverged)]
            axis.plot(*zip(*shown, strict=True), color=colour, linewidth=1.0, label=p.way, alpha=0.85)
        if p.diverged:
            axes[0].plot([len(smooth) - 1], [0.167], "x", color=colour, markersize=7)
        shown = [(k, v) for k, v in p.jacobian if math.isfinite(v)]
        axes[2].plot(*zip(*shown, strict=True), color=colour, linewidth=1.1)
    axes[0].set_yscale("log")
    axes[1].set_yscale("log")
    axes[0].set_ylim(3e-3, 3)
    axes[0].axhline(1 / 6, color="0.5", linestyle="--", linewidth=0.9, label="trivial")
    drawing.label(axes[0], "loss", "update", "MSE (smoothed)")
    drawing.label(axes[1], "gradient before clipping", "update", "norm")
    drawing.label(axes[2], "the Jacobian", "update", "log10 of ‖∂h_T/∂h_0‖")
    drawing.legend(axes[0], loc="lower left")
    return Picture("clipping", made, (
        f"Adding at T={T}, a ReLU network from the identity, plain SGD, one start. Left, the loss (a cross: it became "
        "no number); middle, the gradient's norm as it arrives; right, the Jacobian over the whole sequence at the "
        "weights on the way. Clipping keeps the update short; the gradients that arrive and the Jacobian stay as "
        "large as they "
        "are."
    ))  # fmt: skip


def _smooth(values: list[float]) -> list[float]:
    smooth, mean = [], values[0]
    for v in values:
        mean = 0.97 * mean + 0.03 * v
        smooth.append(mean)
    return smooth


def _rule_picture() -> Picture:
    found: dict[str, Any] = _rule_numbers()
    made, (axis,) = drawing.figure()
    axis.loglog(found["before"], found["before"], color="0.7", linewidth=0.9, linestyle="--", label="unclipped")
    axis.loglog(found["before"], found["ours"], color=drawing.SERIES[0], label="clipped by the norm")
    axis.loglog(found["before"], found["snippet"], color=drawing.SERIES[1], label="the lecture's snippet")
    drawing.label(axis, f"threshold {LIMIT:g}", "norm of the gradient", "norm that comes out")
    drawing.legend(axis)
    return Picture("clipping-rule", made, (
        "What comes out for a gradient of each norm. Clipped by the norm it keeps its direction and never exceeds the "
        "threshold. The snippet compares the squared norm and divides by it: the longer the gradient, the shorter the "
        "step."
    ))  # fmt: skip

"""Gradient flow for the page."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.inspect.checks import double
from unrolled.inspect.config import InspectConfig
from unrolled.inspect.flow import HALF, THOUSANDTH, Flow, Path, gradient_by_step, gradient_flow
from unrolled.inspect.page import Block, Section, figure, svg, table
from unrolled.inspect.recording import record
from unrolled.inspect.subject import Subject

COLOURS = {"h": "tab:blue", "c": "tab:orange"}
PICTURES = 4
"""Layers that get a picture of their own; the table has all."""
FLOAT32 = 2.0**-23
SUMMANDS = 2e8
"""Bytes of per-step gradients kept for the picture of their norms."""


def section_flow(subject: Subject, config: InspectConfig) -> Section:
    """How far the gradient of one loss reaches back, beside the network at its initialisation.

    Raises:
        UserError: a weight is not finite; the tensor is named.
    """
    flow, twin = _measure(subject, config)
    shown = [p for p in flow.paths if p.reached]
    blocks = []
    for layer in list(dict.fromkeys(p.layer for p in shown))[:PICTURES]:
        blocks.append(_picture(layer, flow, twin))
    blocks.append(_table(flow, twin))
    blocks += _summands(subject, config, shown)
    return Section("flow", "Gradient flow", _verdict(subject, flow, twin), blocks, _numbers(subject, flow, twin))


def _measure(subject: Subject, config: InspectConfig) -> tuple[Flow, Flow | None]:
    flows = []
    for model in [subject.model, subject.untrained][: 1 + subject.trained]:
        own = double(model)
        flows.append(gradient_flow(own, subject.windows(own, config.positions, config.steps)))
    return flows[0], flows[1] if subject.trained else None


def _of(flow: Flow | None, path: Path) -> Path | None:
    found = None if flow is None else flow.path(path.layer, path.state)
    return found if found is not None and found.reached else None


# -- words ---------------------------------------------------------------------------------------------------------


def _verdict(subject: Subject, flow: Flow, twin: Flow | None) -> list[str]:
    paths = [p for p in flow.paths if p.reached]
    if not paths:
        return ["No recurrent state enters the loss of the last step: there is no gradient to follow."]
    K = max(p.lags for p in paths)
    lines = [_reach_sentence(p, _of(twin, p)) for p in _leading(paths)]
    if not subject.trained:
        lines[0] = f"Not trained yet. {lines[0]}"
    lines.append(_growth_sentence(paths))
    decay = _leading(paths)[-1].decay()
    if decay is not None and decay.log_linear:
        lines.append(
            f"The median falls log-linearly, by the factor {decay.rate:.3f} a step (R² {decay.r2:.3f})."
            if decay.rate < 1
            else f"The median follows one rate, {decay.rate:.3f} a step (R² {decay.r2:.3f})."
        )
    elif decay is not None:
        lines.append(
            f"No single rate describes how the median changes (R² of a line through its logarithm {decay.r2:.2f})."
        )
    silent = [p for p in flow.paths if not p.reached]
    if silent:
        names = ", ".join(dict.fromkeys(p.layer for p in silent))
        lines.append(f"{names}: the last state does not enter the loss of the last step; no flow is shown.")
    rows = flow.paths[0].norms.shape[0]
    lines.append(f"{rows} sequences, followed through {K} steps, one backward pass each, in float64.")
    return lines


def _leading(paths: list[Path]) -> list[Path]:
    """Of the last layer shown, its states; c, where there is one, comes last."""
    return [p for p in paths if p.layer == paths[-1].layer]


def _reach_sentence(path: Path, twin: Path | None) -> str:
    half, small = _reach(path, HALF), _reach(path, THOUSANDTH)
    said = (
        f"{path.layer}, gradient in {path.state}: its median falls under one half of g_0 {half}, and under a "
        f"thousandth {small}"
    )
    if twin is None:
        return said + "."
    return said + f"; at initialisation {_reach(twin, HALF)} and {_reach(twin, THOUSANDTH)}."


def _reach(path: Path, share: float) -> str:
    k = path.reach(share)
    return f"not within {path.lags} steps" if k is None else f"{k} step{'s' if k != 1 else ''} back"


def _growth_sentence(paths: list[Path]) -> str:
    growing = [p for p in paths if p.grows]
    worst = max(growing or paths, key=lambda p: p.top()[0])
    high, k = worst.top()
    where = f"{worst.layer}, {worst.state}"
    if growing:
        return f"The top percentile grows: 99 % of g_k/g_0 reaches {high:.3g} at k = {k} ({where})."
    if high > 1:
        return (
            f"The top percentile does not keep growing: 99 % of g_k/g_0 is largest, {high:.3g}, at k = {k} ({where})."
        )
    return f"No percentile up to the 99th exceeds g_0 at any lag: nothing explodes ({where}: at most {high:.3g})."


# -- pictures ------------------------------------------------------------------------------------------------------


def _picture(layer: str, flow: Flow, twin: Flow | None) -> Block:
    made = figure(9.0, 3.5)
    axes = made.subplots(1, 2)
    for path in (p for p in flow.paths if p.layer == layer and p.reached):
        colour, k = COLOURS[path.state], np.arange(path.lags + 1)
        for ax, of in zip(axes, ("norms", "ratio"), strict=True):
            low, median, high, top, most = _positive(path.quantiles(of))
            ax.fill_between(k, low, high, color=colour, alpha=0.18, lw=0)
            ax.plot(k, median, color=colour, lw=1.8, label=f"{path.state}: median, 10 to 90 %")
            ax.plot(k, top, color=colour, lw=0.9, ls="--", label=f"{path.state}: 99 %")
            ax.plot(k, most, color=colour, lw=0.7, ls=":", label=f"{path.state}: largest")
            before = _of(twin, path)
            if before is not None:
                line = _positive(before.quantiles(of))[1]
                ax.plot(np.arange(before.lags + 1), line, color=colour, lw=1.2, alpha=0.55, dashes=(6, 2, 1, 2),
                        label=f"{path.state}: median at initialisation")  # fmt: skip
        axes[0].axhline(path.floor, color="0.6", lw=0.8)
    axes[1].axhline(path.epsilon, color="0.6", lw=0.8, label="rounding error of float64, and of float32")
    axes[1].axhline(FLOAT32, color="0.6", lw=0.8)
    for share in (HALF, THOUSANDTH):
        axes[1].axhline(share, color="0.75", lw=0.6, ls=(0, (1, 2)))
    axes[0].set(title=f"{layer}: g_k = |∂loss_t / ∂s_(t−k)|", xlabel="k, steps back")
    axes[1].set(title="g_k / g_0", xlabel="k, steps back")
    for ax in axes:
        ax.set_yscale("log")
        ax.grid(alpha=0.25)
    made.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    reading = (
        "Left the size of the gradient that one loss sends to the state k steps before it, right the same as a share "
        "of k = 0; a straight fall is exponential forgetting, and what lies below a grey line would be lost to "
        "rounding where it is added to that of k = 0."
    )
    return Block(svg(made), reading)


def _positive(values: NDArray[Any]) -> NDArray[Any]:
    """Zeros have no place on a log axis: gaps."""
    return np.where(values > 0, values, np.nan)


def _table(flow: Flow, twin: Flow | None) -> Block:
    header = [
        "layer",
        "state",
        "under 1/2 at k",
        "under 1/1000 at k",
        "largest 99 % of g_k/g_0",
        "at k",
        "rate a step",
        "R²",
    ]
    if twin is not None:
        header[4:4] = ["1/2 at initialisation", "1/1000 at initialisation"]
    rows: list[list[Any]] = []
    for path in flow.paths:
        if not path.reached:
            rows.append([path.layer, path.state, "does not enter the loss", *[""] * (len(header) - 3)])
            continue
        decay, before, (high, k) = path.decay(), _of(twin, path), path.top()
        row: list[Any] = [path.layer, path.state, *(_lag(path, share) for share in (HALF, THOUSANDTH))]
        if twin is not None:
            row += ["" if before is None else _lag(before, share) for share in (HALF, THOUSANDTH)]
        rate = decay.rate if decay is not None and decay.log_linear else "no single one"
        rows.append([*row, high, k, rate, "" if decay is None else decay.r2])
    return Block(table(header, rows), "A rate is given only where a line through the logarithm of the median fits: "
                                      "R² of 0.98 and more.")  # fmt: skip


def _lag(path: Path, share: float) -> int | str:
    k = path.reach(share)
    return f"over {path.lags}" if k is None else k


def _summands(subject: Subject, config: InspectConfig, paths: list[Path]) -> list[Block]:
    """The norms of the per-step summands of one recurrent matrix's gradient, beside that of their sum."""
    if not paths:
        return []
    layer = paths[-1].layer
    module, _, suffix = layer.rpartition(".")
    name = f"{module}.weight_hh_{suffix}" if module else f"weight_hh_{suffix}"
    own = double(subject.model)
    size = 8 * own.get_parameter(name).numel() if name in dict(own.named_parameters()) else 0
    if not size:
        return []  # the weight is computed from others: no parameter of that name
    loss = subject.windows(own, 8, max(2, min(config.steps, int(SUMMANDS / size))))
    with record(own) as tracks:
        loss()
    if sum(len(t.moments()) for t in tracks if t.name == layer) * size > 2 * SUMMANDS:
        return []
    summands = gradient_by_step(own, loss, name)
    norms, whole = summands.flatten(1).norm(dim=1).numpy(), float(summands.sum(0).norm())
    made = figure(7.0, 2.6)
    ax = made.subplots()
    k = np.arange(len(norms))[::-1] if not paths[-1].layer.endswith("_reverse") else np.arange(len(norms))
    ax.plot(k, _positive(norms), color="tab:green", lw=1.4, marker=".", ms=3, label="summand of one step")
    ax.axhline(whole, color="0.4", lw=1.0, ls="--", label="their sum: the gradient")
    ax.set(yscale="log", xlabel="k, steps back", title=f"{name}: norm of what each step adds to its gradient")
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize=8)
    return [Block(svg(made), f"The gradient of the shared weight is the sum over time of these ({len(norms)} steps, "
                             "at most 8 sequences): near steps decide it, which is why its size says nothing about "
                             "far ones.")]  # fmt: skip


def _numbers(subject: Subject, flow: Flow, twin: Flow | None) -> dict[str, Any]:
    def of(flow: Flow) -> list[dict[str, Any]]:
        return [_path_numbers(p) for p in flow.paths]

    return {
        "trained": subject.trained,
        "loss": float(flow.loss.mean()),
        "quantiles": ["10 %", "50 %", "90 %", "99 %", "100 %"],
        "paths": of(flow),
        "untrained": None if twin is None else of(twin),
    }


def _path_numbers(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"layer": path.layer, "state": path.state, "rows": len(path.norms), "dropped": path.dropped,
                             "reached": path.reached, "floor": path.floor}  # fmt: skip
    if not path.reached:
        return found
    decay, (high, k) = path.decay(), path.top()
    return found | {
        "reach_half": path.reach(HALF), "reach_thousandth": path.reach(THOUSANDTH), "grows": path.grows,
        "top": high, "top_lag": k, "g": path.quantiles("norms"), "ratio": path.quantiles("ratio"),
        "decay": None if decay is None else decay.__dict__ | {"log_linear": decay.log_linear},
    }  # fmt: skip

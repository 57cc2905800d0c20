"""The last lines of a run: the figure, what it is worth, where the model lies, and what to do next."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unrolled.tasks.base import Figure, Report


def tell_language(result: Mapping[str, Any], run: Path, unit: str) -> None:
    """Print the "result" table of ``config.json`` of a language model for a person.

    Args:
        unit: the kind of units of the text.
    """
    from unrolled.cli.console import unit_name

    unit = unit_name(unit)
    _tell_work(result, unit)
    if result.get("test_nats") is not None:
        print(f"held-out loss {result['test_nats']:.4f} nats per {unit} ({_interval(result)}){_bits(result)}")
    elif result.get("dev_nats") is not None:
        print(f"dev loss      {result['dev_nats']:.4f} nats per {unit}; nothing was held out for a final figure")
    else:
        _tell_training(result, unit)
    if None not in (result.get("test_nats"), result.get("baseline_nats")):
        gain = result["baseline_nats"] - result["test_nats"]
        worth = f"{abs(gain):.3f} nats {'better' if gain > -5e-4 else 'WORSE: train longer, or a larger network'}"
        print(
            f"baseline      {result['baseline_nats']:.4f} nats per {unit}, {result['baseline']}: the network is {worth}"
        )
    print(f"model         {run}  (loss.png, metrics.jsonl, tensorboard/)")
    name = shlex.quote(str(run))
    print(f"try           unrolled sample {name}")
    print(f"              unrolled score {name} FILE")


def tell_result(result: Mapping[str, Any], run: Path, unit: str, report: Report | None) -> None:
    """Print how the run of another task ended.

    Args:
        unit: what is counted, in the singular.
        report: of the held-out part; None where there is nothing to report on.
    """
    _tell_work(result, unit)
    pictures = ["loss.png"]
    if report is None:
        _tell_training(result, unit)
    else:
        part = result.get("report_part")
        tell_report(report, "held-out" if part == "test" else f"{part} part")
        if part != "test":
            print("              nothing was held out for a final figure")
        pictures += report.pictures
    print(f"model         {run}  ({', '.join(pictures)}, metrics.jsonl, tensorboard/)")
    name = shlex.quote(str(run))
    print(f"try           unrolled predict {name} INPUT")
    print(f"              unrolled evaluate {name} --predictions out.tsv")


def tell_report(report: Report, title: str) -> None:
    """Print figures, the baselines under them in the same order, and the tables."""
    for k, (name, figure) in enumerate(report.figures.items()):
        print(f"{title if k == 0 else '':<13} {name} {figure_text(figure)}")
    for name, values in report.baselines:
        shown = [f"{n} {number(v)}" for n, v in values.items()]
        print(f"{'baseline':<13} {', '.join(shown)}: {name}{_worth(report, values)}")
    for name, table in report.tables:
        print(f"\n{name}\n" + "\n".join("  " + line for line in table.splitlines()))
    if report.tables:
        print()


def report_json(report: Report) -> dict[str, Any]:
    """Figures and baselines as JSON values (no NaN, no infinity)."""
    return {
        "figures": {name: finite(figure.value) for name, figure in report.figures.items()},
        "intervals": {n: [finite(v) for v in f.interval] for n, f in report.figures.items() if f.interval is not None},
        "baselines": [{"name": name} | {n: finite(v) for n, v in values.items()} for name, values in report.baselines],
    }


def finite(value: float) -> float | None:
    """JSON knows no NaN and no infinity."""
    return value if math.isfinite(value) else None


def figure_text(figure: Figure) -> str:
    """``0.8312 nats per word (95 %: 0.8100 to 0.8500)``."""
    text = number(figure.value) + (f" {figure.unit}" if figure.unit else "")
    if figure.interval is not None and all(map(math.isfinite, figure.interval)):
        text += f" (95 %: {number(figure.interval[0])} to {number(figure.interval[1])})"
    return text


def number(value: float) -> str:
    """Four places; whole numbers as they are, large ones with fewer."""
    if not math.isfinite(value):
        return "not finite"
    if float(value).is_integer() and abs(value) >= 2:
        return f"{value:,.0f}"
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"


def _worth(report: Report, values: Mapping[str, float]) -> str:
    """Whether the network beats this baseline in the headline."""
    name, figure = next(iter(report.figures.items()))
    if name not in values:
        return ""
    gain = (values[name] - figure.value) * (1 if figure.low_is_good else -1)
    return ", which the network beats" if gain > 0 else ", which the network does NOT beat"


def _tell_work(result: Mapping[str, Any], unit: str) -> None:
    done = f"{result['steps']:,} updates, {result['units']:,} {unit}s in {result['minutes']:.2f} minutes"
    print(f"\ntrained       {done}" + _ending(result))


def _tell_training(result: Mapping[str, Any], unit: str) -> None:
    if result.get("train_nats") is not None:
        print(f"training loss {result['train_nats']:.4f} nats per {unit}, smoothed; nothing was held out")
    else:
        print("loss          not finite: the training has diverged; use a lower --lr")


def _interval(result: Mapping[str, Any]) -> str:
    low, high = result["test_interval"]
    return "too little text for an interval" if low is None or high is None else f"95 %: {low:.4f} to {high:.4f}"


def _ending(result: Mapping[str, Any]) -> str:
    return {
        "budget": "",
        "patience": "; the dev loss stopped falling",
        "interrupted": "; interrupted, everything is saved",
    }[result["stopped_by"]]


def _bits(result: Mapping[str, Any]) -> str:
    bits = [f"{result[f'test_{name}']:.4f} {name}" for name in ("bpc", "bpb") if result.get(f"test_{name}")]
    return "".join(f" = {b}" for b in bits)

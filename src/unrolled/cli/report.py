"""The last lines of a run: the figure, what it is worth, where the model lies, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def tell_result(result: Mapping[str, Any], run: Path, unit: str) -> None:
    """Print the "result" table of ``config.json`` for a person.

    Args:
        unit: what one unit of the text is called.
    """
    done = f"{result['steps']:,} updates, {result['units']:,} {unit}s in {result['minutes']:.2f} minutes"
    print(f"\ntrained       {done}" + _ending(result))
    if result.get("test_nats") is not None:
        print(f"held-out loss {result['test_nats']:.4f} nats per {unit} ({_interval(result)}){_bits(result)}")
    elif result.get("dev_nats") is not None:
        print(f"dev loss      {result['dev_nats']:.4f} nats per {unit}; nothing was held out for a final figure")
    elif result.get("train_nats") is not None:
        print(f"training loss {result['train_nats']:.4f} nats per {unit}, smoothed; nothing was held out")
    else:
        print("loss          not finite: the training has diverged; use a lower --lr")
    if None not in (result.get("test_nats"), result.get("baseline_nats")):
        gain = result["baseline_nats"] - result["test_nats"]
        worth = f"{abs(gain):.3f} nats {'better' if gain > 0 else 'WORSE: train longer, or a larger network'}"
        print(
            f"baseline      {result['baseline_nats']:.4f} nats per {unit}, {result['baseline']}: the network is {worth}"
        )
    print(f"model         {run}  (loss.png, metrics.jsonl, tensorboard/)")
    print(f"try           unrolled sample {run}")
    print(f"              unrolled score {run} FILE")


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

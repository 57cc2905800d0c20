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
    if "test_nats" in result:
        low, high = result["test_interval"]
        print(
            f"held-out loss {result['test_nats']:.4f} nats per {unit} (95 %: {low:.4f} to {high:.4f})" + _bits(result)
        )
    elif "dev_nats" in result:
        print(f"dev loss      {result['dev_nats']:.4f} nats per {unit}; nothing was held out for a final figure")
    if "baseline" in result:
        gain = result["baseline_nats"] - result["test_nats"]
        word = "better" if gain > 0 else "WORSE"
        print(f"baseline      {result['baseline_nats']:.4f} nats per {unit}, {result['baseline']}: the network is "
              f"{abs(gain):.3f} nats {word}")  # fmt: skip
    print(f"model         {run}  (loss.png, metrics.jsonl, tensorboard/)")
    print(f"try           unrolled sample {run}")
    print(f"              unrolled score {run} FILE")


def _ending(result: Mapping[str, Any]) -> str:
    return {
        "budget": "",
        "patience": "; the dev loss stopped falling",
        "interrupted": "; interrupted, everything is saved",
    }[result["stopped_by"]]


def _bits(result: Mapping[str, Any]) -> str:
    bits = [f"{result[f'test_{name}']:.4f} {name}" for name in ("bpc", "bpb") if f"test_{name}" in result]
    return "".join(f" = {b}" for b in bits)

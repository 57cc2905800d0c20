"""The model card: what a model is, in a page that people read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def model_card(name: str, config: Mapping[str, Any], described: Mapping[str, Any]) -> str:
    """Markdown for ``README.md`` of a model folder.

    Args:
        name: what the model is called.
        config: as ``config.json`` has it. described: what the task says of itself.
    """
    model, train, result = config["model"], config["train"], config.get("result") or {}
    lines = [f"# {name}", "", f"A recurrent {config['task']} model trained with unrolled.", "", "| | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in _rows(model, train, result, described)]
    if not result:
        lines += ["", "Its training is under way, or was cut off: go on with `unrolled train --resume`."]
    elif result.get("stopped_by") == "interrupted":
        lines += ["", "Its training was interrupted: go on with `unrolled train --resume`."]
    lines += ["", "Loss is in nats per unit; `bpc` and `bpb` are bits per character and per byte of the original file."]
    lines += ["The held-out part was read once, at the end; the interval is for 95 %.", "", "```"]
    lines += ["unrolled sample FOLDER --prompt TEXT", "unrolled score FOLDER FILE", "```", ""]
    lines += ["It writes what resembles its training text, and knows nothing else.", ""]
    return "\n".join(lines)


def _rows(
    model: Mapping[str, Any], train: Mapping[str, Any], result: Mapping[str, Any], described: Mapping[str, Any]
) -> list[tuple[str, str]]:
    rows = [
        ("text", str(described["text"]).replace("|", "/")),
        ("units", f"{described['units']}, vocabulary {described['vocabulary']:,}"),
        ("network", f"{model['layers']} x {model['hidden']} {model['cell']}, {model['input']} input"),
        ("parameters", f"{described['parameters']:,}"),
        ("training", f"{train['optimiser']}, rate {train['lr']:g}, {train['schedule']}, {train['batch']} streams, "
                     f"truncated BPTT over {train['bptt']} steps"),
    ]  # fmt: skip
    if result:
        took = "" if result.get("minutes") is None else f", {result['minutes']:.2f} min"
        rows.append(("trained for", f"{result['steps']:,} updates, {result['units']:,} units{took}"))
    if "test_nats" in result:
        low, high = result.get("test_interval") or (None, None)
        span = "" if low is None or high is None else f" ({low:.4f} to {high:.4f})"  # a tiny part has no upper end
        rows.append(("held-out loss", _nats(result["test_nats"]) + span))
        bits = [f"{name} {result[f'test_{name}']:.4f}" for name in ("bpc", "bpb") if result.get(f"test_{name}")]
        if bits:
            rows.append(("held-out bits", ", ".join(bits)))
    if result.get("baseline") is not None:
        rows.append(("baseline", f"{result['baseline']}: {_nats(result['baseline_nats'])}"))
    return rows


def _nats(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f} nats per unit"

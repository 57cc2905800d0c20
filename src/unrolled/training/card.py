"""The model card: what a model is, in a page that people read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

USES = {"language": ("unrolled sample FOLDER --prompt TEXT", "unrolled score FOLDER FILE")}
OTHER_USES = ("unrolled predict FOLDER INPUT", "unrolled evaluate FOLDER DATA")


def model_card(name: str, config: Mapping[str, Any], described: Mapping[str, Any]) -> str:
    """Markdown for ``README.md`` of a model folder.

    Args:
        name: what the model is called.
        config: as ``config.json`` has it.
        described: what the task says of itself; its ``card``, pairs of strings, stands at the top of the table and
            says what the data and the network are (the language model's are known here).
    """
    task, result = config["task"], config.get("result") or {}
    rows = [*_about(config, described), *_training(config["train"], result, task), *_figures(result)]
    lines = [f"# {name}", "", f"A recurrent {task} model trained with unrolled.", "", "| | |", "|---|---|"]
    lines += [f"| {key} | {_cell(value)} |" for key, value in rows]
    if not result:
        lines += ["", "Its training is under way, or was cut off: go on with `unrolled train --resume`."]
    elif result.get("stopped_by") == "interrupted":
        lines += ["", "Its training was interrupted: go on with `unrolled train --resume`."]
    lines += ["", "Loss is in nats per unit" + ("; `bpc` and `bpb` are bits per character and per byte of the original "
              "file." if task == "language" else ".")]  # fmt: skip
    lines += ["The held-out part was read once, at the end; the interval is for 95 %.", "", "```"]
    lines += [*USES.get(task, OTHER_USES), "```", ""]
    lines += ["It writes what resembles its training text, and knows nothing else." if task == "language" else
              "It answers as its training examples do, and knows nothing else.", ""]  # fmt: skip
    return "\n".join(lines)


def _cell(value: str) -> str:
    return " ".join(value.replace("|", "/").split())


def _about(config: Mapping[str, Any], described: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the data and the network are."""
    if "card" in described:
        rows = [(str(key), str(value)) for key, value in described["card"]]
        return [*rows, ("parameters", f"{described['parameters']:,}")]
    model = config["model"]
    return [
        ("text", str(described["text"])),
        ("units", f"{described['units']}, vocabulary {described['vocabulary']:,}"),
        ("network", f"{model['layers']} x {model['hidden']} {model['cell']}, {model['input']} input"),
        ("parameters", f"{described['parameters']:,}"),
    ]


def _training(train: Mapping[str, Any], result: Mapping[str, Any], task: str) -> list[tuple[str, str]]:
    many = f"{train['batch']} streams, truncated BPTT over {train['bptt']} steps"
    if task != "language":
        many = f"{train['batch']} examples an update"
    rows = [("training", f"{train['optimiser']}, rate {train['lr']:g}, {train['schedule']}, {many}")]
    if result:
        took = "" if result.get("minutes") is None else f", {result['minutes']:.2f} min"
        rows.append(("trained for", f"{result['steps']:,} updates, {result['units']:,} units{took}"))
    return rows


def _figures(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    if "test_nats" in result:
        low, high = result.get("test_interval") or (None, None)
        span = "" if low is None or high is None else f" ({low:.4f} to {high:.4f})"  # a tiny part has no upper end
        rows.append(("held-out loss", _nats(result["test_nats"]) + span))
        bits = [f"{name} {result[f'test_{name}']:.4f}" for name in ("bpc", "bpb") if result.get(f"test_{name}")]
        if bits:
            rows.append(("held-out bits", ", ".join(bits)))
    if result.get("baseline") is not None:
        rows.append(("baseline", f"{result['baseline']}: {_nats(result['baseline_nats'])}"))
    part = "held-out" if result.get("report_part") == "test" else result.get("report_part")
    for name, (value, *interval, unit) in (result.get("figures") or {}).items():
        span = f" ({interval[0]:.4f} to {interval[1]:.4f})" if interval and None not in interval else ""
        rows.append((f"{part} {name}", _number(value) + (f" {unit}" if unit else "") + span))
    for name, values in result.get("baselines") or []:
        rows.append((f"baseline: {name}", ", ".join(f"{n} {_number(v)}" for n, v in values.items())))
    return rows


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"


def _nats(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f} nats per unit"

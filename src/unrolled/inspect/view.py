"""The text view: a text coloured by any of some units, the most probable next units, and places the network finds
alike. Data goes into the page as base64 of small integers, so that 10,000 positions of 80 units are about a megabyte.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.inspect.likeness import similar
from unrolled.inspect.reading import Reading
from unrolled.inspect.units import UnitProbe

LONGEST = 10_000
"""Positions that a view shows."""
BUDGET = 820_000
"""Bytes of activations on a page, before base64 makes four of three."""
MOST_VARIABLE = 64


@dataclasses.dataclass(frozen=True)
class Shown:
    """A unit that can be chosen in the view, and why it is among them."""

    name: str
    why: str


def shown_units(reading: Reading, probes: Sequence[UnitProbe], *, most: int) -> list[Shown]:
    """The best units of each feature, one rank after another, and then the most variable, up to ``most`` in all.

    Variable means the standard deviation over that of the unit's own state and layer: c has a larger range than h.
    """
    reasons: dict[str, str] = {}
    for rank in range(2):
        for probe in probes:
            if rank < len(probe.best):
                unit = probe.best[rank].unit
                also = f"{'Best' if rank == 0 else 'Second'} for: {probe.words}."
                reasons[unit] = f"{reasons[unit]} {also}" if unit in reasons else also
    spread: dict[str, float] = {}
    for key, part in reading.states.items():
        deviation = part.std(0)
        spread |= {f"{key}.{j}": float(d) for j, d in enumerate(deviation / max(float(deviation.mean()), 1e-12))}
    variable = sorted((name for name in spread if name not in reasons), key=lambda name: -spread[name])[:MOST_VARIABLE]
    chosen = [Shown(name, why) for name, why in reasons.items()]
    return (chosen + [Shown(name, "Among the most variable.") for name in variable])[: max(1, most)]


def text_view(
    label: str,
    units: Sequence[str],
    vocabulary: Sequence[str],
    reading: Reading,
    shown: Sequence[Shown],
    number: int = 0,
) -> str:
    """One view as markup; :func:`assets` gives the style and the script that all views of a page share.

    Args:
        units: (N,) the text; the first :data:`LONGEST` positions are shown. number: of the view, for its ids.
    """
    N = min(len(units), LONGEST)
    levels, about = zip(*(_quantised(reading, unit, N) for unit in shown), strict=True)
    used, local = np.unique(reading.top[:N], return_inverse=True)
    top_key = [key for key in reading.states if key.rpartition(".")[2].startswith("h")][-1]
    near, cosines = similar(reading.states[top_key][:N])
    data = {
        "text": list(units[:N]),
        "units": about,
        "levels": _base64(np.stack(levels)),
        "vocabulary": [vocabulary[k] for k in used.tolist()],
        "top": reading.top.shape[1],
        "next": _base64(local.astype("<u2")),
        "chances": _base64(np.rint(reading.probability[:N] * 255).astype(np.uint8)),
        "near_count": near.shape[1],
        "near": _base64(near.astype("<i4")),
        "likeness": _base64(np.rint(cosines * 127).astype(np.int8)),
    }
    # no "<" reaches the page, so no text can end the script element
    packed = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f'<div class="unrolled-view" id="view{number or ""}"><h3>{html.escape(label)}</h3>'
        f"<p>{_choice(shown, number)}</p>"
        '<p class="legend" aria-live="polite"></p>'
        f'<div class="text" tabindex="0" role="group" aria-label="{_quoted(label)}, coloured by the chosen unit'
        '. Arrow keys move, Enter finds similar places."></div>'
        '<p class="detail" aria-live="polite"></p>'
        '<div class="strip" role="group" aria-label="The most probable next units, best first, under each unit"></div>'
        f'<div class="found"></div><noscript>The text view needs JavaScript.</noscript>'
        f'<script type="application/json">{packed}</script></div>'
    )


def assets() -> tuple[str, str]:
    """The views' style and script."""
    style, script = (
        resources.files("unrolled.inspect").joinpath(f"view.{e}").read_text("utf-8") for e in ("css", "js")
    )
    return style, script


def _choice(shown: Sequence[Shown], number: int) -> str:
    """The select, grouped by why a unit is there, and a field for its name."""
    suffix = number or ""
    groups: dict[str, list[str]] = {}
    for one in shown:
        group = "Most variable" if one.why.startswith("Among") else "Follows a feature best"
        note = "" if group == "Most variable" else f" ({one.why.rstrip('.')})"
        groups.setdefault(group, []).append(
            f'<option value="{_quoted(one.name)}">{html.escape(one.name + note)}</option>'
        )
    body = "".join(f'<optgroup label="{name}">{"".join(options)}</optgroup>' for name, options in groups.items())
    return (
        f'<label>Coloured by <select class="unit" id="unit{suffix}">{body}</select></label> '
        f'<label>or by name <input class="unit-name" id="unit-name{suffix}" size="8" spellcheck="false"></label>'
    )


def _quoted(text: str) -> str:
    return html.escape(text, quote=True)


def _quantised(reading: Reading, unit: Shown, N: int) -> tuple[NDArray[np.int8], dict[str, Any]]:
    key, _, j = unit.name.rpartition(".")
    values = reading.states[key][:N, int(j)]
    scale = float(np.abs(values).max()) or 1.0
    return np.rint(values / scale * 127).astype(np.int8), {"name": unit.name, "why": unit.why, "scale": scale}


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")

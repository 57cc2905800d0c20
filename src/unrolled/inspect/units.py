"""Which unit follows what: chosen on one half of a text, reported on the other, beside a null and three controls."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import UserError
from unrolled.inspect.controls import contexts, linear_probe, local_cue
from unrolled.inspect.features import Feature, unfit
from unrolled.inspect.ranks import FEWEST_POSITIONS, associations

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Found:
    """A unit and how it follows a feature. Scores are AUC for a two-valued feature and Spearman's rho for a scalar.

    Attributes:
        unit: ``c0.12`` is unit 12 of the cell state of layer 0.
        sign: 1, or -1 where the unit is low while the feature is high; both scores are with this sign.
        chosen_on: the score on the first half, where unit and sign were chosen. score: on the second.
    """

    unit: str
    sign: int
    chosen_on: float
    score: float


@dataclasses.dataclass(frozen=True)
class UnitProbe:
    """What a search found for one feature.

    Attributes:
        feature: its name. words: for people. two_valued: scores are AUC, else Spearman's rho.
        best: the units that followed it best on the first half, best first.
        null: (S,) ascending: over circular shifts of the feature in the second half, the best score that *any* unit
            with *either* sign reaches there.
        twin: the same search in the network before training; None without one.
        cue: the best score, on the second half, from the last three characters alone; None where no text was given.
        probe: of a linear probe over the state and layer that holds the best unit (of tanh(c) for a c).
    """

    feature: str
    words: str
    two_valued: bool
    best: list[Found]
    null: Floats
    twin: Found | None = None
    cue: float | None = None
    probe: float | None = None

    @property
    def null_95(self) -> float:
        """What the null exceeds in one of twenty shifts."""
        return float(np.quantile(self.null, 0.95))

    @property
    def p(self) -> float:
        """Share of the null that reaches the best unit's score, itself counted in."""
        return float((1 + (self.null >= self.best[0].score).sum()) / (1 + len(self.null)))


def unit_probe(
    states: Mapping[str, NDArray[Any]],
    features: Sequence[Feature],
    *,
    units: Sequence[str] | None = None,
    untrained: Mapping[str, NDArray[Any]] | None = None,
    top: int = 5,
) -> list[UnitProbe]:
    """Search all units of all layers for those that follow each feature.

    Unit and sign are chosen on the first half of the text, by the largest |2 AUC - 1| or |rho|; what is reported is the
    score on the second half, where nothing was chosen.

    The null is the maximum over all units and both signs, over shifts of the feature *in the second half*. That is a
    choice with hindsight, made there anew for each shift, so it is at least as large as what the procedure itself would
    reach by chance (whose choice was made elsewhere): the test errs on the safe side, and it needs no correction for
    the number of units. See :func:`unrolled.inspect.ranks.associations` for the shifts.

    Args:
        states: by key (``h0``, ``c0``), (N, H): :attr:`unrolled.inspect.reading.Reading.states`.
        features: over the same N positions; each must vary in both halves (:func:`~unrolled.inspect.features.unfit`).
        units: (N,) the text, for the control from the last three characters.
        untrained: the states of the untrained twin on the same text.
        top: how many units are kept for each feature.
    Raises:
        UserError: a text of under 500 units, in which too few shifts are to be had, or a feature that hardly varies.
        ValueError: lengths that disagree.
    """
    N = _checked(states, features)
    half = N // 2
    halves = [f.values[:half] for f in features], [f.values[half:] for f in features]
    names, pairs, null = _search(states, *halves, shifts=True)
    twins = _search(untrained, *halves, shifts=False) if untrained is not None else None
    near = contexts(units) if units is not None else None
    found = []
    for k, feature in enumerate(features):
        best = _best(feature, names, pairs[0][k], pairs[1][k], top)
        twin = _best(feature, twins[0], twins[1][0][k], twins[1][1][k], 1)[0] if twins else None
        cue = _shown(feature, local_cue(near, feature.values)) if near is not None else None
        found.append(UnitProbe(feature.name, feature.words, feature.two_valued, best,
                               np.sort(_shown(feature, null[k])), twin, cue))  # fmt: skip
    return _with_probes(found, states, features)


def _search(
    states: Mapping[str, NDArray[Any]], first: list[NDArray[Any]], second: list[NDArray[Any]], *, shifts: bool
) -> tuple[list[str], tuple[Floats, Floats], list[Floats]]:
    """Names of all units; associations (F, U) on either half; the null on the second."""
    half = len(first[0])
    names = [f"{key}.{j}" for key, part in states.items() for j in range(part.shape[1])]
    whole = np.concatenate(list(states.values()), 1)
    chosen, _ = associations(whole[:half], first)
    reported, null = associations(whole[half:], second, shifts=shifts)
    return names, (chosen, reported), null


def _best(feature: Feature, names: list[str], chosen: Floats, reported: Floats, top: int) -> list[Found]:
    order = np.argsort(-np.abs(chosen), kind="stable")[:top]
    signs = np.where(chosen < 0, -1, 1)
    return [
        Found(names[j], int(signs[j]), float(_shown(feature, signs[j] * chosen[j])),
              float(_shown(feature, signs[j] * reported[j])))
        for j in order.tolist()
    ]  # fmt: skip


def _shown(feature: Feature, association: Any) -> Any:
    """AUC from 2 AUC - 1; rho as it is."""
    return (association + 1) / 2 if feature.two_valued else association


def _with_probes(
    found: list[UnitProbe], states: Mapping[str, NDArray[Any]], features: Sequence[Feature]
) -> list[UnitProbe]:
    """The linear probe of each feature, over the state and layer of its best unit; those of one layer together.

    It reads c as the cell does, through tanh: without it a few units that count far beyond 1 carry the regression away.
    """
    keys = [probe.best[0].unit.rpartition(".")[0] for probe in found]
    done = list(found)
    for key in dict.fromkeys(keys):
        members = [k for k, own in enumerate(keys) if own == key]
        layer = np.tanh(states[key]) if _state(key) == "c" else states[key]
        scores = linear_probe(layer, [features[k].values for k in members])
        for k, score in zip(members, scores, strict=True):
            done[k] = dataclasses.replace(found[k], probe=float(_shown(features[k], score)))
    return done


def _state(key: str) -> str:
    """``c`` of ``decoder.c0``."""
    return key.rpartition(".")[2][0]


def _checked(states: Mapping[str, NDArray[Any]], features: Sequence[Feature]) -> int:
    if not states or not features:
        raise ValueError("unit_probe: no states, or no features")
    lengths = {len(part) for part in states.values()} | {len(f.values) for f in features}
    if len(lengths) > 1:
        raise ValueError(f"unit_probe: states and features have different lengths: {sorted(lengths)}")
    N = lengths.pop()
    if N < 2 * FEWEST_POSITIONS:
        raise UserError(f"a text of {N:,} units is too short to search for units; give at least {2 * FEWEST_POSITIONS}")
    for feature in features:
        why = unfit(feature)
        if why is not None:
            raise UserError(f"{feature.name}: {why}; give a longer text, or leave the feature out")
    return N

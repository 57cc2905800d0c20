"""Pairs read, split by their sources, and cut into units."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unrolled.data import dates
from unrolled.data.examples import Ragged, split_by_key
from unrolled.data.pairs import Pairs, read_pairs
from unrolled.data.reading import split_key
from unrolled.data.wording import counted
from unrolled.errors import UserError
from unrolled.tasks.translate.config import TranslateData
from unrolled.tasks.translate.sides import Side

Ints = NDArray[np.int64]
PARTS = ("train", "dev", "test")
WAYS = "ways"
"""The part of the generated dates that is written in ways never learnt from."""
HELD = 2000
"""Dates in each part of the generated ones that is not learnt from."""


@dataclasses.dataclass
class Corpus:
    """Distinct sources with their targets, in parts.

    Attributes:
        pairs: all of them, n sources.
        parts: by name (``train``, ``dev``, ``test``, for generated dates also ``ways``) the numbers of their sources.
        source, target: the units of the sides.
        sources: (n,) their ids. targets: (m,) the ids of all targets, one source's after another's.
        first: (n+1,) where each source's targets begin.
        ratio: units of a target for one of its source, in training.
        notes: what people should know.
    """

    pairs: Pairs
    parts: dict[str, Ints]
    source: Side
    target: Side
    sources: Ragged
    targets: Ragged
    first: Ints
    ratio: float
    notes: list[str]

    def pairs_of(self, rows: Ints) -> tuple[Ints, Ints]:
        """The pairs of sources ``rows``: numbers of their sources and of their targets, (k,) each."""
        counts = self.first[rows + 1] - self.first[rows]
        sources = np.repeat(rows, counts)
        starts = np.repeat(self.first[rows] - (np.cumsum(counts) - counts), counts)
        return sources, starts + np.arange(int(counts.sum()))

    def units(self, part: str) -> int:
        """Scored units of a part: those of all its targets, and their ends."""
        _, targets = self.pairs_of(self.parts.get(part, np.zeros(0, np.int64)))
        return int(self.targets.lengths[targets].sum()) + len(targets)

    @property
    def digest(self) -> str:
        """Identifies the data, its split and its units' ids."""
        found = hashlib.blake2b(digest_size=16)
        for array in (self.sources.values, self.sources.offsets, self.targets.values, self.targets.offsets, self.first):
            found.update(np.ascontiguousarray(array, dtype=np.int64).tobytes())
        for name in PARTS:
            found.update(self.parts[name].tobytes())
        return found.hexdigest()

    @property
    def summary(self) -> str:
        """One line about it."""
        pairs, parts = self.pairs, self.parts
        sizes = ", ".join(f"{len(parts[name]):,} {words}" for name, words in
                          (("train", "to learn from"), ("dev", "to watch"), ("test", "held out")))  # fmt: skip
        return (
            f"{pairs.label}: {counted(len(pairs), 'source')} with {counted(int(self.first[-1]), 'target')} ({sizes}); "
            f"{self.source.V:,} {self.source.units.kind} units in, {self.target.V:,} {self.target.units.kind} units out"
        )


def open_corpus(paths: Sequence[str], data: TranslateData, sides: tuple[Side, Side] | None = None) -> Corpus:
    """Read, split and encode.

    Args:
        paths: see :func:`unrolled.data.pairs.read_pairs`; none: dates that are made up.
        sides: the units of an older model; learnt from the training part where there are none.
    Raises:
        UserError: files that cannot be read, a part that is empty.
    """
    pairs, parts = _read(list(paths), data) if paths else _dates(data)
    notes = list(pairs.notes)
    if not len(parts["train"]):
        raise UserError(f"{pairs.label}: nothing is left to learn from; use --heldout 0 --dev 0, or name more data")
    source, target = sides or _learn(pairs, parts["train"], data)
    flat = [one for several in pairs.targets for one in several]
    first = np.concatenate(([0], np.cumsum([len(several) for several in pairs.targets]))).astype(np.int64)
    sources, targets = source.encode(pairs.sources), target.encode(flat)
    corpus = Corpus(pairs, parts, source, target, sources, targets, first, 1.0, notes)
    ins, outs = corpus.pairs_of(parts["train"])
    corpus.ratio = float(targets.lengths[outs].sum() / max(1, sources.lengths[ins].sum()))
    for name, side, ids in (("source", source, sources), ("target", target, targets)):
        unknown = 0 if side.unk is None else int((ids.values == side.unk).sum())
        if unknown:
            notes.append(f"{counted(unknown, 'unit')} of the {name} of {len(ids.values):,} unknown")
    return corpus


def _read(paths: list[str], data: TranslateData) -> tuple[Pairs, dict[str, Ints]]:
    """Pairs of the files, and their parts: by a hash of the source, or as the files say."""
    pairs = read_pairs(paths, data.reading)
    heldout = 0.0 if data.test_file else data.heldout
    dev = 0.0 if data.dev_file else data.dev
    parts = split_by_key([split_key(source) for source in pairs.sources], heldout, dev, data.split_seed)
    for name, path in (("dev", data.dev_file), ("test", data.test_file)):
        if path is not None:
            more = read_pairs([path], data.reading)
            parts[name] = np.arange(len(pairs), len(pairs) + len(more))
            pairs = Pairs(pairs.label, pairs.format, pairs.sources + more.sources, pairs.targets + more.targets,
                          pairs.where + more.where, pairs.lines + more.lines, pairs.notes + more.notes)  # fmt: skip
    held: set[str] = set()
    if data.dev_file or data.test_file:  # else the hash has seen to it
        held = {split_key(pairs.sources[k]) for name in ("dev", "test") for k in parts[name]}
    both = [k for k in parts["train"] if split_key(pairs.sources[k]) in held]
    if both:
        pairs.notes.append(
            f"{counted(len(both), 'source')} of the training files left out: also in the dev or test file"
        )
        parts["train"] = np.setdiff1d(parts["train"], both)
    return pairs, parts


def _dates(data: TranslateData) -> tuple[Pairs, dict[str, Ints]]:
    """Made-up dates; the years of the dev and of the test part are in no other, nor are the ways of ``ways``."""
    years, pairs, parts = dates.split_years(data.split_seed), Pairs("dates, made up", "tsv"), {}
    for k, (name, year, ways, n) in enumerate((
        ("train", "train", dates.WAYS, data.examples), ("dev", "dev", dates.WAYS, HELD),
        ("test", "test", dates.WAYS, 2 * HELD), (WAYS, "test", dates.HELD_WAYS, HELD),
    )):  # fmt: skip
        made = dates.make_dates(n, 4 * data.split_seed + k, years[year], ways)
        seen = dict(zip(made.sources, made.targets, strict=True))
        parts[name] = np.arange(len(pairs), len(pairs) + len(seen))
        pairs.sources += seen
        pairs.targets += [[target] for target in seen.values()]
        pairs.where += [f"made up, number {i + 1}" for i in range(len(seen))]
        pairs.lines += n
    pairs.notes.append("the years of the dev and the test part are not among those learnt from")
    return pairs, parts


def _learn(pairs: Pairs, rows: Ints, data: TranslateData) -> tuple[Side, Side]:
    ins = [pairs.sources[k] for k in rows]
    outs = [target for k in rows for target in pairs.targets[k]]
    kind = data.units
    if data.shared:
        side = Side.learn([*ins, *outs], kind, data.vocab_size, data.min_count)
        return side, side
    return (
        Side.learn(ins, kind, data.vocab_size, data.min_count),
        Side.learn(outs, data.target_units or kind, data.vocab_size, data.min_count),
    )

"""A text as a model reads it: tokens in a memory-mapped file, the vocabulary, and the train, dev and test parts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.data.build import SPLIT_SEED, Made, Progress, TextBuilder
from unrolled.data.bytefile import build_bytes, map_source
from unrolled.data.cache import cache_folder, new_entry, touch
from unrolled.data.config import TextConfig
from unrolled.data.detect import codec_name
from unrolled.data.records import Permutation, RecordIds, Records
from unrolled.data.split import SPLIT_RULE
from unrolled.data.text import Source
from unrolled.data.units import ByteUnits, TokenArray, Units, units_from_json
from unrolled.data.wording import counted
from unrolled.errors import UserError
from unrolled.settings import to_dict

FORMAT = 3  # of a cache entry; raise it when the tokens of the same text would differ
BLOCK = 1 << 20


@dataclass(frozen=True)
class Part:
    """A part of the text.

    Attributes:
        start, stop: tokens [start, stop) of unbroken text; 0, 0 with records.
        chars, bytes: how many characters, and bytes of the original file, the part is.
        units: how many targets it offers: its tokens, or with records the tokens of each and its end.
        records: the numbers of its records, or None for unbroken text.
    """

    start: int
    stop: int
    chars: int
    bytes: int
    units: int
    records: RecordIds | None = None


@dataclass
class Corpus:
    """A text, ready to be read in streams.

    Attributes:
        tokens: 1-D, uint8, uint16 or uint32, memory-mapped; the parts of unbroken text lie in it one after another.
        units: the vocabulary.
        parts: "train", "dev" and "test"; a part may be empty.
        records: where each record lies, or None for unbroken text.
        digest: identifies content, vocabulary, split and the rules of encoding and splitting, for resuming.
        notes: what was assumed or left out, one line each.
        chars, bytes: of the whole text, byte-order marks and empty records left out.
        label: what the text is called.
    """

    tokens: TokenArray
    units: Units
    parts: dict[str, Part]
    records: Records | None
    digest: str
    notes: list[str]
    chars: int
    bytes: int
    label: str
    encoding: str
    _keep: list[Any] = field(default_factory=list, repr=False)

    @property
    def summary(self) -> str:
        """One line: what was read and how it was taken."""
        what = f"{self.label}: {counted(self.bytes, 'byte')}, {counted(self.chars, 'character')} ({self.encoding})"
        if self.records is not None:
            what += f", {counted(len(self.records), 'record')}"
        sizes = ", ".join(f"{name} {self.parts[name].units:,}" for name in ("train", "dev", "test"))
        return f"{what}; {counted(len(self.units), f'distinct {self.units.kind} unit')}; {sizes}"


def load_corpus(
    source: Source,
    config: TextConfig,
    *,
    units: Units | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """Read a text into tokens, or find them in the cache.

    Args:
        source: what to read (:func:`unrolled.data.text.open_source`).
        units: an existing vocabulary to encode with; without it one is learnt.
        cache: the cache folder, instead of the usual one.
        progress: called with the stage and the fraction of it that is done.
    Raises:
        UserError: an empty or too short text, one that does not decode, binary data, or unknown units.
    """
    codec = codec_name(config.encoding)
    if units is not None and units.kind != config.units:
        raise UserError(
            f"--units {config.units}: the vocabulary given is of {units.kind} units; use --units {units.kind}"
        )
    folder, note = cache_folder(cache)
    content = _hash(source, progress)
    vocabulary = None if units is None else units.to_json()
    entry = folder / _digest([FORMAT, SPLIT_RULE, content, source.plain is not None, to_dict(config), vocabulary])
    corpus = _open(entry, source, content, config, codec)
    if corpus is None:
        with new_entry(entry) as work:
            made = _build(source, config, units, work, progress)
            (work / "meta.json").write_text(json.dumps(made.to_json()), encoding="utf-8")
        corpus = _open(entry, source, content, config, codec)
    if corpus is None:
        raise UserError(f"cache {entry}: damaged as soon as written; check the disk, or set UNROLLED_CACHE")
    corpus.notes[:0] = source.notes + ([note] if note and note not in source.notes else [])
    return corpus


def _build(source: Source, config: TextConfig, units: Units | None, work: Path, progress: Progress | None) -> Made:
    if config.units == "byte":
        if units is not None and not isinstance(units, ByteUnits):
            raise UserError("--units byte: the vocabulary given is not of bytes")
        return build_bytes(source, config, units, work, progress)
    return TextBuilder(source, config, units, work, progress).build()


def _hash(source: Source, progress: Progress | None) -> str:
    """A digest of the contents of all files, in order, and of where each ends. Names do not count."""
    state = hashlib.blake2b(digest_size=20)
    for _, blocks in source.files(BLOCK):
        size = 0
        for block in blocks:
            state.update(block)
            size += len(block)
            if progress is not None:
                progress("checking", source.place.fraction)
        state.update(size.to_bytes(8, "little"))
    return state.hexdigest()


def _digest(parts: Any) -> str:
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=20).hexdigest()


def _open(entry: Path, source: Source, content: str, config: TextConfig, codec: str) -> Corpus | None:
    """The corpus of a cache entry, or None where there is none or it is damaged."""
    try:
        made = Made(**json.loads((entry / "meta.json").read_text(encoding="utf-8")))
        tokens = map_source(source) if made.mapped else _map(entry / "tokens.bin", made.dtype)
        if tokens is None or len(tokens) != made.tokens:
            return None
        units = units_from_json(made.units, str(entry))
        records = None
        if made.records is not None:
            rows = _map(entry / "records.bin", "int64").reshape(made.records, 4)
            assert units.end is not None
            records = Records(rows, units.end)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    touch(entry)
    split = [config.heldout, config.dev, config.records]
    return Corpus(
        tokens,
        units,
        _parts(made.parts, records),
        records,
        _digest([FORMAT, SPLIT_RULE, content, made.units, split, config.unknown]),
        list(made.notes),
        made.chars,
        made.bytes,
        source.label,
        codec,
        [source],  # a spooled pipe lives as long as its source
    )


def _map(path: Path, dtype: str) -> TokenArray:
    return np.asarray(np.memmap(path, dtype=dtype, mode="r"))


def _parts(saved: Mapping[str, list[int]], records: Records | None) -> dict[str, Part]:
    order = None if records is None else Permutation(len(records), SPLIT_SEED)
    parts = {}
    for name, (start, stop, chars, size, targets) in saved.items():
        ids = None if order is None else RecordIds(order, start, stop)
        low, high = (start, stop) if ids is None else (0, 0)
        parts[name] = Part(low, high, chars, size, targets, ids)
    return parts

"""A text becomes a token file: survey, vocabulary, encoding, each one pass over the text in constant memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from unrolled.data.config import TextConfig
from unrolled.data.decode import RecordGroup, TextBlock, TextReader, record_groups, whole_units
from unrolled.data.learn import Learner, learn_subwords, learner
from unrolled.data.records import Permutation, RecordIds, Records
from unrolled.data.split import PARTS, Cut, find_cuts, split_points
from unrolled.data.text import Source
from unrolled.data.units import Units, token_type
from unrolled.data.wording import counted, unknowns_note
from unrolled.errors import UserError

Progress = Callable[[str, float], None]
SPLIT_SEED = 0  # of the shuffle that deals records to the parts: the same text is always split in the same way


@dataclass
class Made:
    """What building found, as it is saved beside the tokens.

    Attributes:
        parts: for each part: start, stop (tokens; with records: places in the shuffled order), chars, bytes, targets.
        tokens: number of tokens in the file.
        records: number of records, or None for unbroken text.
        mapped: the text file itself is the token file.
    """

    tokens: int
    dtype: str
    parts: dict[str, list[int]]
    chars: int
    bytes: int
    units: dict[str, Any]
    records: int | None = None
    mapped: bool = False
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class TextBuilder:
    """Builds the token file of a text that is decoded: every kind of units but bytes."""

    def __init__(
        self, source: Source, config: TextConfig, units: Units | None, folder: Path, progress: Progress | None
    ) -> None:
        self.source, self.config, self.units, self.folder = source, config, units, folder
        self.progress = progress
        self.reader = TextReader(source, config.encoding)
        self.notes: list[str] = []
        self.unknowns = 0 if units is None else units.unknowns
        self.crlf = False
        # A vocabulary of all of the text can be learnt along with the survey; BPE needs a pass of its own.
        self.learner: Learner | None = None
        if units is None and config.vocab == "all" and config.units != "bpe":
            self.learner = learner(config.units, source.label)

    def build(self) -> Made:
        """Write ``tokens.bin`` (and ``records.bin``) and say what is in them."""
        return self._unbroken() if self.config.delimiter is None else self._records(self.config.delimiter)

    # Unbroken text.

    def _unbroken(self) -> Made:
        total = self._survey()
        if total.chars == 0:
            raise _empty(self.source)
        places = split_points(total.chars, self.config, self.source.label, "character", given=self.units is not None)
        cuts = find_cuts(self.reader, places, total, whole=self.config.units != "char")
        edges = [Cut(0, 0), *cuts, total]
        units = self.units or self._learn_unbroken(edges)
        stops = self._encode_unbroken(units, edges)
        parts = {}
        for name, low, high, start, stop in zip(PARTS, edges, edges[1:], [0, *stops], stops, strict=False):
            parts[name] = [start, stop, high.chars - low.chars, high.bytes - low.bytes, stop - start]
        return self._made(stops[-1], parts, total, units)

    def _survey(self) -> Cut:
        """Count, refuse what is not text, and learn along where that is possible."""
        chars = size = 0

        def texts() -> Iterator[str]:
            nonlocal chars, size
            for block in self._blocks("reading", check=True):
                chars += len(block.text)
                size += block.bytes
                yield block.text

        for text in texts() if self.config.units == "char" else whole_units(texts()):
            if self.learner is not None:
                self.learner.add(text)
        self._note_marks()
        return Cut(chars, size)

    def _part_texts(self, stage: str, edges: list[Cut]) -> Iterator[tuple[int, Iterator[str]]]:
        """Each part's number and text; the text is cut between units."""

        def pieces() -> Iterator[tuple[int, str]]:
            part, at = 0, 0
            for block in self._blocks(stage):
                text = block.text
                while text:
                    while part < 2 and at >= edges[part + 1].chars:
                        part += 1
                    room = edges[part + 1].chars - at if part < 2 else len(text)
                    yield part, text[:room]
                    at, text = at + len(text[:room]), text[room:]

        for part, run in itertools.groupby(pieces(), key=lambda piece: piece[0]):
            texts = (text for _, text in run)
            yield part, texts if self.config.units == "char" else whole_units(texts)

    def _learn_unbroken(self, edges: list[Cut]) -> Units:
        wanted = {PARTS.index("train")} if self.config.vocab == "train" else {0, 1, 2}
        runs = self._part_texts("learning units", edges)
        return self._learn(text for part, texts in runs for text in texts if part in wanted)

    def _encode_unbroken(self, units: Units, edges: list[Cut]) -> list[int]:
        """Write the tokens; the token after the last of each part."""
        dtype = token_type(len(units))
        stops, done, at = [0, 0, 0], 0, 0
        with open(self.folder / "tokens.bin", "wb") as out:
            for part, texts in self._part_texts("encoding", edges):
                for text in texts:
                    ids = units.encode(text, unknown=self.config.unknown, where=self.source.label, at=done)
                    out.write(ids.astype(dtype).tobytes())
                    done, at = done + len(ids), at + len(text)
                stops[part:] = [done] * (3 - part)
        if at != edges[3].chars:
            raise _changed(self.source)
        return stops

    # Records.

    def _records(self, delimiter: str) -> Made:
        count = empty = chars = size = 0
        ended = False
        for group in self._groups("reading", delimiter, check=True):
            count, empty = count + len(group.records), empty + group.empty
            chars, size = chars + sum(group.chars), size + sum(group.bytes)
            ended = ended or group.empty > 0 or sum(group.chars) > sum(map(len, group.records))
            self._add(group.records)
        self._note_marks()
        if count == 0:
            raise _empty(self.source)
        if empty:
            self.notes.append(f"{counted(empty, 'empty record')} left out")
        if not ended and self.units is None:
            self.notes.append(no_delimiter(self.config, count, self.source.label))
        edges = [0, *split_points(count, self.config, self.source.label, "record"), count]
        order = Permutation(count, SPLIT_SEED)
        units = self.units or self._learn_records(delimiter, order, edges[1:3])
        if units.end is None or units.end_text != delimiter:
            raise UserError(f"--records {self.config.records}: this vocabulary has no such record end; leave it out")
        tokens = self._encode_records(units, delimiter, count)
        rows = np.memmap(self.folder / "records.bin", dtype=np.int64, mode="r", shape=(count, 4))
        parts = record_parts(Records(rows, units.end), order, edges)
        return self._made(tokens, parts, Cut(chars, size), units, count)

    def _add(self, records: list[str]) -> None:
        if self.learner is not None:
            if self.config.units == "char":
                self.learner.add("".join(records))
            else:
                for record in records:
                    self.learner.add(record)

    def _learn_records(self, delimiter: str, order: Permutation, train: list[int]) -> Units:
        def texts() -> Iterator[str]:
            for group in self._groups("learning units", delimiter):
                numbers = group.first + np.arange(len(group.records))
                places = order.inverse(numbers)
                inside = (places >= train[0]) & (places < train[1])
                chosen = inside if self.config.vocab == "train" else numbers >= 0
                yield from itertools.compress(group.records, chosen)

        return self._learn(texts())

    def _encode_records(self, units: Units, delimiter: str, count: int) -> int:
        dtype = token_type(len(units))
        done = seen = 0
        with open(self.folder / "tokens.bin", "wb") as out, open(self.folder / "records.bin", "wb") as rows:
            for group in self._groups("encoding", delimiter):
                where = f"{self.source.label}, records from number {group.first + 1} on"
                ids, counts = units.encode_many(group.records, unknown=self.config.unknown, where=where)
                stops = done + np.cumsum(counts)
                write_rows(rows, stops - counts, stops, group.chars, group.bytes)
                out.write(ids.astype(dtype).tobytes())
                done, seen = done + len(ids), seen + len(group.records)
        if seen != count:
            raise _changed(self.source)
        return done

    # Both.

    def _blocks(self, stage: str, *, check: bool = False) -> Iterator[TextBlock]:
        for block in self.reader.blocks(check=check):
            if self.progress is not None:
                self.progress(stage, self.source.place.fraction)
            self.crlf = self.crlf or (check and "\r\n" in block.text)
            yield block

    def _groups(self, stage: str, delimiter: str, *, check: bool = False) -> Iterator[RecordGroup]:
        return record_groups(self._blocks(stage, check=check), delimiter)

    def _learn(self, texts: Iterator[str]) -> Units:
        """The vocabulary: the one learnt along with the survey, or one learnt from ``texts``."""
        if self.config.units == "bpe":
            return learn_subwords(texts, self.config)
        if self.learner is None:
            self.learner = learner(self.config.units, self.source.label)
            for text in texts:
                self.learner.add(text)
        return self.learner.units(self.config)

    def _note_marks(self) -> None:
        if self.reader.marks:
            some = "a byte-order mark was" if self.reader.marks == 1 else f"{self.reader.marks} byte-order marks were"
            self.notes.append(f"{some} dropped")
        if self.crlf:
            self.notes.extend(crlf_notes(self.config))

    def _made(
        self, tokens: int, parts: dict[str, list[int]], total: Cut, units: Units, records: int | None = None
    ) -> Made:
        if tokens == 0:
            raise UserError(f"{self.source.label}: no {self.config.units} units in this text; name another one")
        if self.units is None and units.kind == "char" and len(units) > 2000:
            self.notes.append(f"{len(units)} distinct characters: --units bpe makes a smaller and faster model")
        self.notes += unknowns_note(units.unknowns - self.unknowns, self.config.unknown)
        dtype = token_type(len(units)).name
        return Made(tokens, dtype, parts, total.chars, total.bytes, units.to_json(), records=records, notes=self.notes)


def crlf_notes(config: TextConfig) -> list[str]:
    """What to say of a text whose lines end in CRLF."""
    if config.units in ("whitespace", "int") or "\r" in (config.delimiter or ""):
        return []  # it is left out as other white space is, or was thought of
    what = "part of the text" if config.units == "bpe" else "a unit of its own"
    remedy = ", or use --records '\\r\\n'" if config.delimiter == "\n" else ""
    return [f"lines end in CRLF: \\r is {what}; convert the file to leave it out{remedy}"]


def no_delimiter(config: TextConfig, count: int, label: str) -> str:
    """The note that no record of ``count`` ends in the delimiter.

    Raises:
        UserError: nothing is left to split.
    """
    note = f"the delimiter {config.delimiter!r} does not occur in {label}"
    if count == 1 and (config.heldout > 0 or config.dev > 0):
        raise UserError(f"{note}; name the one that ends its records, or leave out --records")
    return f"{note}: {'it is one record' if count == 1 else 'each file is a record'}"


def write_rows(rows: IO[bytes], *columns: Any) -> None:
    """Append records: first token, token after the last, characters, bytes."""
    rows.write(np.stack([np.asarray(column, dtype=np.int64) for column in columns], axis=1).tobytes())


def record_parts(records: Records, order: Permutation, edges: list[int]) -> dict[str, list[int]]:
    """The figures of each part of a text made of records."""
    parts = {}
    for name, start, stop in zip(PARTS, edges, edges[1:], strict=False):
        targets, chars, size = records.totals(RecordIds(order, start, stop))
        parts[name] = [start, stop, chars, size, targets]
    return parts


def _empty(source: Source) -> UserError:
    return UserError(f"{source.label}: the text is empty; name another one")


def _changed(source: Source) -> UserError:
    return UserError(f"{source.label}: the text changed while it was read; start again when it is complete")

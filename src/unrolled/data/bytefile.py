"""A text as bytes. The token file of a single plain file is the file itself; several are written one after another."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from unrolled.data.build import SPLIT_SEED, Made, Progress, crlf_notes, no_delimiter, record_parts, write_rows
from unrolled.data.config import TextConfig
from unrolled.data.detect import codec_name, strip_mark
from unrolled.data.records import Permutation, Records
from unrolled.data.split import PARTS, split_points
from unrolled.data.text import Source
from unrolled.data.units import ByteUnits, Ids, TokenArray
from unrolled.data.wording import counted
from unrolled.errors import UserError

BLOCK = 1 << 20


def map_source(source: Source) -> TokenArray | None:
    """The only, plain file of ``source`` as uint8 tokens, or None where there is no such file."""
    item = source.plain
    if item is None:
        return None
    if item.size == 0:
        raise UserError(f"{source.label}: the text is empty; name another one")
    with item.open_raw() as handle:
        return np.asarray(np.memmap(handle, dtype=np.uint8, mode="r"))


def build_bytes(
    source: Source, config: TextConfig, units: ByteUnits | None, folder: Path, progress: Progress | None
) -> Made:
    """Find the parts (and write ``records.bin``); write ``tokens.bin`` only where the text is no single plain file."""
    codec = codec_name(config.encoding)
    tokens, ends = map_source(source), [0]
    mapped = tokens is not None
    if tokens is None:
        tokens, ends = _copy(source, folder, progress)
    else:
        ends = [len(tokens)]
    given = units is not None
    units = units or ByteUnits(codec, end=config.delimiter)
    if config.delimiter is None:
        notes: list[str] = []
        decodes = _count(tokens, codec, "strict", progress) is not None
        if not decodes:
            notes.append(f"the bytes are not {codec} text: each counts as one character")
        parts = _parts(tokens, config, codec if decodes else None, source.label, given)
        count = None
    else:
        if units.end is None or units.end_text != config.delimiter:
            raise UserError(f"--records {config.records}: this vocabulary has no such record end; leave it out")
        notes, count, ended = _cut_records(tokens, ends, config.delimiter, codec, folder, progress)
        if count == 0:
            raise UserError(f"{source.label}: no records in this text; name another one")
        if not ended and not given:
            notes.append(no_delimiter(config, count, source.label))
        edges = [0, *split_points(count, config, source.label, "record"), count]
        rows = np.memmap(folder / "records.bin", dtype=np.int64, mode="r", shape=(count, 4))
        parts = record_parts(Records(rows, units.end), Permutation(count, SPLIT_SEED), edges)
    if any(b"\r\n" in block for block in _blocks(tokens[:BLOCK])):
        notes.extend(crlf_notes(config))
    chars, size = (sum(part[column] for part in parts.values()) for column in (2, 3))
    return Made(len(tokens), "uint8", parts, chars, size, units.to_json(), count, mapped, notes)


def _copy(source: Source, folder: Path, progress: Progress | None) -> tuple[TokenArray, list[int]]:
    """Write the bytes of all files one after another; where each ends."""
    ends, done = [], 0
    with open(folder / "tokens.bin", "wb") as out:
        for _, blocks in source.files(BLOCK):
            for block in blocks:
                out.write(block)
                done += len(block)
                if progress is not None:
                    progress("reading", source.place.fraction)
            ends.append(done)
    if done == 0:
        raise UserError(f"{source.label}: the text is empty; name another one")
    return np.asarray(np.memmap(folder / "tokens.bin", dtype=np.uint8, mode="r")), ends


def _blocks(tokens: TokenArray) -> Iterator[bytes]:
    for start in range(0, len(tokens), BLOCK):
        yield tokens[start : start + BLOCK].tobytes()


def _count(tokens: TokenArray, codec: str, errors: str, progress: Progress | None = None) -> int | None:
    """Characters that ``tokens`` decode to, or None where they do not decode. A byte-order mark is none."""
    mark, codec = strip_mark(tokens[:4].tobytes(), codec)
    decoder = codecs.getincrementaldecoder(codec)(errors=errors)
    done = chars = 0
    try:
        for block in _blocks(tokens[mark:]):
            chars += len(decoder.decode(block))
            done += len(block)
            if progress is not None:
                progress("reading", done / len(tokens))
        return chars + len(decoder.decode(b"", True))
    except UnicodeDecodeError:
        return None


def _parts(tokens: TokenArray, config: TextConfig, codec: str | None, label: str, given: bool) -> dict[str, list[int]]:
    cuts = split_points(len(tokens), config, label, "byte", given=given)
    edges = [0, *(_between(tokens, cut) if codec == "utf-8" else cut for cut in cuts), len(tokens)]
    parts = {}
    for name, start, stop in zip(PARTS, edges, edges[1:], strict=False):
        parts[name] = [start, stop, _chars(tokens[start:stop], codec), stop - start, stop - start]
    return parts


def _chars(tokens: TokenArray, codec: str | None) -> int:
    """Characters of a part; ``codec`` None means that a byte is one."""
    if codec is None:
        return len(tokens)
    if codec != "utf-8":
        # An encoding of several bytes may lose half a character at the edge of a part, and no more.
        return _count(tokens, codec, "replace") or 0
    # The text is known to be UTF-8, where bytes 0x80 to 0xbf (below -64 when signed) continue a character.
    mark, _ = strip_mark(tokens[:4].tobytes(), codec)
    signed = tokens[mark:].view(np.int8)
    return sum(int(np.count_nonzero(signed[at : at + BLOCK] >= -64)) for at in range(0, len(signed), BLOCK))


def _between(tokens: TokenArray, cut: int) -> int:
    """``cut`` moved on to where a UTF-8 character begins."""
    while cut < len(tokens) and tokens[cut] & 0xC0 == 0x80:
        cut += 1
    return cut


def _cut_records(
    tokens: TokenArray, ends: list[int], end: str, codec: str, folder: Path, progress: Progress | None
) -> tuple[list[str], int, bool]:
    """Write ``records.bin``; notes, how many records there are, and whether the delimiter occurs.

    The end of a file ends a record.
    """
    count = empty = 0
    ended = False
    delimiter = end.encode(codec)
    ending = (len(end), len(delimiter))
    with open(folder / "records.bin", "wb") as out:
        for low, high in zip([0, *ends], ends, strict=False):
            start = low
            for stops in _find(tokens[low:high], delimiter):
                ended, stops = True, stops + low
                starts = np.concatenate([[start], stops[:-1] + len(delimiter)])
                start = int(stops[-1]) + len(delimiter)
                kept = stops > starts
                count, empty = count + int(kept.sum()), empty + int((~kept).sum())
                _write(out, tokens, starts[kept], stops[kept], ending, codec)
                if progress is not None:
                    progress("reading", start / len(tokens))
            if start < high:
                count += 1
                _write(out, tokens, np.array([start]), np.array([high]), (0, 0), codec)
    return ([f"{counted(empty, 'empty record')} left out"] if empty else []), count, ended


def _find(tokens: TokenArray, delimiter: bytes) -> Iterator[Ids]:
    """Where the delimiters begin, in runs, none overlapping another."""
    start, reach = 0, BLOCK
    while start < len(tokens):
        block = tokens[start : start + reach]
        if len(delimiter) == 1:
            found = np.flatnonzero(block == delimiter[0])
            step = len(block)
        else:
            places, at, data = [], 0, block.tobytes()
            while (place := data.find(delimiter, at)) >= 0:
                places.append(place)
                at = place + len(delimiter)
            found = np.array(places, dtype=np.int64)
            # A delimiter may straddle the block's edge: what could be its beginning is read again.
            last = start + len(block) == len(tokens)
            step = len(block) if last else max(at, len(block) - len(delimiter) + 1)
        if len(found):
            yield found + start
        start += step


def _write(out: IO[bytes], tokens: TokenArray, starts: Ids, stops: Ids, ending: tuple[int, int], codec: str) -> None:
    """Append records to ``out``; ``ending`` is the delimiter's characters and bytes."""
    if len(starts) == 0:
        return
    low, high = int(starts[0]), int(stops[-1])
    if codec == "utf-8":
        # A character is a byte that continues none.
        before = np.concatenate([[0], np.cumsum((tokens[low:high] & 0xC0) != 0x80)])
        chars = before[stops - low] - before[starts - low]
    else:
        pairs = zip(starts.tolist(), stops.tolist(), strict=True)
        chars = np.array([_count(tokens[a:b], codec, "replace") for a, b in pairs], dtype=np.int64)
    write_rows(out, starts, stops, chars + ending[0], stops - starts + ending[1])

"""Bytes into characters, block by block, with exact byte counts; and characters into records."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

from unrolled.data.detect import CONTROLS, binary, codec_name, strip_mark, undecodable
from unrolled.data.text import Item, Source

BLOCK = 1 << 20
PROBE = 1 << 16  # characters at the start of a file that are searched for control characters
# A white-space character that follows another character: no unit of any kind straddles it (see units.py, subword.py).
BREAK = re.compile(r"(?<=\S)[ \n\r]")
LONGEST = 1 << 22  # characters without a break before a unit is cut all the same, so that memory stays bounded


@dataclass
class TextBlock:
    """Decoded characters, the bytes of the file they came from, and where they stand.

    Attributes:
        at: byte offset in the decompressed file.
        last: nothing more comes from this file.
    """

    text: str
    bytes: int
    item: Item
    codec: str
    at: int
    last: bool

    def bytes_before(self, index: int) -> int:
        """Bytes that the first ``index`` characters of the block take."""
        if self.bytes == len(self.text):
            return index
        return min(self.bytes, len(self.text[:index].encode(self.codec)))


class TextReader:
    """Decodes a source again and again.

    Attributes:
        marks: byte-order marks dropped in the latest pass.
    """

    def __init__(self, source: Source, encoding: str) -> None:
        self.source = source
        self.codec = codec_name(encoding)
        self.marks = 0

    def blocks(self, *, check: bool = False) -> Iterator[TextBlock]:
        """The text, in blocks of about a million characters, with an end block for each file.

        Args:
            check: look for binary data as well.
        Raises:
            UserError: bytes that do not decode, with their offset; with ``check``, binary data.
        """
        self.marks = 0
        for item, blocks in self.source.files(BLOCK):
            for block in self._file(item, blocks):
                if check:
                    _refuse_binary(block)
                yield block

    def _file(self, item: Item, blocks: Iterator[bytes]) -> Iterator[TextBlock]:
        first = next(blocks, b"")
        while len(first) < 4 and (more := next(blocks, b"")):  # the longest byte-order mark
            first += more
        mark, codec = strip_mark(first, self.codec)
        self.marks += mark > 0
        decoder = codecs.getincrementaldecoder(codec)()
        fed, given = mark, mark  # bytes handed to the decoder; bytes whose characters came out
        for raw in _chain(first[mark:], blocks):
            pending = fed - given
            try:
                text = decoder.decode(raw)
            except UnicodeDecodeError as error:
                raise undecodable(item, codec, fed - pending + error.start) from None
            fed += len(raw)
            held = len(decoder.getstate()[0])
            yield TextBlock(text, fed - held - given, item, codec, given, False)
            given = fed - held
        try:
            text = decoder.decode(b"", True)
        except UnicodeDecodeError as error:
            raise undecodable(item, codec, given + error.start) from None
        yield TextBlock(text, fed - given, item, codec, given, True)


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _refuse_binary(block: TextBlock) -> None:
    index = block.text.find("\0")
    if index >= 0:
        raise binary(block.item, block.codec, block.at + block.bytes_before(index), "a NUL byte")
    if block.at < PROBE:
        found = CONTROLS.findall(block.text[:PROBE])
        # One in fifty: form feeds and the odd stray control are text, object code is not.
        if len(found) > max(3, len(block.text[:PROBE]) // 50):
            index = block.text.index(found[0])
            raise binary(block.item, block.codec, block.at + block.bytes_before(index), "many control characters")


def safe_cut(text: str, *, back: bool) -> int | None:
    """Where ``text`` can be cut without cutting a unit: the last such place (``back``), or the first; None if none."""
    if not back:
        found = BREAK.search(text)
        return found.start() if found else None
    reach = 4096
    while True:
        start = max(0, len(text) - reach)
        places = [found.start() for found in BREAK.finditer(text, start)]
        if places:
            return places[-1]
        if start == 0:
            return None
        reach *= 16


def whole_units(blocks: Iterator[str]) -> Iterator[str]:
    """Cut a run of text blocks anew, so that no unit straddles a border."""
    held: list[str] = []
    size = 0
    for text in blocks:
        held.append(text)
        size += len(text)
        if size < LONGEST and BREAK.search(text) is None:
            continue  # joining again and again would be quadratic on a text without white space
        joined = "".join(held)
        cut = safe_cut(joined, back=True)
        cut = len(joined) if cut is None else cut
        if cut:
            yield joined[:cut]
        held, size = [joined[cut:]], len(joined) - cut
    if size:
        yield "".join(held)


@dataclass
class RecordGroup:
    """Records that came out of the text together.

    Attributes:
        records: their text without the delimiter; none is empty.
        first: number of the first one.
        bytes: bytes of each in its file, delimiter included.
        chars: characters of each, delimiter included.
        empty: empty records left out of this group.
    """

    records: list[str]
    first: int
    bytes: list[int]
    chars: list[int]
    empty: int


def record_groups(blocks: Iterator[TextBlock], delimiter: str) -> Iterator[RecordGroup]:
    """Cut decoded text into records. The end of a file ends a record. Memory is bounded by the longest record."""
    held: list[str] = []
    number = 0
    for block in blocks:
        end_bytes = len(delimiter.encode(block.codec))
        held.append(block.text)
        # Joining at every block would be quadratic on a long record. A delimiter that straddles two blocks waits for
        # the next one that does not, or for the end of the file.
        if delimiter not in block.text and not block.last:
            continue
        pieces = "".join(held).split(delimiter)
        rest = pieces.pop()
        group = _group(pieces, number, delimiter, end_bytes, block.codec)
        if block.last:
            if rest:  # a last record without its delimiter
                group.records.append(rest)
                group.bytes.append(len(rest.encode(block.codec)))
                group.chars.append(len(rest))
            rest = ""
        number += len(group.records)
        held = [rest]
        if group.records or group.empty:
            yield group


def _group(pieces: list[str], number: int, delimiter: str, end_bytes: int, codec: str) -> RecordGroup:
    records = [piece for piece in pieces if piece]
    chars = [len(piece) + len(delimiter) for piece in records]
    joined = "".join(records)
    if len(joined.encode(codec)) == len(joined):
        sizes = [len(piece) + end_bytes for piece in records]
    else:
        sizes = [len(piece.encode(codec)) + end_bytes for piece in records]
    return RecordGroup(records, number, sizes, chars, len(pieces) - len(records))

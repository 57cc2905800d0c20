"""Units: what one step of the network reads. Text to numbers and back, with a stated policy for what is unknown.

The policy, at every verb: a unit that the vocabulary lacks becomes ``<unk>`` where the vocabulary has one (it has one
where it was cut: taken from the training part only, or limited in size). Where it has none, ``error`` refuses it,
``skip`` drops it, and ``replace`` puts ``?`` (or a space) in its place. Bytes and byte-level BPE know everything.
"""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.wording import counted
from unrolled.errors import UserError

Ids = NDArray[np.int64]
TokenArray = NDArray[Any]  # uint8, uint16 or uint32, (N,)
UNK = "<unk>"


class UnknownUnitError(UserError):
    """A text holds a unit that the vocabulary lacks."""


class Decoder:
    """Turns ids into text one at a time, for live output. It never emits half a character."""

    def __init__(self, spell: Callable[[int], bytes], encoding: str = "utf-8") -> None:
        self._spell = spell
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace")

    def push(self, unit: int) -> str:
        """The characters that ``unit`` completes; empty in the middle of one."""
        return self._decoder.decode(self._spell(unit))

    def flush(self) -> str:
        """What is left at the end: a replacement character for a character cut short."""
        return self._decoder.decode(b"", True)


class Units(ABC):
    """A vocabulary of V units.

    Attributes:
        kind: char, byte, word, bpe, whitespace or int.
        unk: id of ``<unk>``, or None.
        end: id of the unit that ends a record, or None.
        end_text: the delimiter that ``end`` stands for.
        unknowns: units that ``skip`` and ``replace`` have met so far.
    """

    kind: str
    unk: int | None = None
    end: int | None = None
    end_text: str | None = None
    unknowns: int = 0

    @abstractmethod
    def __len__(self) -> int:
        """V."""

    @abstractmethod
    def encode(self, text: str, *, unknown: str = "error", where: str = "the text", at: int = 0) -> Ids:
        """The ids of ``text``: int64, (T,).

        Args:
            unknown: ``error``, ``skip`` or ``replace`` (see the module's policy).
            where: what the message calls the text.
            at: units before this text, where it is a piece of a longer one; the message counts from there.
        Raises:
            UserError: an unknown unit, named with its place.
        """

    def encode_many(self, texts: Sequence[str], *, unknown: str = "error", where: str = "the text") -> tuple[Ids, Ids]:
        """The ids of all ``texts`` in one run, and how many each text gave."""
        parts = [self.encode(text, unknown=unknown, where=where) for text in texts]
        return _join(parts)

    def encode_bytes(self, data: bytes, encoding: str = "utf-8", *, unknown: str = "error") -> Ids:
        """The ids of encoded text.

        Raises:
            UserError: ``data`` does not decode, or holds an unknown unit.
        """
        try:
            return self.encode(data.decode(encoding), unknown=unknown)
        except UnicodeDecodeError as error:
            raise UserError(f"byte {error.start} does not decode as {encoding}; name the right --encoding") from None

    @abstractmethod
    def spell(self, unit: int) -> bytes:
        """What ``unit`` adds to a text, as UTF-8 (for byte units: the byte)."""

    def decode(self, ids: Sequence[int] | Ids) -> str:
        """The text of ``ids``; bytes that make no character become replacement characters."""
        decoder = self.decoder()
        return "".join([decoder.push(int(unit)) for unit in ids]) + decoder.flush()

    def decoder(self) -> Decoder:
        """A fresh streaming decoder."""
        return Decoder(self.spell)

    def name(self, unit: int) -> str:
        """A printable name of ``unit``: itself, escaped where it would not show."""
        shown = repr(self.spell(unit).decode("utf-8", errors="backslashreplace"))[1:-1]
        return shown.replace("\\\\x", "\\x").replace(" ", "␣")

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """What :func:`units_from_json` reads back."""

    def _settle(self, ids: Ids, piece: Callable[[int], str], unknown: str, where: str, at: int) -> Ids:
        """Apply the policy to the entries of ``ids`` that are -1; ``piece(i)`` is the text of entry i."""
        if len(ids) == 0 or ids.min() >= 0:
            return ids
        bad = ids < 0
        stand_in = self.unk
        if stand_in is None and unknown != "error":
            self.unknowns += int(bad.sum())
        if stand_in is None and unknown == "skip":
            return ids[~bad]
        if stand_in is None and unknown == "replace":
            stand_in = self._stand_in()
        if stand_in is None:
            index = int(np.argmax(bad))
            text = piece(index)
            code = f" (U+{ord(text):04X})" if self.kind == "char" else ""
            noun = {"char": "character", "int": "number"}.get(self.kind, "word")
            shown = repr(text[:40])
            raise UnknownUnitError(
                f"{where}: {noun} {shown}{code} at {noun} {at + index} (counted from 0) is not in the vocabulary "
                f"({counted(len(self), 'unit')}); use --unknown skip or --unknown replace"
            )
        ids[bad] = stand_in
        return ids

    def _stand_in(self) -> int | None:
        """The unit that ``replace`` uses where there is no ``<unk>``."""
        return None


def _join(parts: Sequence[Ids]) -> tuple[Ids, Ids]:
    counts = np.array([len(part) for part in parts], dtype=np.int64)
    return (np.concatenate(parts) if parts else np.empty(0, np.int64)), counts


class CharUnits(Units):
    """One unit a character (a Unicode code point)."""

    kind = "char"

    def __init__(self, characters: Sequence[str], *, unk: bool = False, end: str | None = None) -> None:
        """``characters`` in the order of their ids; then ``<unk>``; then a delimiter that is no single character."""
        self.characters = list(characters)
        texts = list(self.characters)
        if unk:
            self.unk = len(texts)
            texts.append(UNK)
        if end is not None:
            self.end_text = end
            if end in self.characters:
                self.end = self.characters.index(end)
            else:
                self.end = len(texts)
                texts.append(end)
        self._texts = texts
        codes = np.array([ord(character) for character in self.characters], dtype=np.int64)
        self._table = np.full(int(codes.max(initial=0)) + 1, -1, dtype=np.int64)
        self._table[codes] = np.arange(len(codes))

    def __len__(self) -> int:
        return len(self._texts)

    def encode(self, text: str, *, unknown: str = "error", where: str = "the text", at: int = 0) -> Ids:
        # "clip" alone would take an unknown character for the last known one, so those are marked afterwards.
        codes = code_points(text)
        ids = np.take(self._table, codes, mode="clip")
        if len(codes) and int(codes.max()) >= len(self._table):
            ids[codes >= len(self._table)] = -1
        return self._settle(ids, lambda index: text[index], unknown, where, at)

    def encode_many(self, texts: Sequence[str], *, unknown: str = "error", where: str = "the text") -> tuple[Ids, Ids]:
        counts = np.fromiter(map(len, texts), np.int64, len(texts))
        ids = self.encode("".join(texts), unknown=unknown, where=where)
        if len(ids) != counts.sum():  # characters were skipped: find out in which texts
            return super().encode_many(texts, unknown=unknown, where=where)
        return ids, counts

    def spell(self, unit: int) -> bytes:
        return self._texts[unit].encode("utf-8", errors="replace")

    def to_json(self) -> dict[str, Any]:
        return {"kind": "char", "units": self.characters, "unk": self.unk is not None, "end": self.end_text}

    def _stand_in(self) -> int | None:
        return next((self.characters.index(one) for one in "? " if one in self.characters), None)


def code_points(text: str) -> NDArray[Any]:
    """The code points of ``text``: uint8 where it is ASCII, else uint32."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.dtype("<u4"))


class ByteUnits(Units):
    """One unit a byte of the file; nothing is unknown."""

    kind = "byte"

    def __init__(self, encoding: str = "utf-8", *, end: str | None = None) -> None:
        """``encoding`` is how the bytes are shown as text; a delimiter of several bytes is unit 256."""
        self.encoding = encoding
        if end is not None:
            self.end_text, code = end, end.encode(encoding)
            self.end = code[0] if len(code) == 1 else 256

    def __len__(self) -> int:
        return 257 if self.end == 256 else 256

    def encode(self, text: str, *, unknown: str = "error", where: str = "the text", at: int = 0) -> Ids:
        try:
            return self.encode_bytes(text.encode(self.encoding))
        except UnicodeEncodeError as error:
            raise UserError(
                f"{where}: character {text[error.start]!r} at character {error.start} (counted from 0) "
                f"does not exist in {self.encoding}"
            ) from None

    def encode_bytes(self, data: bytes, encoding: str = "utf-8", *, unknown: str = "error") -> Ids:
        return np.frombuffer(data, dtype=np.uint8).astype(np.int64)

    def spell(self, unit: int) -> bytes:
        return (self.end_text or "").encode(self.encoding) if unit == 256 else bytes([unit])

    def decoder(self) -> Decoder:
        return Decoder(self.spell, self.encoding)

    def name(self, unit: int) -> str:
        return f"0x{unit:02x}" if unit < 256 and not 33 <= unit < 127 else super().name(unit)

    def to_json(self) -> dict[str, Any]:
        return {"kind": "byte", "encoding": self.encoding, "end": self.end_text}


def token_type(V: int) -> np.dtype[Any]:
    """The smallest type on disk that holds ids below ``V``."""
    return np.dtype(np.uint8 if V <= 1 << 8 else np.uint16 if V <= 1 << 16 else np.uint32)


def units_from_json(saved: Mapping[str, Any], where: str) -> Units:
    """The units that :meth:`Units.to_json` wrote.

    Args:
        where: the file they came from, for the message.
    Raises:
        UserError: an unknown kind, or something missing or malformed.
    """
    # The other kinds stand on this module.
    from unrolled.data.subword import BpeUnits
    from unrolled.data.words import IntUnits, WhitespaceUnits, WordUnits

    try:
        kind, end = saved["kind"], saved.get("end")
        if kind == "char":
            return CharUnits(saved["units"], unk=saved["unk"], end=end)
        if kind == "byte":
            return ByteUnits(saved["encoding"], end=end)
        if kind in ("word", "whitespace"):
            made = WordUnits if kind == "word" else WhitespaceUnits
            return made(saved["units"], unk=saved["unk"], end=end)
        if kind == "int":
            return IntUnits(int(saved["size"]), unk=saved["unk"], end=end)
        if kind == "bpe":
            return BpeUnits(saved["tokenizer"], end=end)
    except (KeyError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise UserError(f"{where}: damaged vocabulary ({type(error).__name__}: {error}); restore the file") from None
    raise UserError(f"{where}: unknown kind of units {kind!r}; it was written by a newer version: upgrade unrolled")

"""Encodings: byte-order marks, what a text that does not decode might be, and binary data taken for text."""

from __future__ import annotations

import codecs
import re

from unrolled.data.text import Item
from unrolled.errors import UserError

HEAD = 1 << 18
BLOCK = 1 << 20

# Longest first: UTF-16's mark begins UTF-32's.
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# What no text has: control characters but for white space, backspace and escape (terminal logs have those).
CONTROLS = re.compile("[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f]")


def codec_name(encoding: str) -> str:
    """Python's own name of an encoding.

    Raises:
        UserError: Python knows no such text encoding.
    """
    try:
        name = codecs.lookup(encoding).name
        "a".encode(name)  # refuses codecs that are no text encodings, such as base64
        return name
    except (LookupError, ValueError):
        raise UserError(f"--encoding {encoding}: not a text encoding; try utf-8, utf-16, latin-1, cp1252") from None


def strip_mark(head: bytes, codec: str) -> tuple[int, str]:
    """How many bytes the byte-order mark takes, and the codec that reads what follows it."""
    family = codec.replace("-sig", "").replace("_", "-")
    for mark, name in MARKS:
        if name.startswith(family) and head.startswith(mark):
            return len(mark), name
    if family in ("utf-16", "utf-32"):
        return 0, family + "-le"  # no mark: what nearly every program writes
    return 0, family if family == "utf-8" else codec


_AS_BYTES = "train a language model of bytes on it: --units byte"


def undecodable(item: Item, codec: str, offset: int) -> UserError:
    """The error for bytes that are not ``codec``: where, and an encoding that was tried on the whole file and works."""
    found = guess(item, codec)
    remedy = f"it decodes as {found}: use --encoding {found}" if found else "use --encoding NAME"
    return UserError(f"{item.name}: byte {offset} does not decode as {codec}; {remedy}, or {_AS_BYTES}")


def binary(item: Item, codec: str, offset: int, what: str) -> UserError:
    """The error for data that is not text."""
    found = guess(item, codec)
    if found and found.startswith("utf-"):
        return UserError(f"{item.name}: {what} at byte {offset}; it looks like {found}: use --encoding {found}")
    return UserError(f"{item.name}: binary data ({what} at byte {offset}); name a text file, or {_AS_BYTES}")


def guess(item: Item, tried: str) -> str | None:
    """An encoding that decodes all of ``item`` into plausible text, or None."""
    head = next(iter(item.blocks(HEAD)), b"")
    for mark, name in MARKS:
        if head.startswith(mark):
            return "utf-8" if name == "utf-8" else name[:6]
    wide = _wide(head)
    candidates = [wide] if wide else ["utf-8", *_by_script(item), *_western(item)]
    for name in candidates:
        if name != tried and _decodes(item, name):
            return name
    return None


def _wide(head: bytes) -> str | None:
    """UTF-16 without a mark: every other byte of Western text is NUL."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if even + odd < len(head) // 8:
        return None
    return "utf-16-le" if odd > 4 * even else "utf-16-be" if even > 4 * odd else None


def _sample(item: Item) -> bytes:
    """The first block that holds anything but ASCII; the proof of an encoding may lie deep in a file."""
    for block in item.blocks(HEAD):
        if not block.isascii():
            return block
    return b""


def _western(item: Item) -> list[str]:
    # latin-1 and cp1252 differ in 0x80-0x9f only: control characters in the one, quotes and dashes in the other.
    sample = _sample(item)
    curly = any(0x80 <= byte < 0xA0 for byte in sample)
    plain = CONTROLS.search(sample.decode("latin-1")) is None
    return (["cp1252", "latin-1"] if curly else ["latin-1"]) if plain else []


# What gives a script away when it is read in its own encoding, and the share of the characters that it should be.
TELLING = {
    "shift_jis": ("[ぁ-ゟ]", 0.2),
    "euc_jp": ("[ぁ-ゟ]", 0.2),
    "euc_kr": ("[이다는에의가고을하지은로도]", 0.1),
    "gb18030": ("[的一是不了在人有我他这个]", 0.05),
    "cp1251": ("[а-я]", 0.6),  # small letters: the two Cyrillic codes swap the cases
    "koi8-r": ("[а-я]", 0.6),
}
ALPHABETS = ("cp1251", "koi8-r")


def _by_script(item: Item) -> list[str]:
    """Encodings of other scripts that the text looks like, best first. Western text has too few bytes beyond ASCII."""
    sample = _sample(item)
    high = sum(byte >= 0x80 for byte in sample)
    if high * 5 < len(sample):
        return []
    runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", sample)]
    # Letters of another alphabet stand in words of them; those with accents stand alone, or two together.
    words = sum(run for run in runs if run > 2) * 2 >= high
    scores = {}
    for name, (letters, need) in TELLING.items():
        if name in ALPHABETS and not words:
            continue
        text = sample.decode(name, errors="replace")
        beyond = sum(character > "\x7f" for character in text)
        share = len(re.findall(letters, text)) / max(1, beyond)
        if share >= need and text.count("\ufffd") <= 2:
            scores[name] = share / need
    return sorted(scores, key=lambda name: -scores[name])


def _decodes(item: Item, name: str) -> bool:
    decoder = codecs.getincrementaldecoder(name)()
    try:
        for block in item.blocks(BLOCK):
            decoder.decode(block)
        decoder.decode(b"", True)
    except UnicodeDecodeError:
        return False
    return True

"""Where the training, dev and test parts begin and end, in characters, bytes or records; never in units."""

from __future__ import annotations

from dataclasses import dataclass

from unrolled.data.config import TextConfig
from unrolled.data.decode import TextBlock, TextReader, safe_cut
from unrolled.data.wording import counted
from unrolled.errors import UserError

SPLIT_RULE = 2
"""Raise it when the same text would be split in another way: a run from before is then refused, not resumed with its
test part among what it trains on."""

PARTS = ("dev", "train", "test")
"""In the order in which they lie in the text. Dev comes first: what stands just before the test part helps most to
predict it (the same play, the same chapter), so it is trained on. On Tiny Shakespeare a dev part of 2 % in that place
costs 0.1 nats of test loss."""

DEV_MOST = 500_000
"""Characters, bytes or records in the dev part: it is read some twenty times in a run, and more tells nothing new."""


@dataclass(frozen=True)
class Cut:
    """A place in the text: characters and bytes before it (byte-order marks not counted)."""

    chars: int
    bytes: int


def split_points(n: int, config: TextConfig, label: str, noun: str, *, given: bool = False) -> tuple[int, int]:
    """Where the training and the test part begin among ``n`` characters, bytes or records. The test part is the last
    ``heldout``, the dev part the first ``dev`` of what is left, and at most :data:`DEV_MOST`.

    Args:
        noun: what is counted, in the singular: character, byte or record.
        given: the vocabulary is given, so that the text may be there to be scored: one character is enough.
    Raises:
        UserError: too short for the shares asked for.
    """
    whole = config.heldout == 0 and config.dev == 0
    least = 1 if noun == "record" or (given and whole) else 2
    some = f"{label}: {counted(n, noun)} {'is' if n == 1 else 'are'}"
    if n < least:
        raise UserError(f"{some} too short to train on; name a longer text")
    test = round(n * config.heldout)
    dev = min(DEV_MOST, round((n - test) * config.dev))
    if config.dev > 0 and dev == 0:
        dev = 1
    if (config.heldout > 0 and test == 0) or n - test - dev < least:
        raise UserError(
            f"{some} too short to split; use --heldout 0 --dev 0 to train on all of it, or name a longer text"
        )
    return dev, n - test


def find_cuts(reader: TextReader, places: tuple[int, int], total: Cut, *, whole: bool) -> tuple[Cut, Cut]:
    """The cuts at the characters ``places``, with their bytes.

    Args:
        whole: move each on to the next white space (within its block), so that it cuts no word in two.
    """
    found = [Cut(0, 0)] if places[0] == 0 else []
    chars = size = 0
    blocks = reader.blocks() if len(found) == 0 or places[1] < total.chars else iter(())
    for block in blocks:
        while len(found) < 2 and places[len(found)] < chars + len(block.text):
            index = _place(block, places[len(found)] - chars, whole)
            found.append(Cut(chars + index, size + block.bytes_before(index)))
        chars, size = chars + len(block.text), size + block.bytes
        if len(found) == 2 or (len(found) == 1 and places[1] >= total.chars):
            break
    while len(found) < 2:
        found.append(total)
    return found[0], found[1]


def _place(block: TextBlock, index: int, whole: bool) -> int:
    if not whole:
        return index
    # One character earlier is given along, since a break is known by what stands before it.
    base = max(0, index - 1)
    ahead = safe_cut(block.text[base : index + 4096], back=False)
    return index if ahead is None else base + ahead

"""Byte-level byte-pair encoding, by the ``tokenizers`` library (Sennrich et al. 2016; GPT-2's byte alphabet)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from unrolled.data.decode import safe_cut
from unrolled.data.units import Ids, Units

SMALLEST = 256  # the bytes themselves
LEARN_FROM = 64_000_000  # characters that the merges are learnt from: more would cost memory and change little
PIECE = 1 << 14  # characters handed to one thread
BATCH = 16  # pieces handed to the library at once


def _byte_letters() -> dict[str, int]:
    """GPT-2's printable letter for each byte: printable ones stand for themselves, the others for 256 and up."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [byte for byte in range(256) if byte not in kept]
    return {chr(byte): byte for byte in kept} | {chr(256 + place): byte for place, byte in enumerate(moved)}


class BpeUnits(Units):
    """Byte-level BPE: frequent runs of bytes within a word are one unit, and every byte is one; nothing is unknown."""

    kind = "bpe"

    def __init__(self, tokenizer: Mapping[str, Any], *, end: str | None = None) -> None:
        """``tokenizer`` is the library's own JSON; a delimiter that is not one unit gets one of its own at the end."""
        from tokenizers import Tokenizer

        self._json = dict(tokenizer)
        try:
            self._tokenizer = Tokenizer.from_str(json.dumps(self._json))
        except Exception as error:  # the library raises bare Exception
            raise ValueError(str(error)) from None
        letters = _byte_letters()
        vocab = self._tokenizer.get_vocab()
        self._bytes = [b""] * len(vocab)
        for token, unit in vocab.items():
            self._bytes[unit] = bytes(letters[letter] for letter in token)
        if end is not None:
            self.end_text = end
            ids = self.encode(end)
            self.end = int(ids[0]) if len(ids) == 1 else len(self._bytes)
            if self.end == len(self._bytes):
                self._bytes.append(end.encode())

    def __len__(self) -> int:
        return len(self._bytes)

    def encode(self, text: str, *, unknown: str = "error", where: str = "the text", at: int = 0) -> Ids:
        ids: list[int] = []
        for one in self._batches(_pieces(text), BATCH):
            ids.extend(one)
        return np.array(ids, dtype=np.int64)

    def encode_many(self, texts: Sequence[str], *, unknown: str = "error", where: str = "the text") -> tuple[Ids, Ids]:
        found = list(self._batches(iter(texts), 1000))
        counts = np.fromiter(map(len, found), np.int64, len(found))
        ids = np.fromiter((unit for one in found for unit in one), np.int64, int(counts.sum()))
        return ids, counts

    def _batches(self, texts: Iterator[str], size: int) -> Iterator[list[int]]:
        """The ids of each text; ``size`` of them at once, since what the library says about a unit takes far more
        room than its id."""
        encode = getattr(self._tokenizer, "encode_batch_fast", self._tokenizer.encode_batch)  # newer than 0.19
        while batch := list(itertools.islice(texts, size)):
            for one in encode(batch):
                yield one.ids

    def spell(self, unit: int) -> bytes:
        return self._bytes[unit]

    def to_json(self) -> dict[str, Any]:
        return {"kind": "bpe", "tokenizer": self._json, "end": self.end_text}


def learn_bpe(texts: Iterator[str], size: int) -> dict[str, Any]:
    """Learn a vocabulary of ``size`` units (256 of them the bytes) from the first 64 million characters of ``texts``.

    ``texts`` must not cut words (:func:`unrolled.data.decode.whole_units`).
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        show_progress=False,
        initial_alphabet=sorted(_byte_letters()),
        special_tokens=[],
    )
    tokenizer.train_from_iterator(_first(texts, LEARN_FROM), trainer)
    saved: dict[str, Any] = json.loads(tokenizer.to_str())
    return saved


def _first(texts: Iterator[str], limit: int) -> Iterator[str]:
    for text in texts:
        if limit <= 0:
            return
        yield text[:limit]
        limit -= len(text)


def _pieces(text: str) -> Iterator[str]:
    """``text`` in pieces that the library's threads share, cut where no unit can straddle."""
    start = 0
    while len(text) - start > PIECE:
        cut = safe_cut(text[start : start + PIECE], back=True)
        if cut is None or cut == 0:
            break
        yield text[start : start + cut]
        start += cut
    if start < len(text):
        yield text[start:]

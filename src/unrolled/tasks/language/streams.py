"""Which stream a text is trained from."""

from __future__ import annotations

from typing import Protocol

from unrolled.data.corpus import Corpus
from unrolled.data.record_streams import RecordStream, WholeRecordStream
from unrolled.data.streams import ChunkStream, fit_batch
from unrolled.errors import UserError
from unrolled.tasks.base import Stream


class Training(Protocol):
    """The settings of training that the task reads; the loop's own configuration has them all."""

    @property
    def batch(self) -> int: ...
    @property
    def bptt(self) -> str: ...
    @property
    def stride(self) -> int | None: ...
    @property
    def skip_tail(self) -> bool: ...
    @property
    def loss_reduction(self) -> str: ...
    @property
    def optimiser(self) -> str: ...
    @property
    def momentum(self) -> float: ...
    @property
    def average(self) -> float: ...
    @property
    def eval_streams(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def dtype(self) -> str: ...


def fitting_batch(corpus: Corpus, config: Training) -> tuple[int, list[str]]:
    """The batch that the text has room for, and a note where it is smaller than the one asked for.

    Raises:
        UserError: a training part of fewer than two units.
    """
    part = corpus.parts["train"]
    if part.records is None:
        batch, note = fit_batch(part.units, config.batch, 1 if config.bptt == "full" else int(config.bptt))
        return batch, [] if note is None else [note]
    batch = config.batch
    while batch > max(1, len(part.records)):
        batch //= 2
    if batch == config.batch:
        return batch, []
    return batch, [f"--batch {config.batch} is too large for {len(part.records)} records; {batch} is used"]


def training_stream(corpus: Corpus, config: Training, batch: int) -> Stream:
    """The training part, from its start.

    ``bptt`` steps a chunk of an unbroken text; records one after another, or whole ones with ``bptt="full"``. With
    ``skip_tail`` an epoch is what the lecture's program reads: it goes back to the start where ``p + T + 1 >= N``, that
    is, it reads full chunks only, and never the text's last unit.

    Raises:
        UserError: settings that do not go with records.
    """
    part = corpus.parts["train"]
    if corpus.records is None or part.records is None:
        stop = part.stop - 1 if config.skip_tail else part.stop
        return ChunkStream(
            corpus.tokens,
            part.start,
            stop,
            batch=batch,
            bptt=int(config.bptt),
            stride=config.stride,
            drop_last=config.skip_tail,
        )
    if config.stride is not None and config.bptt != "full" and config.stride != int(config.bptt):
        raise UserError(f"--stride {config.stride}: records are read without it; leave --stride out")
    if config.bptt == "full":
        return WholeRecordStream(corpus.tokens, corpus.records, part.records, batch=batch, seed=config.seed)
    return RecordStream(
        corpus.tokens, corpus.records, part.records, batch=batch, bptt=int(config.bptt), seed=config.seed
    )

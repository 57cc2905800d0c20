"""The language-model task: what the training loop needs to know about it, and nothing of the loop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.data.config import TextConfig
from unrolled.data.corpus import Corpus
from unrolled.data.ngram import ngram_baseline
from unrolled.data.record_streams import WholeRecordStream
from unrolled.data.streams import Chunk, ChunkStream
from unrolled.data.units import Units
from unrolled.engines import explain
from unrolled.errors import UserError
from unrolled.settings import to_dict
from unrolled.state import detach
from unrolled.tasks.base import Evaluation, Loss, Stream, Updating, WholeUpdates
from unrolled.tasks.language import evaluation, sizes, whole, writing
from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.language.model import LanguageModel, State, state_from_dict, state_to_dict
from unrolled.tasks.language.streams import Training, fitting_batch, training_stream
from unrolled.tasks.language.transfer import init_from, unit_names

BASELINE_UNITS, BASELINE_SECONDS = 4_000_000, 1.2e-6
"""The n-gram baseline is counted on so many units at most, and takes about so many seconds for each."""

IGNORED = -100
"""The target of padding, which ``F.cross_entropy`` leaves out."""


class LanguageTask:
    """A corpus, the shape of a model, and how it is trained.

    Args:
        corpus: the text, encoded and split.
        model_config, train_config: as on the command line.
        data_config: how the text was read, kept with the model.
        start_from: weights (a ``state_dict``) and units of an old model; :meth:`build` copies what fits of them.

    Attributes:
        batch: parallel streams B, fewer than asked for where the text is short.
        notes: what a user should know: a smaller batch; after :meth:`build`, what was copied and what is new.

    Raises:
        UserError: ``--bptt full`` on an unbroken text, with the memory it would need; a text too short; settings that
            do not go together.
    """

    name = "language"

    def __init__(
        self,
        corpus: Corpus,
        model_config: LanguageConfig,
        train_config: Training,
        *,
        data_config: TextConfig | None = None,
        start_from: tuple[Mapping[str, Tensor], Units] | None = None,
    ) -> None:
        self.corpus, self.model_config, self.train_config = corpus, model_config, train_config
        self.data_config = data_config or TextConfig(units=corpus.units.kind)
        self.start_from = start_from
        self.V = len(corpus.units)
        self.batch, self.notes = fitting_batch(corpus, train_config)
        if train_config.bptt == "full" and corpus.records is None:
            self._refuse_full()
        if train_config.skip_tail and (self.batch != 1 or corpus.records is not None):
            raise UserError("--skip-tail: reads an unbroken text in one stream; use --batch 1 and no --records")
        self._stream = self.stream()  # asked for its sizes only, never read

    # -- model and text ----------------------------------------------------------------------------------------

    def build(self) -> nn.Module:
        """A fresh model, drawn from torch's global generator; with ``start_from`` the old weights go over it."""
        model = LanguageModel(self.V, self.model_config)
        if self.start_from is not None:
            weights, old = self.start_from
            self.notes += init_from(model, weights, unit_names(self.corpus.units), unit_names(old))
        return model

    def stream(self) -> Stream:
        """The training part as a stream of chunks, from its start."""
        return training_stream(self.corpus, self.train_config, self.batch)

    # -- training ----------------------------------------------------------------------------------------------

    def loss(self, model: nn.Module, batch: Chunk, carry: Mapping[str, Tensor]) -> Loss:
        """The loss of one chunk, and the state to carry.

        Only the last ``batch.score`` steps count. The carried state is the one after the first ``batch.advance`` steps,
        cut from the graph: no later loss reaches back behind it. Padding behind ``batch.lengths`` counts nowhere.

        Args:
            carry: the ``carry`` of the chunk before; ignored where ``batch.fresh``.
        Returns:
            The objective is the mean over the scored units, or with ``--loss-reduction sum`` their sum over steps,
            averaged over the streams.
        """
        assert isinstance(model, LanguageModel)
        device = model.head.weight.device
        x, y = torch.from_numpy(batch.x).to(device), torch.from_numpy(batch.y).to(device)
        W, B = x.shape
        lengths = None
        if batch.lengths is not None:
            lengths = torch.from_numpy(batch.lengths).to(device)
            y = y.masked_fill(torch.arange(W, device=device)[:, None] >= lengths, IGNORED)
        output, kept = _run(model, x, None if batch.fresh else state_from_dict(carry), batch, lengths)
        if batch.score < W:
            output, y = output[W - batch.score :], y[W - batch.score :]
        nats = F.cross_entropy(model.scores(output).flatten(0, 1), y.flatten(), reduction="sum", ignore_index=IGNORED)
        units = batch.scored
        objective = nats / (B if self.train_config.loss_reduction == "sum" else units)
        return Loss(objective, nats.detach() / units, units, state_to_dict(detach(kept)))

    def whole(self, model: nn.Module, updating: Updating) -> WholeUpdates | None:
        """Whole updates in the compiled core; None where the model, the optimiser or the text is not for them."""
        assert isinstance(model, LanguageModel)
        stream = self._stream
        if not isinstance(stream, ChunkStream) or stream.k1 != stream.k2:
            return None
        if whole.refusal(model, stream.k2, self.batch) is not None:
            return None
        return whole.WholeUpdates(model, updating, rows=self.batch, reduction=self.train_config.loss_reduction)

    # -- figures -----------------------------------------------------------------------------------------------

    def evaluate(self, model: nn.Module, part: str, *, windows: int = 0) -> Evaluation:
        """Read all of a part and score every unit once.

        Args:
            part: "train", "dev" or "test".
            windows: also give ``window_nats``, the figure over this many random windows of ``--bptt`` units, each from
                a zero state: for comparison with projects that report that (unbroken text only).
        Returns:
            Mean nats a unit with its 95 % interval; ``figures``: perplexity, bpc, bpb. NaN and 0 units for an empty
            part.
        """
        assert isinstance(model, LanguageModel)
        config = self.train_config
        result = evaluation.evaluate(model, self.corpus, part, config.eval_streams)
        if windows and config.bptt != "full" and self.corpus.records is None:
            result.figures["window_nats"] = evaluation.window_nats(
                model, self.corpus, part, windows, int(config.bptt), config.seed
            )
        return result

    def baseline(self) -> tuple[str, float] | None:
        """Name and nats a unit of an n-gram model of the same text on its held-out part; None without one."""
        return ngram_baseline(
            self.corpus.tokens, self.corpus.parts, self.V, records=self.corpus.records, train_units=BASELINE_UNITS
        )

    @property
    def baseline_seconds(self) -> float:
        """What :meth:`baseline` takes, about; a budget in minutes leaves room for it."""
        return BASELINE_SECONDS * min(self.corpus.parts["train"].units, BASELINE_UNITS)

    def sample(self, model: nn.Module, carry: Mapping[str, Tensor], length: int, seed: int) -> str | None:
        """What the model writes after stream 0's carried state (records: from a fresh state), by its own generator."""
        assert isinstance(model, LanguageModel)
        return writing.sample(model, self.corpus.units, state_from_dict(carry), length, seed)

    # -- what it is --------------------------------------------------------------------------------------------

    def memory(self) -> sizes.Memory:
        """Estimated bytes of training (with ``--bptt full``: of an update on the longest records)."""
        steps = self._stream.longest if isinstance(self._stream, WholeRecordStream) else int(self.train_config.bptt)
        return self._memory(steps * self.batch)

    def describe(self) -> dict[str, Any]:
        """Sizes, units, splits, parameters and the memory estimate, as JSON values."""
        corpus, stream = self.corpus, self._stream
        return {
            "task": self.name,
            "text": corpus.summary,
            "units": corpus.units.kind,
            "vocabulary": self.V,
            "first_loss": math.log(self.V),
            "chars": corpus.chars,
            "bytes": corpus.bytes,
            "parts": {name: part.units for name, part in corpus.parts.items()},
            "records": None if corpus.records is None else len(corpus.records),
            "parameters": sizes.count_parameters(self.V, self.model_config),
            "batch": self.batch,
            "steps_per_epoch": stream.steps_per_epoch,
            "units_per_epoch": stream.units_per_epoch,
            "memory": self.memory().to_dict(),
            "digest": corpus.digest,
        }

    def engine(self, model: nn.Module) -> tuple[str, str]:
        """Which engine runs a training chunk of this task, and why the faster ones do not."""
        assert isinstance(model, LanguageModel)
        weight = model.head.weight
        x: Tensor = torch.zeros(2, 1, dtype=torch.int64, device=weight.device)
        if model.embedding is not None:
            x = torch.zeros(2, 1, model.embedding.embedding_dim, dtype=weight.dtype, device=weight.device)
        records = self.corpus.records is not None and self.train_config.bptt != "full"
        resets = torch.zeros(2, 1, dtype=torch.bool, device=weight.device) if records else None
        found = explain(model.rnn, x, resets=resets)
        return found.engine, found.reasons.get("aten", "").removeprefix("no: ")

    def settings(self) -> dict[str, Any]:
        """What ``config.json`` keeps: the model's and the data's settings, and among the latter the text's digest."""
        data = to_dict(self.data_config) | {"digest": self.corpus.digest}
        return {"model": to_dict(self.model_config), "data": data}

    def tokens(self) -> dict[str, Any] | None:
        """What ``tokens.json`` keeps: the units."""
        return self.corpus.units.to_json()

    def _memory(self, units: int) -> sizes.Memory:
        config = self.train_config
        return sizes.estimate_memory(
            self.V, self.model_config, units=units, optimiser=config.optimiser, momentum=config.momentum > 0,
            average=config.average > 0, bytes_each=8 if config.dtype == "float64" else 4,
        )  # fmt: skip

    def _refuse_full(self) -> None:
        units = self.corpus.parts["train"].units
        need = sizes.readable(self._memory(units).total)
        raise UserError(
            f"--bptt full: one update through an unbroken text of {units:,} units would need about {need} of memory; "
            "give a number of steps (--bptt 256), or --records if the text is independent records"
        )


def _run(model: LanguageModel, x: Tensor, state: State, batch: Chunk, lengths: Tensor | None) -> tuple[Tensor, State]:
    """Outputs of the whole window (W, B, H), and the state after its first ``advance`` steps.

    A window with a stride runs in two calls of the layer, so recurrent dropout draws one mask for each of the two.
    """
    W, B = x.shape
    # No mask where nothing is reset: engines are faster without one.
    resets = None if batch.resets is None or not batch.resets.any() else torch.from_numpy(batch.resets).to(x.device)
    a = batch.advance
    if a == W:
        return model.features(x, state, resets=resets, lengths=lengths)
    if a == 0:
        kept = model.initial_state(B) if state is None else state
        return model.features(x, state, resets=resets, lengths=lengths)[0], kept
    early, kept = model.features(x[:a], state, resets=None if resets is None else resets[:a])
    late, _ = model.features(x[a:], kept, resets=None if resets is None else resets[a:])
    return torch.cat((early, late)), kept

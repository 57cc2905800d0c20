"""A trained model that says what is on pictures, and what its captions are worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.data.caption_units import caption_text
from unrolled.data.image_arrays import IMAGE_SUFFIXES, FeatureArrays, ImageArrays
from unrolled.data.image_sets import Features, Pictures
from unrolled.data.images import fit
from unrolled.data.vocabulary import Vocabulary
from unrolled.errors import UserError
from unrolled.tasks.base import Prediction, Report
from unrolled.tasks.caption import pictures
from unrolled.tasks.caption.config import FEATURES, TIMM, CaptionData, CaptionPredict
from unrolled.tasks.caption.finding import prepare
from unrolled.tasks.caption.frozen import features_of, frozen_encoder, with_features
from unrolled.tasks.caption.looking import AT_ONCE
from unrolled.tasks.caption.model import CaptionModel
from unrolled.tasks.caption.neighbours import Neighbours
from unrolled.tasks.caption.reading import CaptionCorpus, read_corpus
from unrolled.tasks.caption.task import CaptionTask
from unrolled.tasks.caption.timm_encoder import FrozenTimm
from unrolled.tasks.caption.writing import Written, write


@dataclasses.dataclass(frozen=True)
class _Read:
    """Training settings where nothing is trained."""

    batch: int = 64
    seed: int = 1
    loss_reduction: str = "mean"


class CaptionPredictor:
    """A trained model that says what is on pictures.

    Attributes:
        model, vocabulary, data: as trained. longest: units of a caption at most, unless an option says otherwise.
    """

    def __init__(
        self, model: CaptionModel, vocabulary: Vocabulary, data: CaptionData, longest: int, config: Mapping[str, Any],
        where: str,
    ) -> None:  # fmt: skip
        self.model, self.vocabulary, self.data, self.longest = model, vocabulary, data, longest
        self.config, self.where = config, where
        self._frozen: FrozenTimm | None = None

    def predict(self, inputs: Iterable[str], options: CaptionPredict) -> Iterator[Prediction]:
        """A caption for each image.

        Args:
            inputs: image files; or array files (.npz, .npy), each of whose images gets a caption; of a model of
                precomputed features, files of such.
        Raises:
            UserError: a file that is no such thing, whatever ``--bad`` was in training.
        """
        count, neighbours = 0, self._neighbours(options, None)
        for some, names in self._batches(inputs):
            rows = np.arange(len(names))
            seen, longest = self._seen(some), self._most(options)
            written = write(self.model, self.vocabulary, seen, rows, options, longest, neighbours)
            for k, (name, row) in enumerate(zip(names, written, strict=True)):
                drawn = self._draw(options, some, k, row[0], name, count)
                count += 1
                yield self._prediction(name, row, drawn)

    def _prediction(self, name: str, row: Sequence[Written], drawn: str | None) -> Prediction:
        said = [caption_text(one.units, self.data.units) for one in row]
        best = [
            {"caption": text, "log_probability": one.log_probability, "score": one.score}
            for text, one in zip(said, row, strict=True)
        ]
        found: dict[str, Any] = {"input": name, **best[0]}
        found |= {"captions": best} if len(best) > 1 else {}
        found |= {"attention": drawn} if drawn else {}
        shown = said[0] if len(said) == 1 else "  |  ".join(said)
        return Prediction(f"{name}\t{shown}", found)

    def _draw(
        self, options: CaptionPredict, some: Pictures | Features, k: int, one: Written, name: str, number: int
    ) -> str | None:
        if options.draw is None:
            return None
        if one.weights is None or one.grid is None:
            raise UserError(f"--draw: {self.where} has no attention over an image; train with --image-as attend")
        folder = Path(options.draw)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{number:04}-{Path(name.replace('#', '-')).stem}.png"
            pictures.attention(some, np.array([k]), [one])(path)
        except OSError as error:
            raise UserError(f"--draw {folder}: {error.strerror or error}; name a folder that can be written") from None
        return str(path)

    def _most(self, options: CaptionPredict) -> int:
        return options.max_length or self.longest

    def _batches(self, inputs: Iterable[str]) -> Iterator[tuple[Pictures | Features, list[str]]]:
        """Images of the size the model takes, with their names, some at a time."""
        held: list[Any] = []
        names: list[str] = []
        of_features = self.model.config.encoder == FEATURES

        def batch() -> tuple[Pictures | Features, list[str]]:
            return Features(held, self.model.inputs.grid) if of_features else Pictures(held), names

        for text in inputs:
            for one, name in self._open(text, of_features):
                held.append(one)
                names.append(name)
                if len(held) == AT_ONCE:
                    yield batch()
                    held, names = [], []
            # One file a batch, so that an answer comes before the next input is waited for.
            if held:
                yield batch()
                held, names = [], []

    def _open(self, text: str, of_features: bool) -> Iterator[tuple[Any, str]]:
        path = Path(text)
        if of_features:
            arrays = FeatureArrays(path)
            if arrays.width != self.model.inputs.features:
                raise UserError(
                    f"{text}: features of width {arrays.width}; the model takes {self.model.inputs.features}"
                )
            yield from ((arrays[k], arrays.names[k] if arrays.names else f"{text}#{k}") for k in range(len(arrays)))
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            images = ImageArrays(path)
            for k in range(len(images)):
                name = images.names[k] if images.names else f"{text}#{k}"
                yield fit(images[k], self.data.image_size, self.data.fit), name
        else:
            yield prepare(path, text, self.data)[0], text

    def _seen(self, some: Pictures | Features) -> Pictures | Features:
        """What the model takes: features of the encoder that is not part of it, where there is one."""
        config = self.model.config
        if isinstance(some, Features) or not config.encoder.startswith(TIMM) or config.train_encoder:
            return some
        self._frozen = self._frozen or frozen_encoder(config)
        assert self._frozen is not None
        return features_of(some, self._frozen)[0]

    def evaluate(self, paths: list[str] | None, part: str, options: CaptionPredict) -> Report:
        """The report of a part of the training data, or of all images of ``paths``.

        Raises:
            UserError: the data is not to be had or has changed, or the part is empty.
        """
        own: CaptionCorpus | None = None
        if paths is None:
            if options.neighbours and part == "train":
                raise UserError("--neighbours: a training picture is its own nearest; use --part dev or --part test")
            own = corpus = self._trained_on()
            data = self.data
        else:
            data = dataclasses.replace(self.data, heldout=0.0, dev=0.0)
            corpus = self._read(paths, data)
            every = np.sort(np.concatenate(list(corpus.parts.values())))
            corpus = dataclasses.replace(corpus, parts={"train": every[:0], "dev": every[:0], "test": every})
            part = "test"
        if not len(corpus.parts[part]):
            raise UserError(f"--part {part}: that part of the data is empty; name another")
        task = CaptionTask(
            corpus, data, self.model.config, _Read(), vocabulary=self.vocabulary, longest=self._most(options)
        )
        return task.report(self.model, part, options, neighbours=self._neighbours(options, own))

    def _read(self, paths: list[str], data: CaptionData) -> CaptionCorpus:
        corpus, frozen = read_corpus(paths, data), frozen_encoder(self.model.config)
        return corpus if frozen is None else with_features(corpus, frozen)

    def _trained_on(self) -> CaptionCorpus:
        """The data of the training, as it was."""
        saved = (self.config.get("text") or {}).get("paths")
        corpus = self._read(list(saved) if isinstance(saved, list) else [], self.data)
        if corpus.digest() != self.config["data"].get("digest"):
            raise UserError(f"{corpus.label}: not the data that {self.where} was trained on, or it has changed")
        return corpus

    def _neighbours(self, options: CaptionPredict, own: CaptionCorpus | None) -> Neighbours | None:
        """What ``--neighbours`` asks for, from the training part; its data is read if it is not at hand."""
        if not options.neighbours:
            return None
        corpus = own or self._trained_on()
        return Neighbours(corpus.pictures, corpus.parts["train"], corpus.units, options.neighbours)

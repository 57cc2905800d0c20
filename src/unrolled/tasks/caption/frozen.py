"""Encoders that are not trained: a timm model's features, or precomputed ones, in place of pictures."""

from __future__ import annotations

import dataclasses

from unrolled.data.image_sets import Features, Pictures, cached_features
from unrolled.errors import UserError
from unrolled.tasks.caption.config import FEATURES, SMALL, TIMM, CaptionConfig, CaptionData
from unrolled.tasks.caption.reading import CaptionCorpus, Progress
from unrolled.tasks.caption.timm_encoder import FrozenTimm


def settled(model: CaptionConfig, data: CaptionData) -> CaptionConfig:
    """The model's settings, its encoder that of the features where there are some.

    Raises:
        UserError: ``--encoder features`` without ``--features``, or another encoder with them.
    """
    if data.features is None:
        if model.encoder == FEATURES:
            raise UserError("--encoder features: needs --features FILE")
        return model
    if model.encoder not in (SMALL, FEATURES):
        raise UserError(f"--encoder {model.encoder}: --features are of an encoder already; give one of the two")
    return dataclasses.replace(model, encoder=FEATURES)


def frozen_encoder(model: CaptionConfig) -> FrozenTimm | None:
    """The timm encoder that is not trained; None where another one, or a trained one, is asked for."""
    return FrozenTimm(model) if model.encoder.startswith(TIMM) and not model.train_encoder else None


def at_size_of(frozen: FrozenTimm, data: CaptionData) -> CaptionData:
    """The data read at the size that an encoder was made for."""
    how = "crop" if data.fit == "keep" else data.fit
    return dataclasses.replace(data, image_size=frozen.encoder.size, fit=how, shift=0, flip=False)


def with_features(corpus: CaptionCorpus, frozen: FrozenTimm, progress: Progress | None = None) -> CaptionCorpus:
    """The corpus with an encoder's features in place of its pictures; those on disk are not computed again."""
    assert isinstance(corpus.pictures, Pictures)
    features, computed = features_of(corpus.pictures, frozen, progress)
    count = len(corpus.pictures)
    note = f"features of {frozen.name}: {computed:,} computed, {count - computed:,} known already"
    return dataclasses.replace(corpus, pictures=features, notes=[*corpus.notes, note])


def features_of(shown: Pictures, frozen: FrozenTimm, progress: Progress | None = None) -> tuple[Features, int]:
    size = shown.largest[0] if shown.largest else frozen.encoder.size
    told = None if progress is None else lambda done, of: progress("computing features", done / of)
    each, computed = cached_features(shown, frozen.name, frozen.features, progress=told)
    return Features(each, frozen.look_once(size)), computed

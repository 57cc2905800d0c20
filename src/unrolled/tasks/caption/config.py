"""How pictures and captions are read, the shape of a captioning model, and how it answers. No torch here."""

from __future__ import annotations

import dataclasses

from unrolled.errors import UserError
from unrolled.settings import check, option

CELLS = ("lstm", "gru", "rnn-tanh", "rnn-relu")
IMAGE_AS = ("h0", "first", "every", "attend")
FITS = ("crop", "stretch", "pad", "keep")
SMALL, FEATURES, TIMM = "small", "features", "timm:"
LONGEST = 10_000


@dataclasses.dataclass(frozen=True)
class CaptionData:
    """Which pictures and captions are read, and which of them are held out."""

    images: str | None = option(None, "folder of the images, or an array file (.npz, .npy) of them (default: the "
                                "captions' folder, or images/ in it)")  # fmt: skip
    features: str | None = option(None, "precomputed features in place of images: .npy, .npz or HDF5")
    image_column: str | None = option(None, "column of the image's file name (default: guessed)")
    caption_column: str | None = option(None, "column of the caption (default: guessed)")
    part_column: str | None = option(None, "column that says train, dev or test (default: guessed; none: drawn)")
    test_list: str | None = option(None, "file of image names, one a line: the test part, as Flickr8k has it")
    dev_list: str | None = option(None, "file of image names, one a line: the dev part")
    restval: str | None = option(None, "what becomes of images of the Karpathy split's restval; must be said where "
                                 "there are any", choices=("train", "leave-out"))  # fmt: skip
    group_until: str | None = option(None, "captions equal up to this text fall into one part (\":\" keeps "
                                     "\"woman: dark skin tone\" with \"woman\")")  # fmt: skip
    heldout: float = option(0.1, "test part: share of the images, where the file names none", min=0.0, below=1.0)
    dev: float = option(0.1, "dev part: share of the rest, where the file names none", min=0.0, below=1.0)
    split_seed: int = option(1, "seed of the draw of the parts", min=0)
    units: str = option("word", "what a caption is read and written in", choices=("word", "char"))
    lower: bool = option(True, "read captions in lower case")
    min_count: int = option(1, "words that occur less often become <unk>", min=1)
    longest: int = option(400, "captions of more units are left out, and counted", min=1, max=LONGEST)
    bad: str = option("error", "missing, damaged or enormous images, and bad lines: end, or leave them out and count "
                      "them", choices=("error", "skip"))  # fmt: skip
    image_size: int = option(64, "pixels a side of a picture (--fit keep: at most, on its longer side)", min=4,
                             max=4096)  # fmt: skip
    fit: str = option("crop", "how a picture gets that size: its middle square, stretched, padded with white, or "
                      "kept in its own size and shape", choices=FITS)  # fmt: skip
    megapixels: float = option(50.0, "images of more are bad, and not unpacked", above=0.0)
    shift: int = option(0, "in training, move each picture by up to so many pixels", min=0, max=512)
    flip: bool = option(False, "in training, mirror every second picture (left and right lose their meaning)")
    shapes: int = option(12_000, "pictures to generate where no data is named", min=100, max=10**7)

    def __post_init__(self) -> None:
        check(self)
        if self.images is not None and self.features is not None:
            raise UserError("--images and --features: give one; features stand in place of images")
        if self.features is not None and (self.shift or self.flip):
            raise UserError("--shift and --flip: move pictures, and --features are none; leave them out")
        if self.fit == "keep" and (self.shift or self.flip):
            raise UserError("--shift and --flip: need pictures of one size; use --fit crop, stretch or pad")
        if self.shift >= self.image_size:
            raise UserError(f"--shift {self.shift}: must be below --image-size {self.image_size}")
        if self.group_until == "":
            raise UserError("--group-until: the text is empty; give the mark that ends what captions share")


@dataclasses.dataclass(frozen=True)
class CaptionConfig:
    """A picture in, a sentence out: an encoder, and a recurrent decoder that takes what it saw."""

    encoder: str = option(SMALL, "small (a convolutional network trained along), timm:NAME, or features (what "
                          "--features says)")  # fmt: skip
    width: int = option(32, "small: channels of its first layer; they double at each of the next", min=1, max=4096)
    stages: int = option(3, "small: layers of stride 2", min=1, max=8)
    blocks: int = option(1, "small: residual layers after each of those", min=0, max=32)
    pretrained: bool = option(True, "timm: start from its published weights")
    train_encoder: bool = option(False, "timm: train it along (otherwise its features are computed once and kept)")
    image_as: str = option("attend", "how the decoder takes the image: as its first state, as its first input, at "
                           "every step, or by attention", choices=IMAGE_AS)  # fmt: skip
    attention: str = option("additive", "how attention scores", choices=("dot", "general", "additive"))
    memory: int = option(128, "width of what the decoder takes of the image", min=1, max=10**6)
    cell: str = option("lstm", "recurrent cell", choices=CELLS)
    layers: int = option(1, "recurrent layers", min=1, max=1000)
    hidden: int = option(128, "hidden units a layer", min=1, max=10**8)
    embedding: int = option(64, "embedding size of a word or character", min=1, max=10**8)
    dropout: float = option(0.1, "dropout on embeddings, image and output", min=0.0, below=1.0)
    word_dropout: float = option(0.0, "in training, a previous word is hidden with this probability", min=0.0,
                                 below=1.0)  # fmt: skip
    smoothing: float = option(0.0, "label smoothing", min=0.0, below=1.0)
    engine: str = option("auto", "what runs the recurrence", choices=("auto", "reference", "aten", "native"))

    def __post_init__(self) -> None:
        check(self)
        named = self.encoder.removeprefix(TIMM)
        if self.encoder not in (SMALL, FEATURES) and (named == self.encoder or not named):
            raise UserError(f"--encoder {self.encoder}: not one of small, features, timm:NAME")
        if self.image_as == "attend" and self.attention == "dot" and self.memory != self.hidden:
            raise UserError(
                f"--attention dot: compares --memory {self.memory} with --hidden {self.hidden}, which must be equal; "
                "use general or additive"
            )
        if self.train_encoder and not self.encoder.startswith(TIMM):
            raise UserError(f"--train-encoder: only a timm encoder may stay as it is, not {self.encoder}; leave it out")


@dataclasses.dataclass(frozen=True)
class CaptionPredict:
    """How captions are written."""

    beam: int = option(1, "captions followed side by side; 1 is greedy", min=1, max=10_000)
    nbest: int = option(1, "captions to give of each picture, at most --beam; the first is the same for any number",
                        min=1)  # fmt: skip
    length_penalty: float = option(0.6, "how much longer captions are favoured when a beam is ranked: alpha of Wu et "
                                   "al. 2016, 0 is none", min=0.0, max=10.0)  # fmt: skip
    consensus: bool = option(False, "of the beam, rank first the caption that agrees most with all others, by token "
                             "F1 and their probability")  # fmt: skip
    neighbours: int = option(0, "--consensus: also elect among, and count, the captions of so many training pictures "
                             "that look most like the picture (reads the training data; 0: none)",
                             min=0, max=1000)  # fmt: skip
    max_length: int | None = option(None, "units of a caption at most (default: one and a half times the longest that "
                                    "was trained on)", min=1, max=LONGEST)  # fmt: skip
    draw: str | None = option(None, "folder for pictures of where attention lies, word by word")

    def __post_init__(self) -> None:
        check(self)
        if self.nbest > self.beam:
            raise UserError(f"--nbest {self.nbest}: a search with --beam {self.beam} finds {self.beam}; "
                            f"use --beam {self.nbest}")  # fmt: skip
        if self.consensus and self.beam == 1:
            raise UserError("--consensus: with --beam 1 there is one caption only; use --beam 10, say")
        if self.neighbours and not self.consensus:
            raise UserError(f"--neighbours {self.neighbours}: their captions vote in --consensus; add it, and a --beam")

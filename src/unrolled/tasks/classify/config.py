"""How data for a classifier is read, the shape of one, and how it answers. No torch here."""

from __future__ import annotations

import dataclasses

from unrolled.data.tables import BAD, HEADERS
from unrolled.errors import UserError
from unrolled.settings import check, option
from unrolled.tasks.language.config import CELLS, INITS

UNITS = ("auto", "char", "word")
POOLS = ("last", "mean", "max", "attention", "concat")
TARGETS = ("class", "several", "number")
WEIGHTS = ("none", "balanced", "sqrt")


@dataclasses.dataclass(frozen=True)
class ClassifyData:
    """Reading and splitting labelled examples (see :mod:`unrolled.tasks.classify.reading`)."""

    target: str = option("class", "what is predicted: one class, several labels at once, or a number", choices=TARGETS)
    text_column: str | None = option(None, "column of the text, by name or number (default: guessed)", flag="--text")
    label_column: str | None = option(None, "column of the class, labels or number (default: guessed)", flag="--label")
    separator: str = option(",", "what stands between the labels of one cell, for --target several")
    header: str = option("auto", "whether a table's first row names its columns", choices=HEADERS)
    glob: str | None = option(None, "in a folder of one file a class: which files (default: *.txt, else all)")
    encoding: str = option("utf-8", "encoding of text files")
    bad: str = option("error", "a row of a wrong width, without text or without label: refuse it, or skip and count it",
                      choices=BAD)  # fmt: skip
    repeats: str = option("keep", "equal inputs with equal labels: keep them all, or count each once",
                          choices=("keep", "once"))  # fmt: skip
    rare: str = option("keep", "a class of a single example: keep it, skip it, or refuse the data",
                       choices=("keep", "skip", "error"))  # fmt: skip
    units: str = option("auto", "what one step of the network reads; auto: words where texts have several, else "
                        "characters", choices=UNITS)  # fmt: skip
    lower: bool = option(False, "read everything in lower case")
    min_count: int = option(1, "a unit seen less often in the training part is unknown", min=1)
    vocab_size: int | None = option(None, "largest vocabulary", min=1)
    longest: int | None = option(None, "read only the first so many units of an example (default: all)", min=1)
    permute: int | None = option(None, "sequences of numbers: read the steps in the fixed order of this seed", min=0)
    test_file: str | None = option(None, "file or folder that is the test part (default: --heldout of the data)")
    dev_file: str | None = option(None, "file or folder that is the dev part (default: --dev of the training part)")
    heldout: float = option(0.1, "share of the distinct inputs held out for the final figure", min=0.0, below=1.0)
    dev: float = option(0.1, "share of what is left, to watch, select and calibrate on", min=0.0, below=1.0)
    fold: int = option(0, "which of the 1/--heldout parts is held out, for cross-validation", min=0)
    split_seed: int = option(1, "seed of the split", min=0, max=2**63 - 1)
    split: str = option("auto", "hold out by a hash of the input, so that equal inputs stay together, or from the end "
                        "(auto: by hash; idx files from the end)", choices=("auto", "hash", "end"))  # fmt: skip

    def __post_init__(self) -> None:
        check(self)
        if self.separator == "":
            raise UserError("--separator: it is empty; name what stands between labels")
        folds = round(1 / self.heldout) if self.heldout else 1
        if self.fold >= folds:
            raise UserError(f"--fold {self.fold}: --heldout {self.heldout:g} has the folds 0 to {folds - 1}")


@dataclasses.dataclass(frozen=True)
class ClassifyConfig:
    """A recurrent classifier: a sequence in, its states pooled, scores out."""

    cell: str = option("lstm", "recurrent cell", choices=CELLS)
    layers: int = option(1, "recurrent layers", min=1, max=1000)
    hidden: int = option(128, "hidden units a layer and direction", min=1, max=10**8)
    embedding: int = option(64, "embedding size of characters or words", min=1, max=10**8)
    bidirectional: bool = option(True, "read from both ends")
    pool: str = option("last", "what is scored: the last state (from each end), the mean, the maximum or an attention-"
                       "weighted mean over the steps, or last, mean and maximum together", choices=POOLS)  # fmt: skip
    ngrams: bool = option(False, "texts: beside the network a linear path over hashed runs of up to 4 characters or 2 "
                          "words (wide and deep)")  # fmt: skip
    ngram_bits: int = option(16, "the linear path's runs are hashed to 2 to this power rows", min=4, max=28)
    ngram_gain: float | None = option(None, "what the linear path is multiplied by, which makes it learn faster "
                                      "(default: 5 of characters, 1 of words)", above=0.0)  # fmt: skip
    ngram_training: str = option(
        "together", "the network and the linear path are trained on their sum, or each by itself and their scores are "
        "averaged", choices=("together", "apart"),
    )  # fmt: skip
    dropout: float = option(0.0, "dropout on the embedding, between layers and before the output", min=0.0, below=1.0)
    word_dropout: float = option(0.0, "share of the units replaced by <unk> in training", min=0.0, below=1.0)
    recurrent_dropout: float = option(0.0, "dropout of the recurrent state, one mask a sequence", min=0.0, below=1.0)
    zoneout: float = option(0.0, "probability that a unit keeps its previous state", min=0.0, below=1.0)
    layer_norm: bool = option(False, "layer normalisation inside the cell")
    init: str = option("torch", "initialisation", choices=INITS)
    forget_bias: float | None = option(None, "initial forget bias of an LSTM")
    class_weights: str = option("none", "weight of a class in the loss: none, one over its frequency (balanced), or "
                                "the root of that", choices=WEIGHTS)  # fmt: skip
    smoothing: float = option(0.0, "label smoothing", min=0.0, below=1.0)
    calibrate: bool = option(True, "fit a temperature on the dev part, so that probabilities mean what they say")
    engine: str = option("auto", "what runs the recurrence", choices=("auto", "reference", "aten", "native"))

    def __post_init__(self) -> None:
        check(self)
        if self.forget_bias is not None and self.cell != "lstm":
            raise UserError(f"--forget-bias: only --cell lstm has a forget gate, not {self.cell}")
        if self.init == "identity" and not self.cell.startswith("rnn"):
            raise UserError(f"--init identity: meant for --cell rnn-relu, not {self.cell}")
        if self.init == "chrono" and self.cell not in ("lstm", "gru"):
            raise UserError(f"--init chrono: sets gate biases, which --cell {self.cell} lacks")


@dataclasses.dataclass(frozen=True)
class ClassifyPredict:
    """How a classifier answers."""

    top: int = option(1, "name so many classes, with their probabilities", min=1)
    threshold: float | None = option(None, "say nothing where the best class is less probable (several labels: name "
                                     "those above it, default 0.5)", min=0.0, max=1.0)  # fmt: skip
    at_once: int = option(256, "examples read side by side", min=1)

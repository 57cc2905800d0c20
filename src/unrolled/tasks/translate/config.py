"""How pairs are read, the shape of an encoder and decoder, and how they answer. No torch here."""

from __future__ import annotations

import dataclasses

from unrolled.data.reading import FORMATS, FORMS, LOWERCASE, Reading
from unrolled.decoding.config import BeamConfig
from unrolled.errors import UserError
from unrolled.settings import check, option
from unrolled.tasks.language.config import CELLS, INITS

UNITS = ("char", "word", "bpe", "whitespace")
ATTENTION = ("none", "dot", "general", "additive")
FALLS = ("constant", "linear", "exponential", "sigmoid")


@dataclasses.dataclass(frozen=True)
class TranslateData:
    """Reading pairs of sequences, and cutting them into units."""

    format: str = option("auto", "how the files are written (auto: by their endings and first lines; two files without "
                         "tabs are parallel)", choices=FORMATS)  # fmt: skip
    source_column: str | None = option(None, "column of the source: its name, or its number from 1 (default: source, "
                                       "src, input or the like, else the first)")  # fmt: skip
    target_column: str | None = option(None, "column of the target (default: target, tgt, output or the like, else the "
                                       "second)")  # fmt: skip
    reverse: bool = option(False, "translate from the target to the source")
    stress: bool = option(False, "CMUdict: keep the stress digits")
    normalise: str = option("nfc", "Unicode form of all text; but for none, thin and no-break spaces become plain ones",
                            choices=FORMS)  # fmt: skip
    lowercase: str = option("none", "side that is put in lower case", choices=LOWERCASE)
    max_words: int | None = option(None, "leave out pairs with more words than this on either side", min=1)
    units: str = option("char", "what one step of the encoder reads", choices=UNITS)
    target_units: str | None = option(None, "what one step of the decoder writes (default: as --units)", choices=UNITS)
    vocab_size: int | None = option(None, "largest vocabulary of a side (default 30000 for word, 1024 for bpe)", min=2)
    min_count: int = option(1, "units seen less often in training are <unk> (not for bpe)", min=1)
    shared: bool = option(False, "one vocabulary and one embedding for both sides")
    dev_file: str | None = option(None, "file to watch and select on, instead of a share of the training sources")
    test_file: str | None = option(None, "file of the final figure, instead of a share held out")
    heldout: float = option(0.1, "share of the sources held out for the final figure (without --test-file)",
                            min=0.0, below=1.0)  # fmt: skip
    dev: float = option(0.1, "share of the training sources to watch and select on (without --dev-file)",
                        min=0.0, below=1.0)  # fmt: skip
    split_seed: int = option(1, "seed of both shares, which go by a hash of the source's words in lower case", min=0)
    bad: str = option("error", "a line that is no pair is an error, or is skipped and counted",
                      choices=("error", "skip"))  # fmt: skip
    encoding: str = option("utf-8", "encoding of the files")
    examples: int = option(30_000, "dates to make up for training where no file is named", min=100)

    def __post_init__(self) -> None:
        check(self)
        if self.shared and self.target_units not in (None, self.units):
            raise UserError(f"--shared: both sides have the same units, not {self.units} and {self.target_units}")

    @property
    def reading(self) -> Reading:
        """What the reader of pairs needs of it."""
        return Reading(
            self.format, self.normalise, self.lowercase, self.source_column, self.target_column, self.reverse,
            self.stress, self.max_words, self.bad, self.encoding,
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class TranslateConfig:
    """A recurrent encoder and decoder: a sequence in, another out."""

    cell: str = option("lstm", "recurrent cell of the encoder", choices=CELLS)
    decoder_cell: str | None = option(None, "recurrent cell of the decoder (default: the encoder's)", choices=CELLS)
    layers: int = option(1, "recurrent layers, of the encoder and of the decoder", min=1, max=1000)
    hidden: int = option(256, "hidden units a layer; of a bidirectional encoder half of them a direction", min=1,
                         max=10**8)  # fmt: skip
    bidirectional: bool = option(True, "the encoder reads from both ends")
    embedding: int | None = option(None, "embedding size (default: --hidden when tied, else at most 128)", min=1,
                                   max=10**8)  # fmt: skip
    tied: bool = option(False, "share the decoder's embedding with the output layer")
    attention: str = option("general", "how the decoder looks at the source: none (at its last state alone), dot, "
                            "general (Luong) or additive (Bahdanau)", choices=ATTENTION)  # fmt: skip
    input_feeding: bool = option(False, "what was seen at a step is part of the next one's input; the decoder then "
                                 "runs step by step, which is slower")  # fmt: skip
    teacher_forcing: float = option(1.0, "probability that the decoder is fed the true unit in training, and not its "
                                    "own", min=0.0, max=1.0)  # fmt: skip
    teacher_schedule: str = option("linear", "how that probability falls from 1 over --teacher-steps", choices=FALLS)
    teacher_steps: int = option(5000, "updates over which it falls", min=1)
    dropout: float = option(0.0, "dropout on embeddings, between layers and before the output", min=0.0, below=1.0)
    recurrent_dropout: float = option(0.0, "dropout of the recurrent state, one mask a sequence", min=0.0, below=1.0)
    zoneout: float = option(0.0, "probability that a unit keeps its previous state", min=0.0, below=1.0)
    layer_norm: bool = option(False, "layer normalisation inside the cell")
    label_smoothing: float = option(0.0, "share of the target's probability that is spread over all units in training",
                                    min=0.0, below=1.0)  # fmt: skip
    init: str = option("torch", "initialisation of the recurrent layers", choices=INITS)
    forget_bias: float | None = option(None, "initial forget bias of LSTMs")
    engine: str = option("auto", "what runs the recurrence", choices=("auto", "reference", "aten", "native"))

    def __post_init__(self) -> None:
        check(self)
        cells = {self.cell, self.decoder}
        if self.bidirectional and self.hidden % 2:
            raise UserError(f"--hidden {self.hidden}: a bidirectional encoder halves it; use an even number")
        if self.tied and self.embedding not in (None, self.hidden):
            raise UserError(
                f"--tied: the embedding ({self.embedding}) must be as wide as --hidden ({self.hidden}); "
                "leave --embedding out"
            )
        if self.input_feeding and self.attention == "none":
            raise UserError("--input-feeding: feeds what attention saw, and there is none; name an --attention")
        if self.forget_bias is not None and "lstm" not in cells:
            raise UserError(f"--forget-bias: only --cell lstm has a forget gate, not {self.cell}")
        if self.init == "identity" and any(not cell.startswith("rnn") for cell in cells):
            raise UserError(f"--init identity: meant for --cell rnn-relu, not {self.cell}")
        if self.init == "chrono" and any(cell not in ("lstm", "gru") for cell in cells):
            raise UserError(f"--init chrono: sets gate biases, which --cell {self.cell} lacks")

    @property
    def decoder(self) -> str:
        """The decoder's cell."""
        return self.decoder_cell or self.cell

    @property
    def embedding_size(self) -> int:
        """Width of both embeddings: as given, else H where it is tied, else at most 128."""
        if self.embedding is not None:
            return self.embedding
        return self.hidden if self.tied else min(128, self.hidden)


@dataclasses.dataclass(frozen=True)
class TranslatePredict(BeamConfig):
    """How a translation is searched for and written."""

    replace_unknown: bool = option(False, "for an unknown word, write the source's word that attention looked at most")
    alignments: bool = option(False, "JSON: where attention looked for each unit")
    together: int = option(128, "sequences decoded side by side; 1 answers each as it comes", min=1, max=100_000)

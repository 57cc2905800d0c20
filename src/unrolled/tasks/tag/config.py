"""How tagged data is read, the shape of a tagger, and how it answers. No torch here."""

from __future__ import annotations

import dataclasses

from unrolled.errors import UserError
from unrolled.settings import check, option
from unrolled.tasks.language.config import CELLS, INITS

FORMATS = ("auto", "conllu", "columns", "jsonl", "arrays")
INPUTS = ("auto", "text", "conllu", "columns", "jsonl")
OUTPUTS = (*INPUTS, "inline")


@dataclasses.dataclass(frozen=True)
class TagData:
    """Reading sentences with a tag for each word, or arrays with a label or a value for each step."""

    format: str = option("auto", "how the files are written (auto: by their endings and first lines); arrays are .npz "
                         "with x (N, T, I), y (N, T) and lengths (N,)", choices=FORMATS)  # fmt: skip
    tag: str | None = option(None, "what is predicted: upos, xpos or feats.NAME of CoNLL-U (default upos); a column's "
                             "number, from 1 (default: the last); a field of JSONL (default: tags, or the like); an "
                             "array of .npz (default y)")  # fmt: skip
    words: str | None = option(None, "where the words stand: a column's number (default 1), a field of JSONL (default: "
                               "words, or the like); the input array of .npz (default x)")  # fmt: skip
    target: str = option("auto", "what a step of .npz has: a class or a number (auto: whole numbers and strings are "
                         "classes)",
                         choices=("auto", "class", "number"))  # fmt: skip
    dev_file: str | None = option(None, "file to watch and select on, instead of a share of the training sentences")
    test_file: str | None = option(None, "file of the final figure, instead of a share held out")
    heldout: float = option(0.1, "share of the sentences held out for the final figure (without --test-file)",
                            min=0.0, below=1.0)  # fmt: skip
    dev: float = option(0.1, "share of the training sentences to watch and select on (without --dev-file)",
                        min=0.0, below=1.0)  # fmt: skip
    split_seed: int = option(1, "seed of both shares, which go by a hash of the sentence", min=0)
    scheme: str = option("iob2", "how the network marks spans, whatever the file does; keep: as in the file",
                         choices=("iob2", "iobes", "iob1", "keep"))  # fmt: skip
    min_count: int = option(1, "words seen less often are read through their letters alone", min=1)
    bad: str = option("error", "a sentence that cannot be read is an error, or is skipped and counted",
                      choices=("error", "skip"))  # fmt: skip
    encoding: str = option("utf-8", "encoding of the files")

    def __post_init__(self) -> None:
        check(self)
        if self.tag is not None and not self.tag.strip():
            raise UserError("--tag: the name is empty; use upos, xpos, feats.NAME, a column's number or a field's name")


@dataclasses.dataclass(frozen=True)
class TagConfig:
    """A recurrent tagger: words and their letters in, a tag for each out."""

    cell: str = option("lstm", "recurrent cell, of words and of letters", choices=CELLS)
    layers: int = option(2, "recurrent layers over the words", min=1, max=1000)
    hidden: int = option(200, "hidden units a layer and direction", min=1, max=10**8)
    bidirectional: bool = option(True, "read a sentence from both ends")
    embedding: int = option(100, "size of a word's embedding (0: words are read through their letters alone)",
                            min=0, max=10**8)  # fmt: skip
    letters: int = option(50, "size of a letter's embedding (0: no letters)", min=0, max=10**8)
    letter_hidden: int = option(100, "hidden units of the network over letters, a direction", min=1, max=10**8)
    letter_layers: int = option(1, "layers of the network over letters", min=1, max=1000)
    longest_word: int = option(20, "letters read of a word: its first and last half where it is longer", min=2)
    lower: bool = option(True, "the embedding is of the word in lower case; the letters keep the case")
    word_dropout: float = option(0.25, "a word seen n times is read through its letters alone with probability a / "
                                 "(a + n) in training: this a", min=0.0)  # fmt: skip
    dropout: float = option(0.5, "dropout on what enters, between layers and before the output", min=0.0, below=1.0)
    recurrent_dropout: float = option(0.0, "dropout of the recurrent state, one mask a sentence", min=0.0, below=1.0)
    layer_norm: bool = option(False, "layer normalisation inside the cell")
    init: str = option("torch", "initialisation of the recurrent layers", choices=INITS)
    forget_bias: float | None = option(None, "initial forget bias of an LSTM")
    crf: bool = option(False, "score whole tag sequences (a conditional random field on top)")
    engine: str = option("auto", "what runs the recurrence", choices=("auto", "reference", "aten", "native"))

    def __post_init__(self) -> None:
        check(self)
        if self.embedding == 0 and self.letters == 0:
            raise UserError("--embedding 0 --letters 0: nothing of a word would be read; leave one of them out")
        if self.forget_bias is not None and self.cell != "lstm":
            raise UserError(f"--forget-bias: only --cell lstm has a forget gate, not {self.cell}")
        if self.init == "identity" and not self.cell.startswith("rnn"):
            raise UserError(f"--init identity: meant for --cell rnn-relu, not {self.cell}")
        if self.init == "chrono" and self.cell not in ("lstm", "gru"):
            raise UserError(f"--init chrono: sets gate biases, which --cell {self.cell} lacks")


@dataclasses.dataclass(frozen=True)
class TagPredict:
    """How a tagger reads what it is asked, and how it answers."""

    input: str = option("auto", "how the input is written; CoNLL is read line by line, sentences between blank lines "
                        "(auto: CoNLL-U by its ten columns, else text)", choices=INPUTS)  # fmt: skip
    output: str = option("auto", "how the answer is written (auto: as the input; for text as the training data); "
                         "inline: word/TAG on one line", choices=OUTPUTS)  # fmt: skip
    pretokenized: bool = option(False, "the words of a text stand between spaces already")

    def __post_init__(self) -> None:
        check(self)
        if self.pretokenized and self.input not in ("auto", "text"):
            raise UserError(f"--pretokenized: says how a text is cut, and --input {self.input} is no text")

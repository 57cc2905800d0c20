"""How a text is read, cut into units and split. No torch here."""

from __future__ import annotations

import dataclasses

from unrolled.errors import UserError
from unrolled.settings import check, option

UNITS = ("char", "byte", "word", "bpe", "whitespace", "int")
UNKNOWN = ("error", "skip", "replace")


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Reading and splitting a text (see :mod:`unrolled.data`)."""

    units: str = option("char", "what one step of the network reads", choices=UNITS)
    encoding: str = option("utf-8", "encoding of the text")
    vocab: str = option("all", "take the vocabulary from all of the text or from its training part only",
                        choices=("all", "train"))  # fmt: skip
    vocab_size: int | None = option(None, "largest vocabulary (default 30000 for word, 1024 for bpe)", min=2)
    unknown: str = option("error", "a unit that the vocabulary lacks becomes <unk> where there is one; where there is "
                          "none it is an error, is skipped, or is replaced by '?' or a space",
                          choices=UNKNOWN)  # fmt: skip
    records: str | None = option(None, "the text is independent records ended by this: line, or a literal delimiter "
                                 "(\\n, \\r and \\t are understood)")  # fmt: skip
    heldout: float = option(0.1, "share of the text, at its end, held out for the final figure", min=0.0, below=1.0)
    dev: float = option(0.02, "share of the training part, at its start, to watch and select on (at most 500,000)",
                        min=0.0, below=1.0)  # fmt: skip

    def __post_init__(self) -> None:
        check(self)
        if self.records == "":
            raise UserError("--records: the delimiter is empty; use 'line' or a literal delimiter")

    @property
    def delimiter(self) -> str | None:
        """The characters that end a record, or None for unbroken text."""
        if self.records is None:
            return None
        if self.records == "line":
            return "\n"
        return self.records.replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t")

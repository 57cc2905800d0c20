"""The shape of a language model. No torch here."""

from __future__ import annotations

import dataclasses

from unrolled.errors import UserError
from unrolled.settings import check, option

CELLS = ("rnn-tanh", "rnn-relu", "lstm", "gru")
INITS = ("torch", "orthogonal", "identity", "chrono", "normal")


@dataclasses.dataclass(frozen=True)
class LanguageConfig:
    """A recurrent language model: units in, a distribution over the next unit out."""

    cell: str = option("lstm", "recurrent cell", choices=CELLS)
    layers: int = option(1, "recurrent layers", min=1, max=1000)
    hidden: int = option(256, "hidden units a layer", min=1, max=10**8)
    input: str = option("embedding", "how a unit enters: its embedding, or one-hot (as a lookup)",
                        choices=("embedding", "one-hot"))  # fmt: skip
    embedding: int | None = option(
        None, "embedding size (default: --hidden when tied, else at most 128)", min=1, max=10**8
    )
    tied: bool = option(False, "share the embedding with the output layer")
    dropout: float = option(0.0, "dropout on the embedding, between layers and before the output", min=0.0, below=1.0)
    embedding_dropout: float | None = option(
        None, "dropout on the embedding (unset: that of --dropout)", min=0.0, below=1.0
    )
    embedding_mask: str | None = option(
        None, "what a mask on the embedding is drawn for: each token of an update, or once for the table, which trains "
        "faster (default: token)", choices=("token", "table"),
    )  # fmt: skip
    recurrent_dropout: float = option(0.0, "dropout of the recurrent state, one mask a sequence", min=0.0, below=1.0)
    zoneout: float = option(0.0, "probability that a unit keeps its previous state", min=0.0, below=1.0)
    layer_norm: bool = option(False, "layer normalisation inside the cell")
    init: str = option("torch", "initialisation", choices=INITS)
    forget_bias: float | None = option(None, "initial forget bias of an LSTM")
    single_bias: bool = option(False, "one bias a layer: bias_hh held at 0 and not trained")
    engine: str = option("auto", "what runs the recurrence", choices=("auto", "reference", "aten", "native"))

    def __post_init__(self) -> None:
        check(self)
        if self.tied and self.input == "one-hot":
            raise UserError("--tied: one-hot input has no embedding to share; use --input embedding")
        if self.tied and self.embedding is not None and self.embedding != self.hidden:
            raise UserError(
                f"--tied: the embedding ({self.embedding}) must be as wide as --hidden ({self.hidden}); "
                "leave --embedding out"
            )
        if self.forget_bias is not None and self.cell != "lstm":
            raise UserError(f"--forget-bias: only --cell lstm has a forget gate, not {self.cell}")
        if self.init == "identity" and not self.cell.startswith("rnn"):
            raise UserError(f"--init identity: meant for --cell rnn-relu, not {self.cell}")
        if self.init == "chrono" and self.cell not in ("lstm", "gru"):
            raise UserError(f"--init chrono: sets gate biases, which --cell {self.cell} lacks")

    @property
    def embedding_size(self) -> int:
        """Width of the embedding: as given, else H where it is tied, else at most 128."""
        if self.embedding is not None:
            return self.embedding
        return self.hidden if self.tied else min(128, self.hidden)

    @property
    def embedding_rate(self) -> float:
        """Probability of dropout on the embedding, 0 where there is none."""
        if self.input == "one-hot":
            return 0.0
        return self.dropout if self.embedding_dropout is None else self.embedding_dropout

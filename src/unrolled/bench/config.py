"""How a benchmark is run. No torch here."""

from __future__ import annotations

import dataclasses

from unrolled.settings import check, option


@dataclasses.dataclass(frozen=True)
class BenchConfig:
    """Settings that every case understands."""

    threads: int | None = option(None, "threads of both sides (default: torch's choice); a case that takes the best "
                                 "count tries 1 and this", min=1)  # fmt: skip
    pairs: int = option(9, "interleaved pairs, ours and the peer in turn", min=1)
    engine: str = option("auto", "engine of ours", choices=("auto", "native", "aten", "reference"))
    only: str | None = option(None, "measure only rows whose name holds this: 'GRU' or 'H512'")
    minutes: float = option(9.0, "grid: about so many minutes in all; a dear case gets fewer pairs, never under 3",
                            above=0.0)  # fmt: skip
    plot: str | None = option(None, "draw every ratio to a peer there: a .png, .svg or .pdf")

    def __post_init__(self) -> None:
        check(self)

    def wants(self, row: str) -> bool:
        """Whether ``--only`` lets this row through."""
        return self.only is None or self.only.lower() in row.lower()

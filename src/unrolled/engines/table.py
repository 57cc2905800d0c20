"""The support table, from what the engines say: ``python -m unrolled.engines.table > docs/support.md``."""

from __future__ import annotations

from unrolled.engines.select import ENGINES, OPTIONS, Request, refusal

CELLS = ("rnn-tanh", "rnn-relu", "rnn-identity", "lstm", "gru", "gru-reset-before")

_HEAD = """# What each engine takes

Made from the code by `python -m unrolled.engines.table`; a test keeps it true. `engine="auto"` takes the first engine,
from left to right, that says yes to the whole call; `engine="…"` by name raises where the answer is no. A call that
needs several options needs a yes in each of their rows. A third engine, `native`, is named in the code for the compiled
core; no installation has it yet, and it says so when it is asked for.

Every engine takes float32 and float64, every number of layers, both directions, `batch_first`, unbatched and packed
input, dropout between layers and initial states. Double backward is guaranteed by `reference` alone.
"""


def refused_by_the_cell(cell: str, option: str) -> str | None:
    """Options that a cell itself does not have, on any engine."""
    if option == "proj_size" and cell != "lstm":
        return "only an LSTM has a projection"
    if option == "layer_norm" and cell == "gru-reset-before":
        return "its recurrent product is made in two parts"
    return None


def support_table() -> str:
    """The table as Markdown: option x engine x cell."""
    engines = [e for e in ENGINES if e != "native"]
    lines = [_HEAD, "| option | cell | " + " | ".join(engines) + " |", "|---" * (2 + len(engines)) + "|"]
    for option, words in {"": "no option", **OPTIONS}.items():
        answers: dict[str, list[str]] = {}
        for cell in CELLS:
            cells_own = refused_by_the_cell(cell, option)
            request = Request(cell, **({option: True} if option else {}))
            row = ["no cell" if cells_own else "no" if refusal(engine, request) else "yes" for engine in engines]
            answers.setdefault(" | ".join(row), []).append(cell)
        for row_text, cells in answers.items():
            text = row_text.replace("no cell", "–")
            lines.append(f"| {words} | {', '.join(cells)} | {text} |")
    notes = [
        "",
        "– : the cell has no such option (a projection is an LSTM's; layer norm needs the GRU's reset after the",
    ]
    notes.append("product) and refuses it at construction, by name.")
    return "\n".join(lines + notes) + "\n"


if __name__ == "__main__":
    print(support_table(), end="")

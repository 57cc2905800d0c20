"""The support table, from what the engines say: ``python -m unrolled.engines.table > docs/support.md``."""

from __future__ import annotations

from typing import Any

import torch

from unrolled.engines import select
from unrolled.engines.select import ENGINES, OPTIONS, Request, refusal

CELLS = ("rnn-tanh", "rnn-relu", "rnn-identity", "lstm", "gru", "gru-reset-before")

_HEAD = """# What each engine takes

Made from the code by `python -m unrolled.engines.table`; a test keeps it true. `engine="auto"` takes the first engine,
from left to right, that says yes to the whole call; `engine="…"` by name raises where the answer is no. A call that
needs several options needs a yes in each of their rows. The column `native` is that of an installation with the
compiled core; one without it says so when `native` is asked for, and in `explain()`.

Every engine takes every number of layers, both directions, `batch_first`, unbatched and packed input, dropout between
layers, initial states, and a batch of no rows. Double backward: `reference`, and `native`, which recomputes by the
reference what it needs; `aten` where torch's kernels have it.
"""

_TAIL = """
## Where code that was written for torch.nn notices

- The classes derive from `torch.nn.RNNBase`, not from `torch.nn.LSTM` and its siblings (at which `torch.compile` breaks
  the graph). What asks `isinstance(m, nn.LSTM)`, as `torch.ao.quantization.quantize_dynamic` does, passes them by;
  `unrolled sample --weights int8` and `unrolled.engines.stepper.Stepper` are our own int8.
- On `native` the backward pass reads the output. So `y.relu_()` or `y[~mask] = 0` raises torch's error about an
  in-place operation at `backward()`, as it does after torch's own LSTM in float32; write `y = y.relu()`. After torch's
  RNN and GRU it is allowed, and after `engine="aten"` and `engine="reference"` too.
- `torch.jit.trace` and `torch.export` take the layers; `torch.jit.script` and `torch.fx.symbolic_trace` do not (torch
  makes an exception for its own modules alone). For ONNX by tracing `auto` takes torch's kernels; export a module that
  holds the layer, since ONNX hands every argument of the outermost call by position.
"""

_PLACES: dict[str, dict[str, Any]] = {
    "float64": {"dtype": torch.float64},
    "bfloat16": {"dtype": torch.bfloat16},
    "float16": {"dtype": torch.float16},
    "on cuda": {"device": "cuda"},
    "on mps": {"device": "mps"},
    "on meta": {"device": "meta"},
}
"""What the weights may be, and where they may lie, beside float32 on a CPU."""


def refused_by_the_cell(cell: str, option: str) -> str | None:
    """Options that a cell itself does not have, on any engine."""
    if option == "proj_size" and cell != "lstm":
        return "only an LSTM has a projection"
    if option == "layer_norm" and cell == "gru-reset-before":
        return "its recurrent product is made in two parts"
    return None


def _answer(engine: str, request: Request) -> str:
    why = select.native_refusal(request) if engine == "native" else refusal(engine, request)
    return "no" if why else "yes"


def support_table() -> str:
    """The table as Markdown: option x engine x cell."""
    lines = [_HEAD, "| option | cell | " + " | ".join(ENGINES) + " |", "|---" * (2 + len(ENGINES)) + "|"]
    rows: dict[str, tuple[str, dict[str, Any]]] = {"no option": ("", {})}
    rows |= {words: (option, {option: True}) for option, words in OPTIONS.items()}
    rows |= {words: ("", given) for words, given in _PLACES.items()}
    for words, (option, given) in rows.items():
        answers: dict[str, list[str]] = {}
        for cell in CELLS:
            cells_own = refused_by_the_cell(cell, option)
            row = ["no cell" if cells_own else _answer(engine, Request(cell, **given)) for engine in ENGINES]
            answers.setdefault(" | ".join(row), []).append(cell)
        for row_text, cells in answers.items():
            text = row_text.replace("no cell", "–")
            lines.append(f"| {words} | {', '.join(cells)} | {text} |")
    notes = [
        "",
        "– : the cell has no such option (a projection is an LSTM's; layer norm needs the GRU's reset after the",
    ]
    notes.append("product) and refuses it at construction, by name.")
    return "\n".join(lines + notes) + "\n" + _TAIL


if __name__ == "__main__":
    print(support_table(), end="")

"""A file to fill in: the functions of a cell with their shapes, and nothing in them."""

from __future__ import annotations

from unrolled.check.interface import CELLS, FUNCTIONS, Interface

_TITLES = {"rnn": "The vanilla cell", "lstm": "The LSTM", "gru": "The GRU"}
_WHAT = {
    "forward": "One step.",
    "backward": "One step back: the gradient of the loss with respect to everything that forward took.",
    "forward_sequence": "All steps, from xs[0] to xs[T-1]. (Leave this out, or as it is, until one step is right.)",
    "backward_sequence": "Back-propagation through time, from the last step to the first.",
}
_HINTS = {
    "forward": "cache is whatever backward needs.",
    "backward": "dX is the gradient of the loss with respect to X. Gradients of weights are summed over the batch.",
    "forward_sequence": "hs[t] is the state after step t; caches is whatever backward_sequence needs.",
    "backward_sequence": "dhs[t] is what the loss itself says of hs[t]; the later steps say more.\n"
    "    Every step shares the weights: their gradients are summed over t.",
}


def blank(cell: str, torch: bool = False) -> str:
    """The text of a Python file for ``cell`` (``rnn``, ``lstm``, ``gru``), in NumPy or in torch."""
    face = CELLS[cell]
    library = "import torch" if torch else "import numpy as np"
    equations = "\n".join(f"    {line}" for line in face.equations)
    head = f'''"""{_TITLES[cell]}, forward and backward by hand. Test it with: unrolled check THIS_FILE

{equations}

B is the batch, I the size of the input, H that of the state, T the number of steps. The batch stands first, so the
product W_xh x is x @ W_xh.T. Arrays are {"torch tensors" if torch else "NumPy arrays"} in float64.
"""

{library}

CELL = "{cell}"
'''
    return head + "".join(_function(face, name) for name in FUNCTIONS)


def _function(cell: Interface, name: str) -> str:
    takes = [v.name for v in cell.arguments(name)]
    cache = "caches" if name.endswith("sequence") else "cache"
    backward = name.startswith("backward")
    signature = ", ".join(takes + [cache] * backward)
    gives = ", ".join([v.name for v in cell.results(name)] + [cache] * (not backward))
    given = "\n".join(f"        {v}" for v in cell.arguments(name))
    results = "\n".join(f"        {v}" for v in cell.results(name))
    extra = f"        {cache}"
    given, results = (f"{given}\n{extra}", results) if backward else (given, f"{results}\n{extra}")
    return f'''

def {name}({signature}):
    """{_WHAT[name]}

    Takes
{given}
    Returns
{results}

    {_HINTS[name]}
    """
    raise NotImplementedError
    return {gives}
'''

"""The legend of the project, and the checks made once at the border.

======  =======================  ===========  =====================================================
letter  is                       name         is
======  =======================  ===========  =====================================================
``T``   time steps               ``x h c y``  input, hidden state, cell state, output
``B``   batch (streams)          ``i f g o``  LSTM input, forget, candidate, output gates (torch's order)
``I``   input size               ``r z n``    GRU reset, update, candidate (torch's order)
``H``   hidden size              ``dX``       gradient of the loss with respect to ``X``
``L``   layers                   ``X_bar``    pre-activation of ``X``
``V``   vocabulary
======  =======================  ===========  =====================================================

Time comes first: ``(T, B, ...)``. ``batch_first=True`` is accepted at the border of a layer and nowhere inside.
"""

from __future__ import annotations


class ShapeError(ValueError, RuntimeError):
    """Sizes that disagree. A ValueError; a RuntimeError too, since that is what torch.nn raises in the same place."""


def expect(name: str, actual: tuple[int, ...], expected: tuple[int, ...], letters: str) -> None:
    """Check a shape once, at the border.

    Raises:
        ShapeError: names the argument, both shapes and their letters.
    """
    if tuple(actual) != tuple(expected):
        raise ShapeError(f"{name} has shape {tuple(actual)}, expected {letters} = {tuple(expected)}")

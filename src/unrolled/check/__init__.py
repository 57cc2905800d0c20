"""A learner's cell, forward and backward by hand, against the cells of this package and finite differences.

:func:`examine` is the whole of it; ``unrolled check`` prints what it finds. :func:`blank` writes a file to fill in.
"""

from __future__ import annotations

from unrolled.check.blank import blank
from unrolled.check.examine import Finding, Outcome, examine
from unrolled.check.interface import CELLS, Interface

__all__ = ["CELLS", "Finding", "Interface", "Outcome", "blank", "examine"]

"""Batch x hidden x steps x cells against torch.nn, forward and backward: no shape may be slower.

    python benchmarks/grid.py [--threads 2] [--pairs 9] [--engine auto] [--only WORDS]

B 1, 8, 32, 128; H 32 to 1024; T 1, 16, 128; two layers. Same thread count on both sides. --minutes bounds the whole:
dear shapes get fewer pairs, never under three.
Prints a table, then one JSON line for each case. The same as ``unrolled bench grid``, and measured there:
unrolled/bench/.
"""

from __future__ import annotations

from unrolled.bench.script import main

if __name__ == "__main__":
    main(["grid"], __doc__)

"""One stream of 25 steps, 100 units, as in the lecture: what a call costs.

    python benchmarks/tiny.py [--threads 2] [--pairs 9] [--engine auto] [--only WORDS]

LSTM, GRU, tanh RNN; B 1, T 25, I 65, H 100, one layer. Through autograd, and by the engine's own call without it;
the peer is torch.nn through autograd, its only way. Each side takes the better of one thread and --threads.
Prints a table, then one JSON line for each case. The same as ``unrolled bench tiny``, and measured there:
unrolled/bench/.
"""

from __future__ import annotations

from unrolled.bench.script import main

if __name__ == "__main__":
    main(["tiny"], __doc__)

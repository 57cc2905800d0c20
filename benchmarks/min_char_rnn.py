"""The lecture's program at its own settings, whole, against NumPy: characters a second.

    python benchmarks/min_char_rnn.py [--threads 2] [--pairs 9] [--engine auto] [--only WORDS]

Ours is --preset min-char-rnn in the training loop, without samples. The peer of the bar is written as the lecture
does it, column by column; beside it stands the best that NumPy allows. Same dtype on both sides. NumPy's threads are
the environment's.
Prints a table, then one JSON line for each case. The same as ``unrolled bench min-char-rnn``, and measured there:
unrolled/bench/.
"""

from __future__ import annotations

from unrolled.bench.script import main

if __name__ == "__main__":
    main(["min-char-rnn"], __doc__)

"""Peak memory of training over 1000 steps, against torch.nn.

    python benchmarks/memory_training.py [--threads 2] [--pairs 9] [--engine auto] [--only WORDS]

LSTM, T 1000, B 32, I 512, H 512, one layer; forward, backward, AdamW. Each measurement is a fresh process: its peak
resident memory less what was resident before the data was made.
Prints a table, then one JSON line for each case. The same as ``unrolled bench memory``, and measured there:
unrolled/bench/.
"""

from __future__ import annotations

from unrolled.bench.script import main

if __name__ == "__main__":
    main(["memory"], __doc__)

"""Large sequences, forward and backward: the share of sgemm, and the ratio to torch.nn.

    python benchmarks/sequence.py [--threads 2] [--pairs 9] [--engine auto] [--only WORDS]

LSTM, GRU, tanh RNN; T 64, two layers, I = H; B64 H512, B64 H256, B32 H128; x requires a gradient. The peer is
torch.nn at the same thread count in its best form for training: time first, dense, all layers in one call. A 2048^3
sgemm runs before and after every repetition; only the flops of the products that the task needs are counted.
Prints a table, then one JSON line for each case. The same as ``unrolled bench sequence``, and measured there:
unrolled/bench/.
"""

from __future__ import annotations

from unrolled.bench.script import main

if __name__ == "__main__":
    main(["sequence"], __doc__)

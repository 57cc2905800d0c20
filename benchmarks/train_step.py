"""A character LSTM's whole training step: token input, loss, backward, AdamW; tokens a second.

    python benchmarks/train_step.py [--threads 2] [--pairs 9] [--engine auto] [--only WORDS]

One layer, B 32, T 64, V 65, H 256 and 512. The peer is the same model of torch.nn with F.cross_entropy and
AdamW(fused=True), one-hot input by the faster of F.one_hot and a gather of unit rows, state carried and detached.
Prints a table, then one JSON line for each case. The same as ``unrolled bench train-step``, and measured there:
unrolled/bench/.
"""

from __future__ import annotations

from unrolled.bench.script import main

if __name__ == "__main__":
    main(["train-step"], __doc__)

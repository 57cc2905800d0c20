"""What a reset mask, a trace in training, layer norm and zoneout add to our own plain LSTM.

    python benchmarks/options.py [--threads 2] [--pairs 9] [--engine auto] [--only WORDS]

T 64, B 64, H 256, two layers. The peer is our plain layer: the bars are about what an option adds. Each option's
result is checked against the reference engine first.
Prints a table, then one JSON line for each case. The same as ``unrolled bench options``, and measured there:
unrolled/bench/.
"""

from __future__ import annotations

from unrolled.bench.script import main

if __name__ == "__main__":
    main(["options"], __doc__)

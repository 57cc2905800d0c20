"""Generation: one sampling step of one stream, int8 weights, and 256 streams at once.

    python benchmarks/generate.py [--threads 2] [--pairs 9] [--engine auto] [--only WORDS]

One layer, V 65, H 128 to 1024. The peers are torch.nn.LSTMCell under inference_mode and ONNX Runtime (where
installed: pip install onnx onnxruntime), the better of the two, and nn.LSTM called with T = 1.
Prints a table, then one JSON line for each case. The same as ``unrolled bench step streams``, and measured there:
unrolled/bench/.
"""

from __future__ import annotations

from unrolled.bench.script import main

if __name__ == "__main__":
    main(["step", "streams"], __doc__)

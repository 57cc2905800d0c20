"""Large sequences, forward and backward: the share of ``sgemm``, and the ratio to torch.nn.

T 64, two layers, I = H. The peer is ``torch.nn.LSTM``, ``GRU``, ``RNN`` at the same thread count, time first, dense.
"""

from __future__ import annotations

from collections.abc import Iterator

from unrolled.bench.config import BenchConfig
from unrolled.bench.figures import Bar, Row
from unrolled.bench.measure import Yardstick, compare
from unrolled.bench.parity import ParityError
from unrolled.bench.twins import Shape, twins

SHARES = {512: Bar(0.80, 0.90), 256: Bar(0.80, 0.90), 128: Bar(0.60, 0.70)}
RATIOS = {
    "LSTM": {512: Bar(1.35, 1.6), 256: Bar(1.4, 1.6), 128: Bar(1.15, 1.4)},
    "GRU": {512: Bar(1.4, 1.6), 256: Bar(1.75, 2.0), 128: Bar(4.0, 5.0)},
    "RNN": {512: Bar(1.35, 1.6), 256: Bar(1.7, 2.0), 128: Bar(4.0, 5.0)},
}
BATCH = {512: 64, 256: 64, 128: 32}


def rows(config: BenchConfig) -> Iterator[Row]:
    """Three cells at three sizes."""
    yardstick = None
    for cell, bars in RATIOS.items():
        for H, bar in bars.items():
            shape = Shape(cell, T=64, B=BATCH[H], H=H, L=2)
            if not config.wants(str(shape)):
                continue
            yardstick = yardstick or Yardstick()
            yield _row(shape, bar, config, yardstick)


def _row(shape: Shape, bar: Bar, config: BenchConfig, yardstick: Yardstick) -> Row:
    try:
        ours, peer = twins(shape, config.engine)
    except ParityError as error:
        return Row(str(shape), refused=str(error))
    found = compare(ours.side(), peer.side(), pairs=config.pairs, yardstick=yardstick)
    return Row(
        str(shape),
        {
            "share": found.share(shape.flops, SHARES[shape.H]),
            "torch's share": found.share(shape.flops, of="peer"),
            "ratio": found.ratio(bar),
            "ours": found.milliseconds(),
            "torch": found.milliseconds("peer"),
            "sgemm": found.sgemm(),
        },
    )

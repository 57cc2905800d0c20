"""How fast a text becomes tokens, nothing cached: decoding, vocabulary, encoding, writing and syncing, all of it.

    python benchmarks/encode.py [--megabytes 64] [--repeats 3]

Prints a table, then one JSON line. Every result is checked before its speed is printed: the tokens of random places,
decoded, must be the text there. The aims are 50 MB/s for byte and 20 MB/s for char.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import threading
import time
from pathlib import Path

from unrolled.data import TextConfig, load_corpus, open_source

KINDS = (  # name, settings, letters, share of the megabytes (the slow ones get less)
    ("byte", {"units": "byte"}, "ascii", 1.0),
    ("byte, records", {"units": "byte", "records": "line"}, "ascii", 1.0),
    ("char, ASCII", {"units": "char"}, "ascii", 1.0),
    ("char, mixed scripts", {"units": "char"}, "mixed", 1.0),
    ("char, records", {"units": "char", "records": "line"}, "ascii", 1.0),
    ("word", {"units": "word"}, "ascii", 0.25),
    ("bpe", {"units": "bpe"}, "ascii", 0.125),
)
LETTERS = {"ascii": "etaoinshrdlucmfwypvbgkjqxz", "mixed": "etaoinàéüшщжदकल中文字😀"}


def write_text(path: Path, letters: str, size: int, rng: random.Random) -> None:
    """About ``size`` bytes of random words in lines; a block of it is written again and again, each time turned."""
    words = ["".join(rng.choices(letters, k=rng.randint(1, 9))) for _ in range(20_000)]
    lines = [" ".join(rng.choices(words, k=rng.randint(1, 14))) + "\n" for _ in range(20_000)]
    with open(path, "w", encoding="utf-8", newline="") as out:
        while out.tell() < size:
            turn = rng.randrange(len(lines))
            out.writelines(lines[turn:] + lines[:turn])


class PeakMemory:
    """Peak anonymous memory (mapped file pages apart) above what the process had at the start, in MB; Linux only."""

    def __enter__(self) -> PeakMemory:
        self.start, self.peak, self._stop = self._now(), 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.peak = max(self.peak, self._now() - self.start)

    @staticmethod
    def _now() -> float:
        try:
            lines = Path("/proc/self/status").read_text().splitlines()
        except OSError:
            return 0.0
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")), 0.0)


def measure(path: Path, settings: dict[str, str], repeats: int) -> tuple[float, float, float]:
    """Median and spread of MB/s, and the peak of memory in MB."""
    speeds, peak = [], 0.0
    size = path.stat().st_size / 1e6
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache, PeakMemory() as memory:
            began = time.perf_counter()
            corpus = load_corpus(open_source([str(path)]), TextConfig(**settings), cache=Path(cache))
            speeds.append(size / (time.perf_counter() - began))
            check(path, corpus)
        peak = max(peak, memory.peak)
    return statistics.median(speeds), max(speeds) - min(speeds), peak


def check(path: Path, corpus: object) -> None:
    """The first tokens, decoded, are the beginning of the text; with records, a random one is a line of it."""
    tokens, units, records = corpus.tokens, corpus.units, corpus.records  # type: ignore[attr-defined]
    with open(path, encoding="utf-8", newline="") as text:
        head = text.read(1 << 16)
    if records is None:
        assert head.startswith(units.decode(tokens[: 1 << 12]).rstrip("\ufffd")), "the tokens are not the text"
    else:
        start, stop = records.span(random.randrange(1000))
        assert units.decode(tokens[start:stop]) + "\n" in head, "a record is not a line of the text"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rng = random.Random(1)
    results = {}
    print(f"{'units':22}{'MB':>8}{'MB/s':>10}{'spread':>10}{'peak MB':>10}")
    with tempfile.TemporaryDirectory() as folder:
        for name, settings, letters, share in KINDS:
            path = Path(folder) / f"{letters}-{share}.txt"
            if not path.exists():
                write_text(path, LETTERS[letters], int(options.megabytes * share * 1e6), rng)
            speed, spread, peak = measure(path, settings, options.repeats)
            size = path.stat().st_size / 1e6
            results[name] = {"megabytes": size, "mb_per_s": speed, "spread": spread, "peak_mb": peak}
            print(f"{name:22}{size:8.1f}{speed:10.1f}{spread:10.1f}{peak:10.1f}")
    print(json.dumps({"benchmark": "encode", "results": results}))


if __name__ == "__main__":
    main()

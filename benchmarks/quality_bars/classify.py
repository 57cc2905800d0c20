"""The classifier's bars: names, film reviews, handwritten digits pixel by pixel."""

from __future__ import annotations

import gzip
import struct
import tempfile
from pathlib import Path

from quality_bars import Options, Row, bar, summary, train

DIGITS = "70k parameters, 10 epochs: GRU 0.962, permuted 0.873; LSTM 0.872, permuted 0.857"
HOUR = ("--minutes", 60)


@bar("names")
def names(options: Options) -> Row:
    """A tenth held out by distinct string, mean of three seeds of split and weights."""
    folder = options.data / "names-by-nationality"
    budget = ("--epochs", 0.2) if options.quick else ()
    seeds = range(1, 2 if options.quick else 4)
    configs = [
        train(options, f"names-{seed}", "--task", "classify", folder, "--preset", "classify-names", "--repeats", "once",
              "--seed", seed, "--split-seed", seed, *budget)
        for seed in seeds
    ]  # fmt: skip
    return summary(
        "names", configs, data="names-by-nationality, a tenth of the distinct strings held out",
        published="linear 1-4-grams about 0.84", bars={"accuracy": (0.825, "min"), "macro_f1": (0.52, "min")},
        note=f"mean of {len(configs)} seeds, interval over them",
    )  # fmt: skip


@bar("rt-polarity")
def rt_polarity(options: Options) -> Row:
    """Ten folds, one setting, no selection on the fold."""
    folder = options.data / "rt-polarity"
    budget = ("--epochs", 0.2) if options.quick else ()
    configs = [
        train(options, f"rt-{fold}", "--task", "classify", folder, "--preset", "classify-sentences", "--fold", fold,
              *budget)
        for fold in range(1 if options.quick else 10)
    ]  # fmt: skip
    return summary(
        "rt-polarity", configs, data="rt-polarity, ten folds by a hash of the sentence",
        published="Kim 2014 CNN-rand 0.761; linear 1-2-grams 0.780", bars={"accuracy": (0.78, "min")},
        note=f"mean of {len(configs)} folds, interval over them",
    )  # fmt: skip


def _digits(options: Options, name: str, least: float, *arguments: object) -> Row:
    with tempfile.TemporaryDirectory() as small:
        folder = options.data / "mnist"
        if options.quick:
            folder = few(folder, Path(small), 2000)
        budget = ("--epochs", 1) if options.quick else HOUR
        config = train(options, name, "--task", "classify", folder, "--preset", "classify-pixels", *arguments, *budget)
    return summary(name, [config], data="MNIST pixel by pixel, dev: the last 10,000 training images", published=DIGITS,
                   bars={"accuracy": (least, "min")})  # fmt: skip


@bar("mnist")
def mnist(options: Options) -> Row:
    """784 steps, in order."""
    return _digits(options, "mnist", 0.98)


@bar("mnist-permuted")
def mnist_permuted(options: Options) -> Row:
    """784 steps, in the order of a fixed permutation."""
    return _digits(options, "mnist-permuted", 0.90, "--permute", 1)


@bar("mnist-irnn")
def mnist_irnn(options: Options) -> Row:
    """A vanilla ReLU network started at the identity (Le et al. 2015)."""
    row = _digits(options, "mnist-irnn", 0.90, "--cell", "rnn-relu", "--init", "identity", "--lr", 1e-4)
    row.published = "IRNN 0.97 (Le et al. 2015), plain RNN 0.215"
    return row


def few(folder: Path, into: Path, n: int) -> Path:
    """The first ``n`` training images and a fifth as many of the test part, as idx files."""
    for part, many in (("train", n), ("t10k", n // 5)):
        for kind in ("images-idx3", "labels-idx1"):
            data = gzip.decompress((folder / f"{part}-{kind}-ubyte.gz").read_bytes())
            dimensions = data[3]
            shape = struct.unpack(f">{dimensions}I", data[4 : 4 + 4 * dimensions])
            each = 1
            for size in shape[1:]:
                each *= size
            body = data[4 + 4 * dimensions :][: many * each]
            head = data[:4] + struct.pack(f">{dimensions}I", many, *shape[1:])
            (into / f"{part}-{kind}-ubyte").write_bytes(head + body)
    return into

"""Peak anonymous memory of training on a small and on a large text: it must not grow with the text.

    python benchmarks/memory.py [--small 10] [--large 1000] [--units char byte] [--data FILE]

Sizes are in MB. The text is the Python standard library's source, or FILE, repeated to size, every copy with its number
in front. Anonymous memory is RssAnon of /proc (Linux): pages of mapped files are the kernel's to drop and do not count.
Prints a table, then one JSON line; exit code 1 where large and small differ by 100 MB or more.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from unrolled.data import open_source, stdlib_source

LIMIT_MB = 100
MB = 1_000_000
SETTINGS = ["--steps", "60", "--hidden", "128", "--heldout", "0.001", "--dev", "0.001", "--sample-every", "0"]


def make_text(path: pathlib.Path, size: int, data: str | None) -> None:
    source = open_source([data]) if data else stdlib_source()
    written, number = 0, 0
    with path.open("wb") as file:
        while written < size:
            number += 1
            written += file.write(f"\n# copy {number}\n".encode())
            for block in source.blocks(1 << 20):
                written += file.write(block[: size - written])
                if written >= size:
                    break


def anonymous(pid: int) -> int:
    """Bytes of anonymous memory of a process now; 0 once it is gone."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")), 0)


def measure(text: pathlib.Path, units: str, folder: pathlib.Path) -> dict[str, float]:
    """Peak anonymous bytes and seconds of one training, reading and encoding from a cold cache included."""
    cache, run = folder / "cache", folder / "run"
    command = [sys.executable, "-m", "unrolled", "train", str(text), "--units", units, "--out", str(run), *SETTINGS]
    begun, peak = time.monotonic(), 0
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "UNROLLED_CACHE": str(cache)}
    )
    while process.poll() is None:
        peak = max(peak, anonymous(process.pid))
        time.sleep(0.005)
    if process.returncode:
        sys.exit(f"training failed: {process.stderr.read().decode() if process.stderr else ''}")
    shutil.rmtree(cache)
    shutil.rmtree(run)
    return {"peak": peak, "seconds": time.monotonic() - begun}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=10)
    parser.add_argument("--large", type=int, default=1000)
    parser.add_argument("--units", nargs="+", default=["char", "byte"])
    parser.add_argument("--data", help="a text file to repeat (default: the standard library's source)")
    options = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        texts = {"small": folder / "small.txt", "large": folder / "large.txt"}
        for size, path in texts.items():
            make_text(path, getattr(options, size) * MB, options.data)
        print(f"{'units':<6} {'text':>8} {'peak anonymous':>15} {'whole command':>14}")
        for units in options.units:
            for size, path in texts.items():
                found = measure(path, units, folder)
                figures.setdefault(units, {})[size] = found["peak"] / MB
                print(f"{units:<6} {getattr(options, size):>5} MB {found['peak'] / MB:>12.1f} MB "
                      f"{found['seconds']:>12.1f} s", flush=True)  # fmt: skip
    differences = {units: found["large"] - found["small"] for units, found in figures.items()}
    for units, difference in differences.items():
        print(f"{units}: {difference:+.1f} MB from the small to the large text")
    print(json.dumps({"benchmark": "memory", "peak_mb": figures, "difference_mb": differences}))
    sys.exit(0 if all(abs(d) < LIMIT_MB for d in differences.values()) else 1)


if __name__ == "__main__":
    main()

"""The loss that a preset reaches on Tiny Shakespeare in some minutes on this machine.

    python benchmarks/shakespeare.py --data FILE [--preset quick] [--minutes 3] [--threads 2] [train's other flags]

FILE is Tiny Shakespeare (1,115,394 bytes; github.com/karpathy/char-rnn, data/tinyshakespeare/input.txt). The last tenth
is held out, all of it is read with carried state. Prints a table with sgemm before and after (the machine's speed just
then), then one JSON line. nanoGPT states 1.4697 for three minutes on an A100, over random windows; ours that way is
given too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import torch

MD5 = "6fb458f1232090904fb40fe944165e91"


def gemm_gflops(threads: int) -> float:
    torch.set_num_threads(threads)
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    a @ b
    begun = time.perf_counter()
    for _ in range(5):
        a @ b
    return 5 * 2 * 2048**3 / (time.perf_counter() - begun) / 1e9


def unrolled(*arguments: str) -> str:
    result = subprocess.run([sys.executable, "-m", "unrolled", *arguments], capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stderr)
    return result.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=2)
    options, more = parser.parse_known_args()
    text = pathlib.Path(options.data)
    if hashlib.md5(text.read_bytes()).hexdigest() != MD5:
        print(f"{text}: not the usual Tiny Shakespeare (md5 {MD5}); figures do not compare", file=sys.stderr)
    threads = ["--threads", str(options.threads)]
    with tempfile.TemporaryDirectory() as folder:
        run = str(pathlib.Path(folder, "run"))
        before, begun = gemm_gflops(options.threads), time.monotonic()
        unrolled("train", str(text), "--preset", options.preset, "--minutes", str(options.minutes), "--out", run,
                 *threads, *more)  # fmt: skip
        command, after = time.monotonic() - begun, gemm_gflops(options.threads)
        result = json.loads(pathlib.Path(run, "config.json").read_text())["result"]
        windows = json.loads(
            unrolled("evaluate", run, "--windows", "400", "--window-length", "256", "--json", *threads)
        )["window_nats"]
    low, high = result["test_interval"]
    print(f"preset           {options.preset}, {options.minutes:g} minutes, {options.threads} threads")
    print(f"sgemm            {before:.0f} GFLOP/s before, {after:.0f} after")
    print(f"held-out loss    {result['test_nats']:.4f} nats per character ({low:.4f} to {high:.4f})")
    print(f"random windows   {windows:.4f} nats per character, of 256, from zero states")
    print(f"baseline         {result['baseline_nats']:.4f}: {result['baseline']}")
    print(
        f"trained          {result['steps']:,} updates, {result['units']:,} characters, {result['minutes']:.2f} minutes"
    )
    print(f"whole command    {command / 60:.2f} minutes, {command / 60 / options.minutes:.2f} of the budget")
    figures = {"benchmark": "shakespeare", "preset": options.preset, "sgemm": [before, after], "windows": windows}
    print(json.dumps(figures | {"command_minutes": command / 60, **result}))


if __name__ == "__main__":
    main()

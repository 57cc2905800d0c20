"""Kill a training process at random moments, resume it each time, and compare the end with an uninterrupted run.

    python benchmarks/resume.py [--kills 20] [--data FILE] [--steps 4000]

The text is the Python standard library's source unless --data names a file. Prints a table, then one JSON line; exit
code 1 unless weights, optimiser and metrics (but for time fields) are equal bit for bit.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import torch
from safetensors.torch import load_file

from unrolled.training.records import TIME_FIELDS

SETTINGS = ["--hidden", "96", "--dropout", "0.1", "--dev", "0.005", "--heldout", "0.01", "--checkpoint-every", "25",
            "--guard-interval", "20", "--eval-every", "200", "--sample-every", "500", "--average", "0.99",
            "--threads", "2"]  # fmt: skip


def train(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "unrolled", "train", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate()
    if process.returncode:
        sys.exit(f"training failed: {errors.decode()}")


def metrics(run: pathlib.Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIME_FIELDS} for line in lines]


def checkpoint(run: pathlib.Path) -> dict[str, torch.Tensor]:
    folder = run / "checkpoint" / (run / "checkpoint" / "latest").read_text().strip()
    return load_file(folder / "tensors.safetensors")


def compare(a: pathlib.Path, b: pathlib.Path) -> dict[str, bool]:
    one, two = checkpoint(a), checkpoint(b)
    same = one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    return {
        "weights": (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes(),
        "optimiser, average, memory, random streams": same,
        "metrics": metrics(a) == metrics(b),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--data", help="a text file (default: the standard library's source)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    text = [options.data] if options.data else []
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, cut = pathlib.Path(folder, "whole"), pathlib.Path(folder, "cut")
        begun = time.monotonic()
        finish(train(*text, "--out", str(whole), "--steps", str(options.steps), *SETTINGS))
        seconds = time.monotonic() - begun
        process = train(*text, "--out", str(cut), "--steps", str(options.steps), *SETTINGS)
        kills = 0
        while kills < options.kills:
            time.sleep(rng.uniform(0.5, 2 * seconds / options.kills + 4))
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            started = (cut / "config.json").exists()
            if not started:  # killed before anything was written that a run could go on from
                shutil.rmtree(cut, ignore_errors=True)
            process = train("--resume", str(cut)) if started else train(
                *text, "--out", str(cut), "--steps", str(options.steps), *SETTINGS)  # fmt: skip
            reached = (cut / "checkpoint" / "latest").read_text().strip() if started else "no checkpoint"
            print(f"kill {kills:2d}: resumed from {reached}", flush=True)
        finish(process)
        equal = compare(whole, cut)
    print(f"{kills} kills over {options.steps} updates ({seconds:.0f} s uninterrupted)")
    for what, same in equal.items():
        print(f"{what:<45} {'equal, bit for bit' if same else 'DIFFERENT'}")
    print(json.dumps({"benchmark": "resume", "kills": kills, "steps": options.steps, "equal": equal}))
    sys.exit(0 if all(equal.values()) and kills == options.kills else 1)


if __name__ == "__main__":
    main()

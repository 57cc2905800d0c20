"""What tagging reaches: parts of speech of English, on the official split of a treebank.

    python benchmarks/quality_tag.py --data DIR [--steps 4000 | --minutes 15] [--threads 2] [train's other flags]

DIR holds ``ud-english-ewt`` (Universal Dependencies English EWT, three ``.conllu`` files, packed or not). It is one
``unrolled train`` from scratch with the preset ``tag`` and these flags; nothing but the treebank is read, the dev file
is watched, the test file is read once, at the end. Prints a table, then one JSON line.

Bar: accuracy >= 0.94 on the test part in at most 15 minutes on two cores; 0.95 is wanted. The most frequent tag of each
word gets 0.862; BERT, which has read far more than a treebank, 0.972.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

BAR, WANTED = 0.94, 0.95


def unrolled(*arguments: str) -> str:
    result = subprocess.run([sys.executable, "-m", "unrolled", *arguments], capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stderr or result.stdout)
    return result.stdout


def part(folder: pathlib.Path, name: str) -> str:
    found = sorted(folder.glob(f"*-{name}.conllu*"))
    if not found:
        sys.exit(f"--data DIR: {folder} holds no *-{name}.conllu")
    return str(found[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=int, default=4000)
    budget.add_argument("--minutes", type=float)
    parser.add_argument("--threads", type=int, default=2)
    options, more = parser.parse_known_args()
    home = pathlib.Path(options.data, "ud-english-ewt")
    spend = ["--steps", str(options.steps)] if options.minutes is None else ["--minutes", str(options.minutes)]
    with tempfile.TemporaryDirectory() as folder:
        run = pathlib.Path(folder, "run")
        unrolled("train", part(home, "train"), "--task", "tag", "--dev-file", part(home, "dev"), "--test-file",
                 part(home, "test"), *spend, "--threads", str(options.threads), "--sample-every", "0", *more,
                 "--out", str(run))  # fmt: skip
        config = json.loads((run / "config.json").read_text())
        report = json.loads(unrolled("evaluate", str(run), "--json"))
    result, figures = config["result"], report["figures"]
    low, high = report["intervals"]["accuracy"]
    rows = [
        ("parameters", f"{config['parameters']:,}"),
        ("trained for", f"{result['steps']:,} steps, {result['minutes']:.1f} minutes, {options.threads} threads"),
        ("dev accuracy", f"{result['dev_accuracy']:.4f}"),
        ("test accuracy", f"{figures['accuracy']:.4f} (95 %: {low:.4f} to {high:.4f})"),
        ("on unseen words", f"{figures['unseen_accuracy']:.4f} ({figures['unseen']:.1%} of the words)"),
        ("baseline", f"{report['baselines'][0]['accuracy']:.4f}, {report['baselines'][0]['name']}"),
        ("bar", f"{BAR} ({'reached' if figures['accuracy'] >= BAR else 'MISSED'}), wanted {WANTED} "
                f"({'reached' if figures['accuracy'] >= WANTED else 'missed'})"),
    ]  # fmt: skip
    for name, value in rows:
        print(f"{name:<16} {value}")
    told = {"task": "tag", "data": "UD_English-EWT upos", "parameters": config["parameters"], "bar": BAR}
    told |= {key: result[key] for key in ("steps", "minutes", "dev_accuracy")} | {"threads": options.threads}
    print(json.dumps(told | report))


if __name__ == "__main__":
    main()

"""The two examples run as they stand."""

from __future__ import annotations

import pathlib
import subprocess
import sys

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


def run(*arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )


def test_hello_learns_hello():
    result = run(EXAMPLES / "hello.py")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("[ 1.00  0.00  0.00  0.00]") >= 2
    assert result.stdout.rstrip().endswith("its own samples fed back: hello")
    losses = [float(line.split()[1]) for line in result.stdout.splitlines() if line.startswith("loss")]
    assert 1.2 < losses[0] < 1.7
    assert losses[1] < 0.05


def test_min_char_rnn_learns(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the net reads and writes. " * 60)
    result = run(EXAMPLES / "min_char_rnn.py", text, 401)
    assert result.returncode == 0, result.stderr
    losses = [float(line.split()[3]) for line in result.stdout.splitlines() if line.startswith("step")]
    assert len(losses) == 5
    assert losses[-1] < 0.85 * losses[0]
    text.write_text("too short")
    result = run(EXAMPLES / "min_char_rnn.py", text)
    assert result.returncode == 1
    assert "give a text of at least 27" in result.stderr


def test_min_char_rnn_is_no_longer_than_the_lectures():
    assert len((EXAMPLES / "min_char_rnn.py").read_text().splitlines()) <= 112

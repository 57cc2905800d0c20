"""The frame of the command line: one line and 2, 130, 141; quick help; the list of runs."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import unrolled
from unrolled.cli import main as cli
from unrolled.cli.options import Given, options
from unrolled.errors import UserError
from unrolled.tasks.language.config import LanguageConfig

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(unrolled.__file__).parents[1])}
ENVIRONMENT.pop("PYTHONUNBUFFERED", None)  # output waits in a buffer, as it does for a user
WRITTEN = [verb for verb in cli.VERBS if importlib.util.find_spec(f"unrolled.cli.{verb}")]


def python(code: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, text=True, capture_output=True, **more)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        [],
        *([verb, "--help"] for verb in WRITTEN),
        ["runs", "--json"],
        ["foo"],
        ["train", "--task", "classify", "--help"],
    ],
)
def test_what_computes_nothing_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = (
        f"import sys; from unrolled.cli.main import main; main({arguments!r}); "
        "heavy = {'torch', 'numpy', 'safetensors', 'matplotlib', 'tokenizers', 'tensorboard'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = python(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_is_in_the_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert verb in shown
    assert cli.VERBS[verb][:25] in shown
    assert cli.main([]) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("verb", WRITTEN)
def test_every_verb_loads(verb: str) -> None:
    assert cli.load(verb).__name__ == verb


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"unrolled {unrolled.__version__}\n"


def pretend(monkeypatch: pytest.MonkeyPatch, body: Callable[[], Any]) -> None:
    @options(LanguageConfig)
    def verb(given: Given) -> None:
        given.build(LanguageConfig)
        body()

    monkeypatch.setattr(cli, "load", lambda *_: verb)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["foo"], "unrolled: No such command 'foo'; see unrolled --help"),
        (["--foo"], "unrolled: No such option: --foo"),
        (["train", "--hiden", "3"], "see unrolled train --help"),
        (["train", "--hidden", "three"], "'--hidden'"),
        (["train", "--hidden"], "--hidden"),
        (["train", "--hidden", "0"], "unrolled: --hidden 0: must be at least 1"),
        (["train", "--dropout", "nan"], "unrolled: --dropout nan: not a number"),
        (["train", "--cell", "lstn"], "'rnn-tanh', 'rnn-relu', 'lstm', 'gru'"),
        (["train", "--tied", "--input", "one-hot"], "unrolled: --tied: one-hot input has no embedding"),
        (["train", "extra"], "extra"),
    ],
)
def test_wrong_usage_is_one_line_and_2(
    arguments: list[str], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch, lambda: None)
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("unrolled: ")
    assert line in err


def raising(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


def test_a_users_error_is_one_line_even_if_it_has_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch, raising(UserError("a  file.txt: bad;\n  mend it")))
    assert cli.main(["train"]) == 2
    assert capsys.readouterr().err == "unrolled: a  file.txt: bad; mend it\n"


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (BrokenPipeError(), 141)])
def test_interruptions_are_quiet(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch, raising(error))
    monkeypatch.setattr(cli, "_drop_output", lambda code: code)  # which would close this process's output
    assert cli.main(["train"]) == code
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("error", [ValueError("ours"), KeyError("ours"), OSError("ours"), EOFError("ours")])
def test_a_bug_keeps_its_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, raising(error))
    with pytest.raises(type(error), match="ours"):
        cli.main(["train"])


FOREVER = """
import sys
from unrolled.cli import main as cli
def train():
    n = 0
    while True:
        n += 1
        print("line", n, flush=n == 1)
cli.load = lambda *_: train
sys.exit(cli.main(["train"]))
"""


def test_a_closed_pipe_ends_quietly() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", FOREVER], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "line 1\n"
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


def test_output_that_waits_in_the_buffer_meets_a_closed_pipe_too(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "unrolled", "runs", "--json"],
        env=ENVIRONMENT, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_ends_with_130_and_no_traceback() -> None:
    once = FOREVER.replace('print("line", n, flush=n == 1)', 'n == 1 and print("line", flush=True)')
    process = subprocess.Popen(
        [sys.executable, "-c", once],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored by background jobs
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "")


def test_runs_lists_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["runs"]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("", "no runs in runs/; unrolled train starts one\n")
    assert cli.main(["runs", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"
    run = tmp_path / "runs" / "first"
    run.mkdir(parents=True)
    result = {"stopped_by": "budget", "steps": 900, "nats": 1.49876, "bpc": 2.16, "minutes": 3.04}
    (run / "config.json").write_text(json.dumps({"task": "language", "result": result}))
    (run / "manifest.json").write_text("x" * 4000)
    (tmp_path / "runs" / "second").mkdir()
    (tmp_path / "runs" / "second" / "metrics.jsonl").write_text("")
    assert cli.main(["runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "task", "state", "steps", "loss", "bpc", "figure", "minutes", "size"]
    assert lines[1].split() == ["first", "language", "finished", "900", "1.4988", "2.1600", "-", "3.0", "4.1", "kB"]
    assert lines[2].split() == ["second", "-", "started", "-", "-", "-", "-", "-", "0", "B"]
    assert len({line.rfind(" ") for line in lines[1:]}) == 2
    assert cli.main(["runs", "--json", "runs"]) == 0
    first = json.loads(capsys.readouterr().out)[0]
    assert first["name"] == "first"
    assert first["nats"] == 1.49876
    assert first["path"] == "runs/first"
    assert cli.main(["runs", "nowhere"]) == 2
    assert capsys.readouterr().err.startswith("unrolled: nowhere: no such folder; ")


def test_python_m(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "unrolled", "runs", "nowhere"],
        env=ENVIRONMENT,
        text=True,
        capture_output=True,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)

"""Ctrl-C at a terminal: the first is answered at once, the second gives the cursor back."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys

SCRIPT = """
import time
from unrolled.training.signals import StopSignals
with StopSignals() as signals:
    print("ready", flush=True)
    while True:
        time.sleep(0.01)
"""


def read_until(handle: int, word: bytes) -> bytes:
    read = b""
    while word not in read:
        ready, _, _ = select.select([handle], [], [], 20.0)
        assert ready, read
        try:
            new = os.read(handle, 1000)
        except OSError:  # the other side has gone
            new = b""
        assert new, read
        read += new
    return read


def begin(**streams: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT], start_new_session=True, **streams)  # type: ignore[call-overload, no-any-return]


def test_ctrl_c_at_a_terminal() -> None:
    ours, theirs = pty.openpty()
    process = begin(stdout=theirs, stderr=theirs)
    try:
        os.close(theirs)
        read_until(ours, b"ready")
        process.send_signal(signal.SIGINT)
        assert b"\r\nsaving ... (Ctrl-C again ends at once)\r\n" in read_until(ours, b"at once)\r\n")
        process.send_signal(signal.SIGINT)
        read_until(ours, b"\x1b[?25h")
        assert process.wait(20) == -signal.SIGINT
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_ctrl_c_into_a_file_writes_no_terminal_codes() -> None:
    process = begin(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.stderr.readline() == b"\n"
    assert process.stderr.readline() == b"saving ... (Ctrl-C again ends at once)\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert (out, process.returncode) == (b"", -signal.SIGTERM)

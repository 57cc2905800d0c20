"""Ctrl-C and SIGTERM: the first asks, the second ends."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class StopSignals:
    """While it is entered, the first SIGINT or SIGTERM sets :attr:`asked`, says so on stderr, and a second one ends the
    process at once.

    Outside the main thread, where Python allows no handlers, and for a signal that the process was started to ignore
    (``nohup``), nothing is changed.
    """

    def __init__(self) -> None:
        self.asked = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._old[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._old.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            # At once: no clean-up that could hang. A checkpoint being written is safe, the old one stays whole.
            with contextlib.suppress(OSError):
                if os.isatty(1):
                    os.write(1, b"\x1b[?25h")  # the progress bar hides the cursor
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.asked = True
        with contextlib.suppress(OSError):  # past sys.stderr, which the main program may be in the middle of
            os.write(2, b"\nsaving ... (Ctrl-C again ends at once)\n")

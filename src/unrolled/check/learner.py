"""A learner's file: read, run, and everything that can go wrong with it told in one line, with its own line number."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.check.interface import CELLS, FUNCTIONS, Interface
from unrolled.check.slips import Array, Arrays
from unrolled.errors import UserError

SECONDS = 20
"""After which one call of the learner's code is taken for an endless loop."""


class Trouble(Exception):  # noqa: N818 - not an error of ours: what is to be told of the learner's code
    """What is wrong with the learner's code, in one line."""


class NotWritten(Trouble):
    """A function that still raises NotImplementedError, as in the file to fill in."""


class _TooLongError(BaseException):
    """Not an Exception, so that ``except Exception`` in the learner's loop does not swallow it."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Ends what runs longer; only where the platform has the signal for it and in the main thread."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: types.FrameType | None) -> None:
        raise _TooLongError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Learner:
    """The functions of a learner's file.

    Args:
        path: the file.
        cell: ``rnn``, ``lstm`` or ``gru``; None reads it from the file's ``CELL``.
        torch: hand tensors over; None asks whether the file imports torch.
        seconds: see :data:`SECONDS`.
    Raises:
        UserError: no such file, or its cell cannot be told.
        Trouble: the file does not run.
    """

    def __init__(self, path: Path, cell: str | None, torch: bool | None, seconds: float = SECONDS) -> None:
        self.path, self.seconds = path, seconds
        self.single = False  # whether any result came in float32
        if not path.is_file():
            if path.is_dir():
                raise UserError(f"{path}: a folder; name the Python file that holds your cell")
            raise UserError(f"{path}: no such file; unrolled check --blank lstm --out {path} writes one to fill in")
        module = self._load()
        self.functions = {n: f for n in FUNCTIONS if callable(f := getattr(module, n, None))}
        self.cell = self._cell(cell, module)
        imported = any(getattr(v, "__name__", "") == "torch" for v in vars(module).values()
                       if isinstance(v, types.ModuleType))  # fmt: skip
        self.torch = imported if torch is None else torch

    def _load(self) -> types.ModuleType:
        spec = importlib.util.spec_from_file_location("_learner", self.path)
        if spec is None or spec.loader is None:
            raise UserError(f"{self.path}: not a Python file; its name must end in .py")
        module = importlib.util.module_from_spec(spec)
        folder, writes = str(self.path.resolve().parent), sys.dont_write_bytecode
        sys.path.insert(0, folder)  # what lies beside it may be imported, as when it is run
        sys.dont_write_bytecode = True  # its folder is not ours
        try:
            self._guard("the file itself", lambda: spec.loader.exec_module(module))  # type: ignore[union-attr]
        finally:
            sys.dont_write_bytecode = writes
            sys.path.remove(folder)
        return module

    def _cell(self, named: str | None, module: types.ModuleType) -> Interface:
        key = named if named is not None else getattr(module, "CELL", None)
        if key is None and "forward" in self.functions:
            names = list(inspect.signature(self.functions["forward"]).parameters)
            key = next((c.key for c in CELLS.values() if names == [v.name for v in c.arguments("forward")]), None)
        if key is None:
            raise UserError(
                f'{self.path}: which cell is it? Write CELL = "lstm" (or "rnn", "gru") into it, or give --cell'
            )
        if key not in CELLS:
            raise UserError(f"{self.path}: CELL = {key!r}: not one of {', '.join(CELLS)}")
        return CELLS[key]

    # -- calls ---------------------------------------------------------------------------------------------------

    def call(self, name: str, arrays: Arrays, *extra: Any) -> tuple[Arrays, Any]:
        """Results as float64 arrays, and the cache that stands behind them (None of backward functions).

        Raises:
            Trouble: an exception, a wrong number or shape of results, NaN, an argument changed in place.
        """
        given = [self._hand_over(a) for a in arrays]
        raw = self._guard(name, lambda: self.functions[name](*given, *extra))
        for value, before, after in zip(self.cell.arguments(name), arrays, given, strict=True):
            if not np.array_equal(before, _array(after)):
                raise Trouble(f"{name} changes its argument {value.name} in place: copy it before you write into it")
        wanted = self.cell.results(name)
        names = [v.name for v in wanted]
        if name.startswith("forward"):
            names.append("caches" if name.endswith("sequence") else "cache")
        if not isinstance(raw, (tuple, list)) or len(raw) != len(names):
            got = f"{len(raw)} values" if isinstance(raw, (tuple, list)) else _kind(raw)
            raise Trouble(f"{name} returns {got}, where it returns {len(names)} values: {', '.join(names)}")
        results = []
        for value, item in zip(wanted, raw, strict=False):
            results.append(self._taken(name, value.name, str(value), value.size(), item))
        return tuple(results), raw[-1] if name.startswith("forward") else None

    def _hand_over(self, a: Array) -> Any:
        if not self.torch:
            return a.copy()
        import torch

        return torch.from_numpy(a.copy())

    def _taken(self, function: str, name: str, said: str, shape: tuple[int, ...], item: Any) -> Array:
        try:
            if item is None:  # NumPy would make a NaN of it
                raise TypeError
            array = _array(item)
        except (TypeError, ValueError):
            raise Trouble(f"{function}: {name} is {_kind(item)}, not an array of numbers") from None
        self.single |= str(getattr(item, "dtype", "")).endswith("float32")
        if array.shape != shape:
            raise Trouble(f"{function}: {name} has shape {array.shape}, expected {shape}: {said}{_guess(array, shape)}")
        bad = int(np.sum(~np.isfinite(array)))
        if bad:
            raise Trouble(f"{function}: {name} holds {bad} of {array.size} values that are NaN or infinite")
        return array

    def _guard(self, name: str, run: Callable[[], Any]) -> Any:
        """Run the learner's code; what it raises becomes one line with the line in its file."""
        try:
            with limited(self.seconds):
                return run()
        except NotImplementedError as e:
            raise NotWritten(f"{name} is still to be written{self._line(e)}") from None
        except _TooLongError as e:
            line = self._line(e)
            raise Trouble(f"{name} was still running after {self.seconds:g} seconds{line}: an endless loop?") from None
        except SyntaxError as e:
            raise Trouble(f"not Python: {e.msg} (line {e.lineno})") from None
        except (Exception, SystemExit) as e:
            text = " ".join(str(e).split())
            raise Trouble(f"{name} raises {type(e).__name__}: {text}{self._line(e)}") from None

    def _line(self, error: BaseException) -> str:
        frames = [
            f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).resolve() == self.path.resolve()
        ]
        if not frames:
            return ""
        return f" (line {frames[-1].lineno}" + (f": {frames[-1].line})" if frames[-1].line else ")")


def _array(item: Any) -> Array:
    """float64, from NumPy, torch or nested lists."""
    if hasattr(item, "detach"):
        item = item.detach().cpu().resolve_conj().numpy()
    return np.array(item, dtype=np.float64)


def _kind(item: Any) -> str:
    return "None" if item is None else f"one {type(item).__name__}"


def _guess(got: Array, shape: tuple[int, ...]) -> str:
    if got.ndim == 2 and got.T.shape == shape:
        return "; it is transposed"
    if got.ndim == len(shape) + 1 and got.shape[1:] == shape:
        return "; the sum over the first axis (the batch, or t) is missing"
    if got.size == int(np.prod(shape)):
        return "; the numbers are as many: reshape"
    return ""

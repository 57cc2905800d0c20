"""The compiled core: found or not and why, its threads, its memory. Everything that touches ``unrolled._native``."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.errors import UserError

RECYCLED = 1 << 20
"""Bytes from which on an array comes from the core's recycled memory: fresh pages cost several times a warm one."""


def _load() -> tuple[Any, str | None]:
    """The module, and why it is not there."""
    wish = os.environ.get("UNROLLED_NATIVE", "")
    why: str | None = None
    module: Any = None
    if wish == "off":
        why = "it is switched off by UNROLLED_NATIVE=off"
    elif importlib.util.find_spec("unrolled._native") is None:
        why = "this installation has no compiled core"
    else:
        try:
            module = importlib.import_module("unrolled._native")
            module.isa()  # reads UNROLLED_ISA
        except ImportError as error:
            why = f"the compiled core does not load: {error}"
        except ValueError as error:
            raise UserError(str(error)) from None
    if why is not None and wish == "required":
        raise ImportError(f"UNROLLED_NATIVE=required, but {why}")
    return module, why


def _share_threads(module: Any) -> None:
    """Lend torch's OpenMP team to the core: its threads spin for milliseconds after an operation of torch, and a pool
    of our own would wait for the processors that they hold. Other platforms keep the core's own pool."""
    if not sys.platform.startswith("linux"):
        return
    try:
        # a library handle also finds what the library itself is linked to: the very runtime that torch uses
        runtime = ctypes.CDLL(os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.so"))
        names = (
            "GOMP_parallel",
            "omp_get_thread_num",
            "omp_get_num_threads",
            "omp_get_max_threads",
            "omp_get_num_procs",
        )
        module.borrow_threads(*(ctypes.cast(getattr(runtime, name), ctypes.c_void_p).value for name in names))
    except (OSError, AttributeError):
        pass  # another build of torch, with other threads
    except TypeError:
        raise ImportError(STALE) from None


STALE = "the compiled core is of another version than this package: install it again"
_MODULE, _WHY = _load()  # once, and not where torch.compile looks on
if _MODULE is not None:
    _share_threads(_MODULE)


def missing() -> str | None:
    """Why there is no compiled core, or None if there is one; ``UNROLLED_NATIVE=required`` makes it an ImportError."""
    return _WHY


def module() -> Any:
    """``unrolled._native``; only where :func:`missing` is None."""
    return _MODULE


_available = [0.0, 1]  # until when what was read holds, and what was read


def threads() -> int:
    """How many threads a call uses: torch's number, as far as affinity and quota allow.

    These are read again after a second at the earliest: it takes longer than a short call.
    """
    now, wanted = time.monotonic(), torch.get_num_threads()
    if now >= _available[0]:
        _available[:] = now + 1.0, _MODULE.available_threads()
    return wanted if wanted < _available[1] else int(_available[1])


def empty(like: Tensor, *shape: int) -> Tensor:
    """An array of ``like``'s dtype with undefined contents, from recycled memory where it is large."""
    n = like.itemsize
    for size in shape:
        n *= size
    if n < RECYCLED:
        return like.new_empty(*shape)
    return torch.frombuffer(_MODULE.tape(n), dtype=like.dtype).view(shape)


def empty_like(dense: Tensor) -> Tensor:
    """The same, of ``dense``'s own shape."""
    return torch.empty_like(dense) if dense.nbytes < RECYCLED else empty(dense, *dense.shape)


def address(name: str, tensor: Tensor, dtype: torch.dtype, shape: Sequence[int]) -> int:
    """Where a tensor's numbers lie, for what was made for this dtype and shape and is told addresses alone.

    Raises:
        ValueError: the tensor is not like that, or no longer.
    """
    if tensor.dtype is dtype and tensor.shape == shape and tensor.is_cpu and tensor.is_contiguous():
        return tensor.data_ptr()
    laid = "" if tensor.is_contiguous() else ", not contiguous"
    raise ValueError(f"{name} is {tensor.dtype} {tuple(tensor.shape)} on {tensor.device}{laid}, "
                     f"expected {dtype} {tuple(shape)} on a CPU")  # fmt: skip


def dropout_mask(p: float, seed: int, stream: int, T: int, B: int, N: int, like: Tensor) -> Tensor:
    """Inverted dropout (T, B, N): the bits of :func:`unrolled.engines.masks.hits`."""
    mask = empty(like, T, B, N)
    fill = _MODULE.fill_dropout32 if like.dtype is torch.float32 else _MODULE.fill_dropout64
    fill(mask.data_ptr(), p, seed, stream, T, B, N, threads())
    return mask


GIVEN = (
    "x", "x_step", "x_row", "tokens", "h0", "c0", "lengths", "resets", "output", "h_n", "c_n", "tape", "keep",
)  # fmt: skip
"""What a call of :func:`rows` takes, in the core's own order; a backward call has no h_n and c_n."""

BACK = ("d_output", "d_step", "d_row", "d_h_n", "d_c_n", "d_h0", "d_c0", "d_h", "d_gates")
"""What a backward call says besides; then for each direction dx, and the gradients of the traced gates and cells."""


def rows(double: bool, *description: Any) -> Any:
    """All rows of a stack for one T and B, as the core keeps them (``native/bind/rows.cpp``)."""
    return _MODULE.Rows64(*description) if double else _MODULE.Rows32(*description)


_known = getattr(_MODULE, "Rows32", None)
if _MODULE is not None and (getattr(_known, "given", None), getattr(_known, "back", None)) != (GIVEN, BACK):
    raise ImportError(STALE)

"""Checkpoints: everything a run needs to go on, in ``checkpoint/step-N/``, and the pointer ``checkpoint/latest``.

A folder is written whole and synced under a hidden name, renamed, and only then is the pointer replaced; older folders
go last. So a kill at any moment leaves a pointer to a whole folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unrolled.bundle.files import disk_errors, remove_folder, replace_file, sweep, write_folder
from unrolled.bundle.manifest import (
    AGAIN,
    FORMAT,
    MANIFEST,
    check_format,
    describe,
    parse_object,
    read_checked,
    read_manifest,
    to_json,
)
from unrolled.bundle.runs import CHECKPOINT, LATEST, pointed
from unrolled.bundle.tensors import from_bytes, to_bytes
from unrolled.bundle.tree import flatten, unflatten
from unrolled.errors import UserError

STATE, TENSORS = "state.json", "tensors.safetensors"


def save_checkpoint(run: Path, step: int, state: Mapping[str, Any], *, keep: int = 1) -> Path:
    """Write a checkpoint and make it the one to resume from.

    Args:
        step: updates made so far; names the folder.
        state: nested dicts, lists, tuples, scalars, None and tensors (see :mod:`unrolled.bundle.tree`).
        keep: checkpoints to keep, this one included; the oldest are removed.
    Returns:
        The folder.
    Raises:
        UserError: not writable or full; the checkpoint before is whole and still the one to resume from.
    """
    if keep < 1:
        raise ValueError("keep must be at least 1")
    tree, tensors = flatten(dict(state))
    files = {STATE: to_json({"format": FORMAT, "step": step, "state": tree}), TENSORS: to_bytes(tensors)}
    root = run / CHECKPOINT
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        sweep(root)
        current = pointed(run)
        # Never touch the folder that the pointer names, not even to save the same step once more.
        folder = root / (f"step-{step}" if current != f"step-{step}" else f"step-{step}-again")
        if folder.exists():  # left by a run that was killed before it replaced the pointer
            remove_folder(folder)
        write_folder(folder, {**files, MANIFEST: describe(files)})
        replace_file(root / LATEST, f"{folder.name}\n".encode())
        for old in _older(root, folder.name)[keep - 1 :]:
            remove_folder(old)
    return folder


def _older(root: Path, current: str) -> list[Path]:
    """The other checkpoints, newest first."""
    found = []
    for path in root.iterdir():
        match = re.fullmatch(r"step-(\d+)(-again)?", path.name)
        if match and path.is_dir() and path.name != current:
            found.append((path.stat().st_mtime_ns, int(match[1]), path))
    return [path for *_, path in sorted(found, reverse=True)]


def load_checkpoint(run: Path) -> tuple[int, dict[str, Any]]:
    """Read the checkpoint that ``checkpoint/latest`` names, checking every byte. Nothing is unpickled.

    Returns:
        ``(step, state)`` as they were given to :func:`save_checkpoint`; tensors are on the CPU.
    Raises:
        UserError: none there; a file missing, truncated or altered; a newer format; a pickle in disguise.
    """
    root = run / CHECKPOINT
    if not run.is_dir():
        raise UserError(f"{run}: no such folder; unrolled runs lists the runs here")
    if not (root / LATEST).exists():
        raise UserError(f"{run}: no checkpoint to resume from (no {CHECKPOINT}/{LATEST}); start a new run")
    name = pointed(run)
    if name is None:
        raise UserError(f"{root / LATEST}: altered (it names no checkpoint); {AGAIN}")
    folder = root / name
    if not folder.is_dir():
        others = ", ".join(p.name for p in _older(root, name))
        remedy = f"write one of these into {LATEST}: {others}" if others else AGAIN
        raise UserError(f"{folder}: missing, but {CHECKPOINT}/{LATEST} names it; {remedy}")
    listed = read_manifest(folder / MANIFEST)["files"]
    for file in (STATE, TENSORS):
        if file not in listed:
            raise UserError(f"{folder / MANIFEST}: altered (it does not list {file}); {AGAIN}")
    saved = parse_object(read_checked(folder / STATE, listed[STATE]), folder / STATE)
    check_format(saved, folder / STATE)
    tensors = from_bytes(read_checked(folder / TENSORS, listed[TENSORS]), folder / TENSORS)
    try:
        step, state = saved["step"], unflatten(saved["state"], tensors)
    except (KeyError, TypeError, ValueError, RecursionError) as e:
        raise UserError(f"{folder / STATE}: altered (it names a tensor that is not there); {AGAIN}") from e
    if not isinstance(step, int) or not isinstance(state, dict):
        raise UserError(f"{folder / STATE}: altered (no step or no state); {AGAIN}")
    return step, state

"""One folder is one model: ``config.json``, ``model.safetensors``, ``tokens.json``, a model card, and the manifest.

A save is all or nothing, also over an older model. The new files are written beside the old ones under hidden names;
then ``.manifest.json.next`` appears at once, and from that moment the new model is the one that counts; then every file
is renamed to its place. A reader or a later save that finds ``.manifest.json.next`` knows that a save was cut off after
that moment and takes the hidden files where they still exist.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

import unrolled
from unrolled.bundle.files import disk_errors, replace_file, sync_folder, write_synced
from unrolled.bundle.manifest import (
    AGAIN,
    FORMAT,
    MANIFEST,
    check_format,
    describe,
    disguise,
    parse_object,
    read_checked,
    read_manifest,
    to_json,
)
from unrolled.bundle.runs import resolve
from unrolled.bundle.tensors import from_bytes, to_bytes
from unrolled.errors import UserError

__all__ = ["Bundle", "load", "resolve", "save"]

CONFIG, MODEL, TOKENS, CARD = "config.json", "model.safetensors", "tokens.json", "README.md"
_NEXT = ".manifest.json.next"


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A model as it lies on disk.

    Attributes:
        path: its folder.
        config: ``config.json``: "format", "unrolled" (the version that wrote it), "task", and the task's settings.
        tensors: the weights by name, on the CPU.
        tokens: ``tokens.json``, the vocabulary; None for a model without one.
    """

    path: Path
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    tokens: dict[str, Any] | None


def save(
    run: Path, *, config: Mapping[str, Any], tensors: Mapping[str, Tensor], tokens: Mapping[str, Any] | None, card: str
) -> None:
    """Write a model into the folder ``run``, which is made if needed; a model already there is replaced as a whole.

    Args:
        config: JSON values with at least "task"; "format" and "unrolled" are put in here.
        tensors: a ``state_dict``; tied weights are stored once.
        tokens: JSON values, or None.
        card: Markdown for people; not checked on loading, so it may be edited.
    Raises:
        UserError: ``run`` is not writable or the disk is full; an older model there is whole.
    """
    if not isinstance(config.get("task"), str):
        raise ValueError("config lacks 'task'")
    files = {
        CONFIG: to_json({"format": FORMAT, "unrolled": unrolled.__version__}
                        | {k: v for k, v in config.items() if k not in ("format", "unrolled")}),
        MODEL: to_bytes(tensors),
    }  # fmt: skip
    if tokens is not None:
        files[TOKENS] = to_json(tokens)
    with disk_errors(run):
        run.mkdir(parents=True, exist_ok=True)
        _settle(run)
        try:
            for name, data in files.items():
                write_synced(_hidden(run, name), data)
            replace_file(run / CARD, card.encode())
            replace_file(run / _NEXT, describe(files))
        except BaseException:
            with contextlib.suppress(OSError):
                _settle(run)
            raise
        _settle(run)
        if tokens is None:
            (run / TOKENS).unlink(missing_ok=True)


def _hidden(run: Path, name: str) -> Path:
    return run / f".{name}.next"


def _settle(run: Path) -> None:
    """Finish a save that was cut off after the new manifest appeared; forget one that was cut off before."""
    if not (run / _NEXT).exists():
        for name in (CONFIG, MODEL, TOKENS):
            _hidden(run, name).unlink(missing_ok=True)
        return
    listed = read_manifest(run / _NEXT)["files"]
    for name in (CONFIG, MODEL, TOKENS):
        if name in listed and _hidden(run, name).exists():
            os.replace(_hidden(run, name), run / name)
    sync_folder(run)
    os.replace(run / _NEXT, run / MANIFEST)
    sync_folder(run)


def load(run: Path) -> Bundle:
    """Read a model and check every byte of it. Nothing is unpickled, whatever it claims to be.

    Raises:
        UserError: no model there; a file missing, truncated or altered; a newer format; a pickle in disguise.
    """
    for _ in range(3):
        seen = _stamp(run)
        try:
            return _load(run)
        except UserError:
            if seen == _stamp(run):  # else: a training process saved while we read; look again
                raise
    return _load(run)


def _stamp(run: Path) -> list[tuple[int, int] | None]:
    stamps: list[tuple[int, int] | None] = []
    for name in (MANIFEST, _NEXT):
        try:
            found = os.stat(run / name)
            stamps.append((found.st_ino, found.st_mtime_ns))
        except OSError:
            stamps.append(None)
    return stamps


def _load(run: Path) -> Bundle:
    _refuse_other(run)
    cut_off = (run / _NEXT).exists()
    manifest = read_manifest(run / (_NEXT if cut_off else MANIFEST))

    def read(name: str) -> bytes:
        if name not in manifest["files"]:
            raise UserError(f"{run / MANIFEST}: altered (it does not list {name}); {AGAIN}")
        hidden = _hidden(run, name)
        return read_checked(hidden if cut_off and hidden.exists() else run / name, manifest["files"][name])

    config = parse_object(read(CONFIG), run / CONFIG)
    check_format(config, run / CONFIG)
    if not isinstance(config.get("task"), str):
        raise UserError(f"{run / CONFIG}: altered (it names no task); {AGAIN}")
    tokens = parse_object(read(TOKENS), run / TOKENS) if TOKENS in manifest["files"] else None
    return Bundle(run, config, from_bytes(read(MODEL), run / MODEL), tokens)


def _refuse_other(run: Path) -> None:
    """Say what ``run`` is, where it is no model folder."""
    if run.is_file():
        with open(run, "rb") as file:
            kind = disguise(file.read(1 << 20)) or "a file"
        raise UserError(f"{run}: {kind}, not a model; give the folder that unrolled train wrote")
    if not run.is_dir():
        raise UserError(f"{run}: no such folder; unrolled runs lists the models here")
    if (run / MANIFEST).exists() or (run / _NEXT).exists():
        return
    if (run / "checkpoint" / "latest").exists():
        again = f"unrolled train --resume {shlex.quote(str(run))}"
        raise UserError(f"{run}: no model yet, its training was interrupted; go on with {again}")
    if (run / MODEL).exists() or (run / CONFIG).exists():
        raise UserError(f"{run / MANIFEST}: missing, so the model cannot be checked; {AGAIN}")
    for path in sorted(run.iterdir()):
        if path.suffix in (".pt", ".pth", ".bin", ".pkl", ".ckpt"):
            raise UserError(f"{run}: no model here, only {path.name}, which may be a pickle and is never opened; "
                            "give a folder that unrolled train wrote")  # fmt: skip
    raise UserError(f"{run}: no model here (no {MANIFEST}); give the folder that unrolled train wrote")

"""What a saved folder must hold: sizes and digests, and the refusal of everything else by name."""

from __future__ import annotations

import hashlib
import itertools
import json
import pickletools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import unrolled
from unrolled.errors import UserError

FORMAT = 1
MANIFEST = "manifest.json"
AGAIN = "copy the folder again from where it came, whole, or train again"


def to_json(value: Any) -> bytes:
    """Readable JSON, strict: a NaN must have been dealt with before."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def describe(files: Mapping[str, bytes]) -> bytes:
    """The manifest of these files: for each its size in bytes and SHA-256."""
    listed = {n: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for n, data in files.items()}
    return to_json({"format": FORMAT, "unrolled": unrolled.__version__, "files": listed})


def check_format(saved: Mapping[str, Any], path: Path) -> None:
    """Refuse what a later version wrote, before anything else in it is believed.

    Raises:
        UserError: names both versions; or there is no format number at all.
    """
    number = saved.get("format")
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise UserError(f"{path}: altered (its format is {number!r}); {AGAIN}")
    if number > FORMAT:
        raise UserError(
            f"{path}: written by unrolled {saved.get('unrolled', '?')} in format {number}; this is unrolled "
            f"{unrolled.__version__}, which reads up to format {FORMAT}: pip install --upgrade unrolled"
        )


def read_manifest(path: Path) -> dict[str, Any]:
    """Read and check a manifest; the path itself must exist.

    Raises:
        UserError: unreadable, altered, newer, or a pickle.
    """
    manifest = parse_object(read_bytes(path), path)
    check_format(manifest, path)
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(
        isinstance(f, dict) and isinstance(f.get("bytes"), int) and isinstance(f.get("sha256"), str)
        for f in files.values()
    ):
        raise UserError(f"{path}: altered (it does not list files); {AGAIN}")
    return manifest


def read_bytes(path: Path) -> bytes:
    """The content of a file that must exist and must not be a pickle.

    Raises:
        UserError: missing, unreadable, or a pickle in disguise.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {AGAIN}") from None
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror or e}); check its permissions") from e
    kind = disguise(data)
    if kind:
        raise UserError(f"{path}: {kind}, which can run any code when opened; unrolled never opens one. {AGAIN}")
    return data


def read_checked(path: Path, listed: Mapping[str, Any]) -> bytes:
    """The content of a file, after comparing it with its line in the manifest.

    Args:
        listed: ``{"bytes": ..., "sha256": ...}``.
    Raises:
        UserError: missing, a pickle, truncated, or altered; says which.
    """
    data = read_bytes(path)
    if len(data) < listed["bytes"]:
        raise UserError(f"{path}: truncated ({len(data)} of {listed['bytes']} bytes); {AGAIN}")
    if hashlib.sha256(data).hexdigest() != listed["sha256"]:
        raise UserError(f"{path}: altered since it was saved (its digest differs); {AGAIN}")
    return data


def parse_object(data: bytes, path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UserError: it is not one.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{path}: altered (not a JSON object); {AGAIN}")
    return value


def disguise(data: bytes) -> str | None:
    """What kind of pickle this is, judged by its first bytes without opening it; None if it is none.

    ``torch.save`` writes a zip that holds ``data.pkl`` (older versions: a bare pickle).
    """
    if data.startswith(b"PK\x03\x04"):
        return "a zip with a pickle inside (torch.save)" if b"data.pkl" in data else None
    # A safetensors file whose header has 640 (0x0280) bytes also begins with 80 02: the zeros tell them apart.
    if data[3:8] == b"\0\0\0\0\0" and data[8:9] == b"{":
        return None
    if len(data) > 1 and data[0] == 0x80 and 2 <= data[1] <= 5:
        return "a pickle"
    if data[:1] in (b"(", b"]", b"}", b"c"):  # protocols 0 and 1 have no magic number; read, not run, some codes
        try:
            codes = [code.name for code, _, _ in itertools.islice(pickletools.genops(data), 16)]
        except (ValueError, OverflowError):
            return None
        return "a pickle" if len(codes) == 16 or codes[-1] == "STOP" else None
    return None

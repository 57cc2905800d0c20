"""What to read: files, folders, globs, standard input, compressed or not, as one run of bytes in constant memory."""

from __future__ import annotations

import glob
import gzip
import lzma
import os
import shutil
import stat
import sys
import tempfile
import weakref
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from unrolled.data.cache import cache_folder
from unrolled.data.wording import counted
from unrolled.errors import UserError

COMPRESSED = (".gz", ".xz", ".zst")
SNIFF = 8192  # bytes looked at to tell a binary file in a folder


@dataclass
class Item:
    """One file of a source.

    Attributes:
        name: what error messages call it.
        path: where it lies; None for a spooled pipe.
        size: bytes on disk (compressed, if it is).
        spool: the open, unnamed copy of a pipe or of standard input.
    """

    name: str
    path: Path | None
    size: int
    spool: IO[bytes] | None = None

    @property
    def compressed(self) -> bool:
        return self.path is not None and self.path.suffix.lower() in COMPRESSED

    def open_raw(self) -> IO[bytes]:
        """The bytes as they lie on disk."""
        if self.spool is not None:
            handle = os.fdopen(os.dup(self.spool.fileno()), "rb")
            handle.seek(0)
            return handle
        assert self.path is not None
        try:
            return open(self.path, "rb")
        except OSError as error:
            raise UserError(f"{self.name}: {error.strerror or error}; name a file that can be read") from None

    def blocks(self, size: int, place: Place | None = None) -> Iterator[bytes]:
        """The contents, decompressed, in blocks of at most ``size`` bytes; ``place`` follows the bytes read on disk."""
        done = 0
        with self.open_raw() as raw:
            try:
                stream = _decompress(raw, self)
                while block := stream.read(size):
                    done += len(block)
                    if place is not None:
                        place.here = raw.tell()
                    yield block
            except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
                raise _damaged(self, done, error) from None
            except OSError as error:
                raise UserError(
                    f"{self.name}: reading failed after {counted(done, 'byte')}: {error.strerror or error}"
                ) from None
            except Exception as error:
                if type(error).__name__ != "ZstdError":  # the module may be missing, so its class is not at hand
                    raise
                raise _damaged(self, done, error) from None


@dataclass
class Place:
    """How far a pass over a source has come, in bytes on disk."""

    total: int
    before: int = 0
    here: int = 0

    @property
    def fraction(self) -> float:
        return min(1.0, (self.before + self.here) / max(1, self.total))


@dataclass
class Source:
    """Files read one after another.

    Attributes:
        items: the files, in reading order.
        notes: what was skipped or assumed, one line each.
        label: a short name for people.
    """

    items: list[Item]
    label: str
    notes: list[str] = field(default_factory=list)
    place: Place = field(init=False)

    def __post_init__(self) -> None:
        self.place = Place(sum(item.size for item in self.items))

    @property
    def names(self) -> list[str]:
        """What error messages call the files."""
        return [item.name for item in self.items]

    @property
    def total_bytes(self) -> int | None:
        """Bytes of all files together, or None where one is compressed and the size is not known beforehand."""
        return None if any(item.compressed for item in self.items) else sum(item.size for item in self.items)

    @property
    def plain(self) -> Item | None:
        """The only file, if there is one and it can be memory-mapped as it lies."""
        return self.items[0] if len(self.items) == 1 and not self.items[0].compressed else None

    def files(self, size: int) -> Iterator[tuple[Item, Iterator[bytes]]]:
        """Each file with its blocks, the blocks to be read before the next file is asked for."""
        self.place.before = 0
        for item in self.items:
            self.place.here = 0
            yield item, item.blocks(size, self.place)
            self.place.before += item.size

    def blocks(self, size: int) -> Iterator[bytes]:
        """All bytes, decompressed, all files one after another, in blocks of at most ``size``."""
        for _, blocks in self.files(size):
            yield from blocks


def open_source(texts: Sequence[str], *, cache: Path | None = None) -> Source:
    """Find what ``texts`` name: files, folders (recursive, sorted, hidden and binary files skipped), globs, ``-``.

    Args:
        texts: at least one name. ``.gz``, ``.xz`` and ``.zst`` are decompressed. Standard input and pipes are copied
            once to an unnamed file in the cache folder, since a text is read more than once.
        cache: the cache folder (see :func:`unrolled.data.cache.cache_folder`).
    Raises:
        UserError: nothing named, or something that does not exist or cannot be read.
    """
    if not texts:
        raise UserError("no text named; give a file, a folder, a pattern, or - for standard input")
    items: list[Item] = []
    notes: list[str] = []
    for text in texts:
        if text == "-":
            items.append(_spool(sys.stdin.buffer, "standard input", cache, notes))
        else:
            items.extend(_find(text, cache, notes))
    return Source(items, _label(items, texts), notes)


def _find(text: str, cache: Path | None, notes: list[str]) -> list[Item]:
    path = Path(text)
    if not os.path.lexists(path) and glob.has_magic(text):
        found = [Path(name) for name in sorted(glob.glob(text, recursive=True)) if os.path.isfile(name)]
        if not found:
            raise UserError(f"{text}: no file matches this pattern; check it, or quote it for the shell")
        return [_file(one, cache, notes) for one in found]
    if path.is_dir():
        return _folder(path, notes)
    return [_file(path, cache, notes)]


def _file(path: Path, cache: Path | None, notes: list[str]) -> Item:
    try:
        info = path.stat()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; name a file, a folder, a pattern, or - for standard input") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; name a file that can be read") from None
    if not stat.S_ISREG(info.st_mode):
        # A named pipe or a shell's <(...): it can be read once only.
        with Item(str(path), path, 0).open_raw() as pipe:
            return _spool(pipe, str(path), cache, notes)
    item = Item(str(path), path, info.st_size)
    item.open_raw().close()
    return item


def _folder(folder: Path, notes: list[str]) -> list[Item]:
    items: list[Item] = []
    skipped: list[str] = []
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = Path(root) / name
            if name.startswith(".") or not path.is_file():
                skipped.append(path.relative_to(folder).as_posix())
                continue
            item = _file(path, None, notes)
            if item.size == 0 or _is_binary(item):
                skipped.append(path.relative_to(folder).as_posix())
            else:
                items.append(item)
    if not items:
        raise UserError(f"{folder}: no text file in this folder; name another folder or a file")
    if skipped:
        some = ", ".join(sorted(skipped)[:3]) + (", ..." if len(skipped) > 3 else "")
        notes.append(f"{folder}: {counted(len(skipped), 'hidden, empty or binary file')} skipped ({some})")
    return sorted(items, key=lambda item: Path(item.name).relative_to(folder).parts)


def _is_binary(item: Item) -> bool:
    """A NUL byte near the start, unless a byte-order mark says that the text is UTF-16 or UTF-32."""
    try:
        head = next(iter(item.blocks(SNIFF)), b"")
    except UserError:
        return True  # a damaged archive among the files of a folder
    return b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff"))


def _spool(stream: IO[bytes], name: str, cache: Path | None, notes: list[str]) -> Item:
    """Copy a stream to a file without a name: nothing is left behind, even by a process that is killed."""
    folder, note = cache_folder(cache)
    if note and note not in notes:
        notes.append(note)
    try:
        spool = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (it lives as long as the item)
        shutil.copyfileobj(stream, spool, 1 << 20)
        spool.flush()
    except OSError as error:
        raise UserError(
            f"{name}: cannot be copied to {folder}: {error.strerror or error}; set UNROLLED_CACHE to a folder with room"
        ) from None
    item = Item(name, None, spool.tell(), spool)
    weakref.finalize(item, spool.close)
    return item


def _decompress(raw: IO[bytes], item: Item) -> Any:
    suffix = item.path.suffix.lower() if item.path is not None else ""
    if suffix == ".gz":
        return gzip.GzipFile(fileobj=raw)
    if suffix == ".xz":
        return lzma.LZMAFile(raw)
    if suffix == ".zst":
        try:
            import zstandard
        except ImportError:
            raise UserError(f"{item.name}: .zst needs one more package; pip install 'unrolled[zstd]'") from None
        return zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    return raw


def _damaged(item: Item, done: int, error: Exception) -> UserError:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UserError(
        f"{item.name}: damaged after {counted(done, 'decompressed byte')} ({first}); fetch or compress it again"
    )


def _label(items: list[Item], texts: Sequence[str]) -> str:
    if len(items) == 1:
        path = items[0].path
        return items[0].name if path is None else "/".join(path.parts[-2:])
    return f"{len(items)} files of {texts[0]}" if len(texts) == 1 else f"{len(items)} files"

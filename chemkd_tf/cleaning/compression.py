"""Plain, gzip and Zstandard input behind one function, every fault named with its file."""

import gzip
import io
import os
import sys
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from chemkd_tf.errors import InputError

STANDARD_INPUT = "-"
_CHUNK = 1 << 14  # Compressed bytes at a time; even text that compresses a thousandfold stays small.
_LARGEST_WINDOW = 1 << 31  # As the zstd tool's --long=31 writes.
_GZIP_MAGIC, _ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
SUFFIXES = {".gz": "gzip", ".zst": "zstd"}


class Opened(NamedTuple):
    """Input that was opened.

    Attributes:
        stream: of decompressed bytes; iterates over lines and has `peek`.
        position: bytes of the file that were read so far, compressed if it is; always 0 for standard input.
        close: closes the file.
    """

    stream: io.BufferedReader
    position: Callable[[], int]
    close: Callable[[], None]


def display_name(path: str) -> str:
    """How messages call the file `path`."""
    return "standard input" if path == STANDARD_INPUT else path


def open_input(path: str) -> Opened:
    """Opens a file, decompressing it if its name (.gz, .zst) says so, or, of any other file, its first bytes.

    Args:
        path: a file, or "-" for standard input.

    Raises:
        InputError: it can't be opened, or needs a library that is not installed.
    """
    if path == STANDARD_INPUT:
        raw: BinaryIO = sys.stdin.buffer
    else:
        try:
            raw = open(path, "rb")
        except OSError as error:
            raise InputError(f"{path}: can't be read ({error.strerror})") from None
    compression = SUFFIXES.get(os.path.splitext(path)[1].lower()) or _compression_by_content(raw, path)
    if compression == "gzip":
        stream = io.BufferedReader(gzip.GzipFile(fileobj=raw, mode="rb"))
    elif compression == "zstd":
        stream = io.BufferedReader(_ZstdReader(raw, display_name(path)), buffer_size=1 << 17)
    else:
        stream = raw
    if path == STANDARD_INPUT:
        return Opened(stream, lambda: 0, lambda: None)
    return Opened(stream, raw.tell, raw.close)


def _compression_by_content(raw: BinaryIO, path: str) -> str:
    try:
        start = raw.peek(4)[:4]
    except OSError as error:
        raise InputError(f"{display_name(path)}: can't be read ({error.strerror})") from None
    return "gzip" if start[:2] == _GZIP_MAGIC else "zstd" if start == _ZSTD_MAGIC else ""


class _ZstdReader(io.RawIOBase):
    """Decompresses Zstandard frames one after another; zstandard's own reader takes a truncated file as whole."""

    def __init__(self, raw: BinaryIO, name: str):
        try:
            import zstandard
        except ImportError:
            raise InputError(f"{name}: .zst needs the library zstandard: pip install 'chemkd_tf[clean]'") from None
        self._zstandard = zstandard
        self._raw = raw
        self._name = name
        self._frame = None
        self._pending = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        while not self._pending:
            compressed = self._raw.read(_CHUNK)
            if not compressed:
                if self._frame is not None:
                    raise EOFError
                return 0
            self._pending = memoryview(self._decompress(compressed))
        size = min(len(buffer), len(self._pending))
        buffer[:size] = self._pending[:size]
        self._pending = self._pending[size:]
        return size

    def _decompress(self, compressed: bytes) -> bytes:
        parts = []
        while compressed:
            if self._frame is None:
                self._frame = self._zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW).decompressobj()
            try:
                parts.append(self._frame.decompress(compressed))
            except self._zstandard.ZstdError as error:
                raise InputError(f"{self._name}: damaged, or not Zstandard ({error}); fetch the file anew") from None
            compressed = b""
            if self._frame.eof:
                compressed = self._frame.unused_data
                self._frame = None
        return b"".join(parts)

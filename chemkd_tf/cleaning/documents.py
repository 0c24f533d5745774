"""Articles from .txt, .jsonl, .csv and .tsv files, compressed or not, and from standard input, one at a time."""

import csv
import json
import os
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from chemkd_tf.cleaning.compression import STANDARD_INPUT, SUFFIXES, Opened, display_name, open_input
from chemkd_tf.data.blocks import find_files
from chemkd_tf.errors import InputError

FORMATS = ("txt", "jsonl", "csv", "tsv")
_FORMAT_OF = {".txt": "txt", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv"}
_LONGEST_FIELD = 2**31 - 1  # characters; the csv module's own limit is 131,072
_BOM = b"\xef\xbb\xbf"


class Document(NamedTuple):
    """An article as it was read.

    Attributes:
        path: the file, as messages call it.
        line: on which the article begins, from 1.
        text: its paragraphs, with line breaks between them.
        is_valid: False if bytes of it were not UTF-8 and such articles are to be dropped.
    """

    path: str
    line: int
    text: str
    is_valid: bool = True


def find_inputs(patterns: str) -> list[str]:
    """Resolves `--input_file`: files and globs, comma-separated, or "-" alone for standard input.

    Raises:
        InputError: a pattern matches no file, is a folder, or "-" stands beside others.
    """
    parts = [part.strip() for part in patterns.split(",")]
    if STANDARD_INPUT in parts:
        if len(parts) > 1:
            raise InputError(f"--input_file={patterns}: - (standard input) stands alone; name files, or pipe them all")
        return [STANDARD_INPUT]
    for part in parts:
        if os.path.isdir(part):
            raise InputError(f"--input_file: {part} is a folder; name its files, for example {os.path.join(part, '*')}")
    return find_files(patterns)


class CorpusReader:
    """Streams the articles of a corpus; memory holds one article at a time.

    Args:
        paths: files, or ["-"].
        input_format: one of `FORMATS` for every file, or "auto": by suffix; without a known one, JSON Lines if the
            first byte is a brace, else txt.
        text_field: key or column with the article.
        invalid_utf8: "refuse", "drop_article" or "replace" (by U+FFFD) bytes that are not UTF-8.
        one_article_per_line: of txt; otherwise an empty line ends an article.
        max_article_chars: an article of a txt file that grows longer ends with that line, so that a file without empty
            lines needs no more memory.

    Attributes:
        total_bytes: of the files, as they lie on the disk; 0 for standard input.
        bytes_read: after decompression.
        divided: how often an article was divided at `max_article_chars`.
        empty_files: files without any text.
    """

    def __init__(
        self,
        paths: list[str],
        input_format: str = "auto",
        text_field: str = "text",
        invalid_utf8: str = "refuse",
        one_article_per_line: bool = False,
        max_article_chars: int = 1_000_000,
    ):
        self.bytes_read = 0
        self.divided = 0
        self.empty_files: list[str] = []
        self.total_bytes = sum(os.path.getsize(path) for path in paths if path != STANDARD_INPUT)
        self._paths = paths
        self._format = input_format
        self._text_field = text_field
        self._invalid_utf8 = invalid_utf8
        self._one_article_per_line = one_article_per_line
        self._max_article_chars = max_article_chars
        self._bytes_done = 0
        self._opened: Opened | None = None
        self._path = ""
        self._line = 0
        self._is_valid = True

    def position(self) -> int:
        """Returns how many of `total_bytes` were read; of standard input, how many bytes."""
        if self._paths == [STANDARD_INPUT]:
            return self.bytes_read
        return self._bytes_done + (self._opened.position() if self._opened else 0)

    def __iter__(self) -> Iterator[Document]:
        """Yields the articles.

        Raises:
            InputError: a file can't be read, is damaged or not what its name says, or a record has no text; the
                message names file and line.
        """
        readers = {"txt": self._read_txt, "jsonl": self._read_jsonl, "csv": self._read_csv, "tsv": self._read_csv}
        for path in self._paths:
            self._path = display_name(path)
            self._opened = open_input(path)
            self._line, self._is_valid = 0, True
            read_before = self.bytes_read
            try:
                file_format = self._format if self._format != "auto" else self._guess_format(path)
                yield from readers[file_format]("\t" if file_format == "tsv" else ",")
                self._bytes_done += self._opened.position()
            except (EOFError, zlib.error) as error:
                raise InputError(
                    f"{self._path}: the compressed file is truncated or damaged behind line {self._line:,}"
                    f"{f' ({error})' if isinstance(error, zlib.error) else ''}; fetch it anew"
                ) from None
            except OSError as error:
                raise InputError(f"{self._path}: can't be read ({error.strerror or error})") from None
            finally:
                self._opened.close()
                self._opened = None
            if self.bytes_read == read_before:
                self.empty_files.append(self._path)

    def _guess_format(self, path: str) -> str:
        base, suffix = os.path.splitext(path.lower())
        if suffix in SUFFIXES:
            suffix = os.path.splitext(base)[1]
        first = self._opened.stream.peek(64).removeprefix(_BOM).lstrip()[:1]
        return _FORMAT_OF.get(suffix) or ("jsonl" if first == b"{" else "txt")

    def _lines(self) -> Iterator[str]:
        """The lines of the open file; sets `_is_valid` to False on bytes that are to make an article fall."""
        for number, line in enumerate(self._opened.stream, 1):
            self._line = number
            self.bytes_read += len(line)
            if number == 1:
                if line[:2] in (b"\xff\xfe", b"\xfe\xff"):
                    raise InputError(f"{self._path}: UTF-16, not UTF-8; convert it with iconv -f UTF-16 -t UTF-8")
                line = line.removeprefix(_BOM)
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                self._refuse_or_mark(
                    f"not UTF-8 (byte 0x{line[error.start]:02x} at position {error.start + 1} of the line); convert "
                    "the file, for example with iconv -f GB18030 -t UTF-8"
                )
                yield line.decode("utf-8", "replace")

    def _refuse_or_mark(self, fault: str) -> None:
        if self._invalid_utf8 == "refuse":
            raise InputError(
                f"{self._path}:{self._line}: {fault}, or give --invalid_utf8=drop_article or --invalid_utf8=replace"
            )
        if self._invalid_utf8 == "drop_article":
            self._is_valid = False

    def _document(self, line: int, text: str) -> Document:
        document = Document(self._path, line, text, self._is_valid)
        self._is_valid = True
        return document

    def _read_txt(self, _: str) -> Iterator[Document]:
        paragraphs: list[str] = []
        size = start = 0
        goes_on = False
        for line in self._lines():
            if line.isspace():
                goes_on = False
            else:
                self.divided += goes_on
                goes_on = False
                if not paragraphs:
                    start = self._line
                paragraphs.append(line)
                size += len(line)
                if not self._one_article_per_line:
                    if size < self._max_article_chars:
                        continue
                    goes_on = True  # So it does, unless an empty line or the end of the file comes next.
            if paragraphs:
                yield self._document(start, "".join(paragraphs))
                paragraphs, size = [], 0
        if paragraphs:
            yield self._document(start, "".join(paragraphs))

    def _read_jsonl(self, _: str) -> Iterator[Document]:
        for line in self._lines():
            if line.isspace():
                continue
            where = f"{self._path}:{self._line}"
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{where}: not JSON ({error}); one object a line is expected") from None
            if not isinstance(record, dict):
                raise InputError(f"{where}: {line.strip()[:20]!r} is no JSON object; one object a line is expected")
            if self._text_field not in record:
                found = ", ".join(map(repr, list(record)[:8])) or "none"
                raise InputError(f"{where}: no field {self._text_field!r} (found {found}); name it with --text_field")
            text = record[self._text_field]
            if text is not None and not isinstance(text, str):
                raise InputError(f"{where}: field {self._text_field!r} is {str(text)[:20]!r}, a text is expected")
            yield self._document(self._line, self._whole_pairs(text or ""))

    def _whole_pairs(self, text: str) -> str:
        """The text without half surrogate pairs, which JSON can spell (\\ud800) and UTF-8 cannot."""
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            self._refuse_or_mark(f"half a surrogate pair (\\u{ord(text[error.start]):04x}); correct the record")
            return text.encode("utf-8", "replace").decode("utf-8")
        return text

    def _read_csv(self, delimiter: str) -> Iterator[Document]:
        # Fields may be articles of any length. A tab-separated file has no quoting: its records are its lines.
        csv.field_size_limit(_LONGEST_FIELD)
        quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
        rows = csv.reader(self._lines(), delimiter=delimiter, quoting=quoting, strict=True)
        column = None
        start = 1
        try:
            for row in rows:
                if column is None and row:
                    if self._text_field not in row:
                        found = ", ".join(repr(name[:20]) for name in row[:8])
                        raise InputError(
                            f"{self._path}:{start}: the header has no column {self._text_field!r} (found {found}); "
                            "name it with --text_field"
                        )
                    column = row.index(self._text_field)
                    self._is_valid = True
                elif row:
                    if len(row) <= column:
                        raise InputError(
                            f"{self._path}:{start}: {len(row)} columns, {self._text_field!r} is number {column + 1}; "
                            "check the line's separators"
                        )
                    yield self._document(start, row[column])
                start = self._line + 1
        except csv.Error as error:
            raise InputError(
                f"{self._path}:{start}: not CSV ({error}); check the quotation marks of the record that begins here"
            ) from None

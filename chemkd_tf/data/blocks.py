"""The corpus as blocks of whole articles: the unit in which text is read, tokenised and given random numbers."""

import dataclasses
import glob
import hashlib
import os
from collections.abc import Callable, Iterator
from typing import BinaryIO

from chemkd_tf.errors import InputError

BLOCK_BYTES = 1 << 20
LONGEST_ARTICLE = 4 << 20  # Bytes; a longer article is parted between two of its lines.
LONGEST_LINE = 1 << 20  # Bytes.
COMPRESSED = (".gz", ".zst", ".bz2", ".xz", ".zip")

Open = Callable[[str], BinaryIO]


@dataclasses.dataclass(frozen=True)
class Block:
    """Whole articles that stand one after another in one file.

    Args:
        index: number of the block in the corpus, from 0.
        path: the file.
        start: first byte.
        end: byte behind the last.
    """

    index: int
    path: str
    start: int
    end: int


@dataclasses.dataclass(frozen=True)
class Corpus:
    """What was found when the corpus was read for the first time.

    Args:
        blocks: those with any text, in the order of the corpus.
        sha256: hexadecimal SHA-256 of the content of all the files in a row.
    """

    blocks: tuple[Block, ...]
    sha256: str

    @property
    def num_bytes(self) -> int:
        """Bytes of text in all the blocks."""
        return sum(block.end - block.start for block in self.blocks)


def find_files(patterns: str, flag: str = "input_file") -> list[str]:
    """Resolves comma-separated file names and globs.

    Args:
        patterns: as given to `flag`.
        flag: for messages.

    Returns:
        Paths in the order of the patterns, the matches of one glob sorted, none twice.

    Raises:
        InputError: if a pattern matches no file.
    """
    paths: dict[str, None] = {}
    for pattern in filter(None, (part.strip() for part in patterns.split(","))):
        matches = [pattern] if os.path.isfile(pattern) else sorted(filter(os.path.isfile, glob.glob(pattern)))
        if not matches:
            if os.path.isdir(pattern):
                raise InputError(
                    f"--{flag}: {pattern} is a folder: name its files, as in '{pattern.rstrip('/')}/*.txt'"
                )
            raise InputError(f"--{flag}: no file matches {pattern!r}: check the path (and quote a glob for the shell)")
        paths.update(dict.fromkeys(matches))
    if not paths:
        raise InputError(f"--{flag} is empty: name the corpus")
    return list(paths)


def split_into_blocks(
    paths: list[str], block_bytes: int = BLOCK_BYTES, open_file: Open = lambda path: open(path, "rb")
) -> Corpus:
    """Reads the corpus once, checks it, and cuts it between articles.

    An article ends at a blank line (nothing but white space) or at the end of its file. A block ends with the first
    article that reaches `block_bytes`; an article that reaches `LONGEST_ARTICLE` bytes is parted behind a line.

    Args:
        paths: text files, one sentence a line.
        block_bytes: size to aim at.
        open_file: how to open one of `paths`.

    Returns:
        The blocks that hold any text, and the corpus's fingerprint.

    Raises:
        InputError: if a file can't be read, is compressed, is not UTF-8 or has a line of more than `LONGEST_LINE`
            bytes (names file and line), or if no line has any text.
    """
    blocks: list[Block] = []
    digest = hashlib.sha256()
    for path in paths:
        if path.endswith(COMPRESSED):
            raise InputError(
                f"{path}: compressed, so that processes can't share its work: unpack it, or let "
                "data_prep/clean_corpus.py read it"
            )
        start, line = 0, 1
        try:
            with open_file(path) as file:
                for content in _cut(file, block_bytes):
                    digest.update(content)
                    if not _checked(content, path, line).isspace():
                        blocks.append(Block(len(blocks), path, start, start + len(content)))
                    start += len(content)
                    line += content.count(b"\n")
        except OSError as error:
            raise InputError(f"{path}: can't read the corpus: {error.strerror or error}") from None
    if not blocks:
        raise InputError(f"--input_file: no text in {', '.join(paths)}: expected one sentence a line")
    return Corpus(tuple(blocks), digest.hexdigest())


def read_block(block: Block, open_file: Open = lambda path: open(path, "rb")) -> str:
    """Returns the text of `block`.

    Raises:
        InputError: if the file changed since it was cut into blocks and no longer is UTF-8 there.
    """
    with open_file(block.path) as file:
        file.seek(block.start)
        content = file.read(block.end - block.start)
    return _decode(content, block.path, None)


def read_lines(paths: list[str]) -> Iterator[str]:
    """Yields the lines of text files, one after another.

    Raises:
        InputError: if a file can't be read or a line is not UTF-8 (names file and line).
    """
    for path in paths:
        try:
            with open(path, "rb") as file:
                for number, line in enumerate(file, 1):
                    yield _decode(line, path, number)
        except OSError as error:
            raise InputError(f"{path}: can't read the corpus: {error.strerror}") from None


def _cut(file: BinaryIO, block_bytes: int) -> Iterator[bytes]:
    """The content of a file in blocks. Of a line that is too long as much is read as shows that it is."""
    while content := file.read(block_bytes):
        if not content.endswith(b"\n"):
            content += file.readline(LONGEST_LINE + 1)
        lines = [content]
        size = len(content)
        line = content[content.rfind(b"\n", 0, -1) + 1 :]
        while size < LONGEST_ARTICLE and line.decode("utf-8", "replace").strip():
            line = file.readline(LONGEST_LINE + 1)
            if not line:
                break
            lines.append(line)
            size += len(line)
        yield b"".join(lines)


def _checked(content: bytes, path: str, first_line: int) -> str:
    """The text of a block, whose lines are not too long."""
    if len(content) > LONGEST_LINE:
        for number, line in enumerate(content.split(b"\n"), first_line):
            # Before it is decoded: a line that is too long was read in part, perhaps of a character.
            if len(line) > LONGEST_LINE:
                raise InputError(
                    f"{path}:{number}: a line of more than {LONGEST_LINE:,} bytes, but one sentence a line is "
                    "expected: data_prep/clean_corpus.py splits running text into sentences"
                )
    return _decode(content, path, first_line)


def _decode(content: bytes, path: str, first_line: int | None) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].split(b"\n")
        where = path if first_line is None else f"{path}:{first_line + len(before) - 1}"
        raise InputError(
            f"{where}: not UTF-8 (byte 0x{content[error.start]:02x} at position {len(before[-1]) + 1} of the "
            "line): convert the file, for example with iconv -f GB18030 -t UTF-8, or let data_prep/clean_corpus.py "
            "drop what can't be read"
        ) from None

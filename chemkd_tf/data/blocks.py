"""The corpus as blocks of whole articles: the unit in which text is read, tokenised and given random numbers."""

import dataclasses
import glob
import os
from collections.abc import Iterator

from chemkd_tf.errors import InputError

BLOCK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Block:
    """Whole articles that stand one after another in one file.

    Args:
        index: number of the block in the corpus, from 0.
        path: the file.
        start: first byte.
        end: byte behind the last.
        sentences: lines in it that are not blank.
    """

    index: int
    path: str
    start: int
    end: int
    sentences: int


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
            raise InputError(f"--{flag}: no file matches {pattern!r}: check the path (and quote a glob for the shell)")
        paths.update(dict.fromkeys(matches))
    if not paths:
        raise InputError(f"--{flag} is empty: name the corpus")
    return list(paths)


def split_into_blocks(paths: list[str], block_bytes: int = BLOCK_BYTES) -> list[Block]:
    """Reads the corpus once, checks that it is UTF-8, and cuts it between articles.

    An article ends at a blank line (nothing but white space) or at the end of its file. A block ends with the
    first article that reaches `block_bytes`, so a single long article makes a long block.

    Args:
        paths: text files, one sentence a line.
        block_bytes: size to aim at.

    Returns:
        The blocks that hold at least one sentence, in the order of the corpus.

    Raises:
        InputError: if a file can't be read or a line is not UTF-8 (names file and line), or if no line has any text.
    """
    blocks: list[Block] = []
    for path in paths:
        start = position = sentences = 0

        def close(end: int, path: str = path) -> None:
            nonlocal start, sentences
            if sentences:
                blocks.append(Block(len(blocks), path, start, end, sentences))
            start, sentences = end, 0

        for size, text in _sized_lines(path):
            position += size
            if text.strip():
                sentences += 1
            elif position - start >= block_bytes:
                close(position)
        close(position)
    if not blocks:
        raise InputError(f"--input_file: no text in {', '.join(paths)}: expected one sentence a line")
    return blocks


def read_articles(block: Block) -> list[list[str]]:
    """Reads the articles of `block`, each a list of its sentences without surrounding white space, none of them empty.

    Raises:
        InputError: if the file changed since it was cut into blocks and no longer is UTF-8 there.
    """
    with open(block.path, "rb") as file:
        file.seek(block.start)
        content = file.read(block.end - block.start)
    articles: list[list[str]] = [[]]
    for line in content.split(b"\n"):
        sentence = _decode(line, block.path, None).strip()
        if sentence:
            articles[-1].append(sentence)
        elif articles[-1]:
            articles.append([])
    return [article for article in articles if article]


def read_lines(paths: list[str]) -> Iterator[str]:
    """Yields the lines of text files, one after another.

    Raises:
        InputError: if a file can't be read or a line is not UTF-8 (names file and line).
    """
    for path in paths:
        for _, text in _sized_lines(path):
            yield text


def _sized_lines(path: str) -> Iterator[tuple[int, str]]:
    """The size in bytes and the text of each line of one file."""
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                yield len(line), _decode(line, path, number)
    except OSError as error:
        raise InputError(f"{path}: can't read the corpus: {error.strerror}") from None


def _decode(line: bytes, path: str, number: int | None) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        where = path if number is None else f"{path}:{number}"
        raise InputError(
            f"{where}: not UTF-8 (byte 0x{line[error.start]:02x} at position {error.start + 1} of the line): "
            "convert the file, for example with iconv -f GB18030 -t UTF-8"
        ) from None

"""A WordPiece vocabulary: what a token id means."""

import dataclasses
import functools
import hashlib
import re
from collections.abc import Iterable

from chemkd_tf.atomic import atomic_write
from chemkd_tf.errors import InputError

PAD, UNKNOWN, START, END, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = (PAD, UNKNOWN, START, END, MASK)
CONTINUATION = "##"


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The entries of a BERT vocabulary; an entry's position is its id (google-research/bert, `vocab.txt`).

    Args:
        tokens: distinct entries, the five special tokens among them.

    Raises:
        InputError: if a special token is missing or an entry occurs twice.
    """

    tokens: tuple[str, ...]

    def __post_init__(self):
        for token in SPECIAL_TOKENS:
            if token not in self._ids:
                raise InputError(
                    f"vocabulary of {self.size} entries has no {token}: BERT needs {' '.join(SPECIAL_TOKENS)}"
                )
        if len(self._ids) != self.size:
            twice = next(token for index, token in enumerate(self.tokens) if self._ids[token] != index)
            raise InputError(f"vocabulary has the entry {twice!r} twice: every entry needs one id")

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {token: index for index, token in enumerate(self.tokens)}

    @property
    def size(self) -> int:
        """Number of entries, V."""
        return len(self.tokens)

    @property
    def pad_id(self) -> int:
        """Id of [PAD]."""
        return self._ids[PAD]

    @property
    def unknown_id(self) -> int:
        """Id of [UNK]."""
        return self._ids[UNKNOWN]

    @property
    def start_id(self) -> int:
        """Id of [CLS]."""
        return self._ids[START]

    @property
    def end_id(self) -> int:
        """Id of [SEP]."""
        return self._ids[END]

    @property
    def mask_id(self) -> int:
        """Id of [MASK]."""
        return self._ids[MASK]

    @functools.cached_property
    def sha256(self) -> str:
        """Fingerprint of the entries and their order: hexadecimal SHA-256 of the entries joined by newlines."""
        return hashlib.sha256("\n".join(self.tokens).encode("utf-8")).hexdigest()

    def id_of(self, token: str) -> int:
        """Returns the id of `token`, or `unknown_id` if it has no entry."""
        return self._ids.get(token, self.unknown_id)


def load_vocabulary(path: str) -> Vocabulary:
    """Reads a vocabulary file: UTF-8, one entry a line, the line's number (from 0) is the id.

    Args:
        path: the file; lines end in LF or CRLF, a byte-order mark is passed over.

    Returns:
        The vocabulary.

    Raises:
        InputError: if the file is missing, is not UTF-8, holds an empty line or an entry twice, or lacks a special
            token; the message names file and line.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise InputError(
            f"{path}: can't read the vocabulary ({error.strerror}): name a BERT vocabulary with --vocab_file"
        ) from None
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    line_numbers: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        try:
            token = line.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(f"{path}:{number}: not UTF-8: save the vocabulary as UTF-8") from None
        if not token:
            raise InputError(
                f"{path}:{number}: empty line: remove it if the ids after it are one too high, else fill it"
            )
        if token in line_numbers:
            raise InputError(
                f"{path}:{number}: {token!r} stands on line {line_numbers[token]} already: every entry needs one id"
            )
        line_numbers[token] = number
    for token in SPECIAL_TOKENS:
        if token not in line_numbers:
            raise InputError(
                f"{path}: no {token} among its {len(line_numbers)} entries: a BERT vocabulary has "
                f"{' '.join(SPECIAL_TOKENS)} (data_prep/build_vocab.py makes one)"
            )
    return Vocabulary(tuple(line_numbers))


def save_vocabulary(vocabulary: Vocabulary, path: str) -> None:
    """Writes `vocabulary` as BERT's vocab.txt (UTF-8, LF), atomically; `load_vocabulary` gives it back."""
    for token in vocabulary.tokens:
        if not token or re.search(r"[\r\n]", token):
            raise ValueError(f"an entry of a vocabulary file can't be {token!r}")
    with atomic_write(path) as file:
        file.writelines(f"{token}\n" for token in vocabulary.tokens)


def vocabulary_of(tokens: Iterable[str]) -> Vocabulary:
    """Returns the vocabulary of the special tokens (ids 0 to 4) followed by `tokens`."""
    return Vocabulary((*SPECIAL_TOKENS, *tokens))

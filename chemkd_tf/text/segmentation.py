"""Chinese words (jieba): what whole-word masking masks together."""

import functools
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator

import numpy as np

with warnings.catch_warnings():  # jieba 0.42 imports pkg_resources and holds unescaped patterns; both only warn.
    warnings.simplefilter("ignore")
    import jieba

from chemkd_tf.errors import InputError
from chemkd_tf.text.word_lattice import WordLattice, frequencies_of, jieba_frequencies

# Letters and digits with the signs that stand within formulae and trade names, and brackets if something follows:
# ca(oh)2, cuso4·5h2o, [fe(cn)6]4, n-c4h9, 3.5mm; of pvc(a) just pvc.
_BRACKETED = r"[(（\[][A-Za-z0-9]+(?:[(（][A-Za-z0-9]+[)）][A-Za-z0-9]+)?[)）\]](?=[A-Za-z0-9])"
_FORMULA = re.compile(rf"(?:[A-Za-z0-9]+|{_BRACKETED})(?:[·•.\-]?[A-Za-z0-9]+|{_BRACKETED})*")
_LATIN = re.compile(r"[A-Za-z]")


class WordSegmenter:
    """jieba's words, without jieba's habits: no log, and no cache file shared with every user of the machine.

    jieba marshals its dictionary to a file of fixed name in the shared temporary folder and trusts what it finds there;
    this one builds the dictionary anew, when it is first needed, beside nobody.

    Args:
        user_dictionary: a file of more words in jieba's format (word, and if you like frequency and tag, a line); empty
            for none.
        normalize: how texts are normalised before they come here; the words of `user_dictionary` are, too.

    Raises:
        InputError: if `user_dictionary` can't be read or has a line that is not in jieba's format (names the line).
    """

    def __init__(self, user_dictionary: str = "", normalize: Callable[[str], str] = str):
        entries = read_user_dictionary(user_dictionary) if user_dictionary else []
        self._entries = [(normalize(word), frequency, tag) for word, frequency, tag in entries]

    def word_starts(self, text: str) -> np.ndarray:
        """Finds the words of all lines of `text` at once, some twenty times as fast as `words` does line by line.

        Args:
            text: lines with "\\n" between them, which is a word by itself.

        Returns:
            bool [len(text)], where a word starts.
        """
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        return self._lattice.word_starts(codes, list(_formulae(text)))

    def words(self, text: str) -> list[str]:
        """Returns the words of `text`, white space and punctuation among them; joined, they are `text` again.

        Words are jieba's, but a chemical formula is one word, brackets, dots and all.
        """
        words: list[str] = []
        end = 0
        for formula_start, formula_end in _formulae(text):
            words += self._tokenizer.cut(text[end:formula_start])
            words.append(text[formula_start:formula_end])
            end = formula_end
        words += self._tokenizer.cut(text[end:])
        return words

    @functools.cached_property
    def _tokenizer(self) -> jieba.Tokenizer:
        return self._new_tokenizer()

    @functools.cached_property
    def _lattice(self) -> WordLattice:
        if not self._entries:
            return WordLattice(jieba_frequencies())
        tokenizer = self._new_tokenizer()
        return WordLattice(frequencies_of(tokenizer.FREQ, tokenizer.total))

    def _new_tokenizer(self) -> jieba.Tokenizer:
        jieba.setLogLevel(logging.WARNING)
        tokenizer = jieba.Tokenizer()
        with tempfile.TemporaryDirectory(prefix="jieba-") as folder:
            tokenizer.tmp_dir = folder
            tokenizer.initialize()
        for word, frequency, tag in self._entries:
            tokenizer.add_word(word, frequency, tag)
        return tokenizer


def _formulae(text: str) -> Iterator[tuple[int, int]]:
    """Where chemical formulae start and end in `text`."""
    if not _LATIN.search(text):
        return
    for formula in _FORMULA.finditer(text):
        found = formula[0]
        # jieba itself keeps letters and digits together.
        if not found.isalnum() and _LATIN.search(found):
            yield formula.span()


def dictionary_file() -> str:
    """Returns the path of the dictionary that comes with jieba: a word, its frequency and its tag, a line, UTF-8."""
    return os.path.join(os.path.dirname(jieba.__file__), jieba.DEFAULT_DICT_NAME)


def read_user_dictionary(path: str) -> list[tuple[str, int | None, str | None]]:
    """Reads a dictionary in jieba's format: a word, and if you like its frequency and tag, a line; UTF-8.

    Args:
        path: the file.

    Returns:
        Words with their frequency and tag, each None where the line leaves it out.

    Raises:
        InputError: if it can't be read or a line is not in the format (names the line).
    """
    entries = []
    try:
        with open(path, "rb") as file:
            lines = file.read().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise InputError(
            f"--user_dictionary={path}: can't read it ({error.strerror}): name a file with a word a line"
        ) from None
    for number, line in enumerate(lines, 1):
        try:
            fields = line.decode("utf-8").split()
        except UnicodeDecodeError:
            raise InputError(f"{path}:{number}: not UTF-8: save the user dictionary as UTF-8") from None
        if not fields:
            continue
        word, *rest = fields
        frequency = int(rest.pop(0)) if rest and rest[0].isdecimal() else None
        if len(rest) > 1:
            raise InputError(
                f"{path}:{number}: expected a word, its frequency and its tag, found {line.decode().strip()!r}: "
                "leave frequency and tag away, or write them as in '聚氯乙烯 5 n'"
            )
        entries.append((word, frequency, rest[0] if rest else None))
    return entries

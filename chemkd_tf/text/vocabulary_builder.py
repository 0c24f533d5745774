"""A WordPiece vocabulary from the user's own corpus, for the same words that the tokeniser will see.

The corpus goes through `tokenization.normalize` and `split_words`, so every entry can be reached. Chinese needs single
characters only: BERT puts a space around each ideograph. Pieces of several characters are learned for the rest
(`hplc`, `naoh`, `##2so4`) by the tokenizers library.
"""

import itertools
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator

import tensorflow as tf
import tokenizers

from chemkd_tf.errors import InputError
from chemkd_tf.text.tokenization import IDEOGRAPHS, LONGEST_WORD, normalize, split_words
from chemkd_tf.text.vocabulary import CONTINUATION, SPECIAL_TOKENS, Vocabulary, vocabulary_of

LINES_AT_ONCE = 10_000
REPEATS_AT_ONCE = 1000


def build_vocabulary(
    lines: Iterable[str], vocab_size: int, min_frequency: int, do_lower_case: bool = True
) -> Vocabulary:
    """Builds a vocabulary; the same corpus and arguments give the same entries in the same order.

    In this order, as far as `vocab_size` reaches: the special tokens (ids 0 to 4); the ASCII letters, digits and
    symbols, seen or not; every other character seen often enough, the frequent first; learned pieces. A character that
    can stand within a word gets `x` and `##x`, so no word becomes [UNK] for lack of a letter; an ideograph or a
    punctuation character is always a word of its own and gets `x` alone.

    Args:
        lines: the corpus.
        vocab_size: most entries.
        min_frequency: characters and pieces seen less often get no entry.
        do_lower_case: as the tokeniser's.

    Returns:
        The vocabulary.

    Raises:
        InputError: if the corpus holds no text.
    """
    words = count_words(lines, do_lower_case)
    if not words:
        raise InputError("--input_file: the corpus holds no text, there is nothing to build a vocabulary from")
    entries = _character_entries(words, min_frequency, do_lower_case)
    entries = entries[: vocab_size - len(SPECIAL_TOKENS)]
    room = vocab_size - len(SPECIAL_TOKENS) - len(entries)
    if room > 0:
        entries += _learned_pieces(words, entries, room, min_frequency)
    return vocabulary_of(entries)


def count_words(lines: Iterable[str], do_lower_case: bool = True) -> Counter[str]:
    """Counts the words of a corpus, as WordPiece will see them."""
    words: Counter[bytes] = Counter()
    lines = iter(lines)
    while batch := list(itertools.islice(lines, LINES_AT_ONCE)):
        words.update(split_words(normalize(tf.constant(batch), do_lower_case)).flat_values.numpy())
    return Counter({word.decode("utf-8"): count for word, count in words.items()})


def _character_entries(words: Counter[str], min_frequency: int, do_lower_case: bool) -> list[str]:
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    letters = string.ascii_lowercase if do_lower_case else string.ascii_letters
    always = string.digits + letters + string.punctuation
    seen = [character for character in counts if counts[character] >= min_frequency and character not in always]
    entries = []
    for character in [*always, *sorted(seen, key=lambda character: (-counts[character], character))]:
        entries.append(character)
        if not _stands_alone(character):
            entries.append(CONTINUATION + character)
    return entries


def _stands_alone(character: str) -> bool:
    """Whether BERT makes a word of this character wherever it stands: an ideograph or punctuation."""
    if character.isascii():
        return not character.isalnum()
    return unicodedata.category(character).startswith("P") or _IDEOGRAPH.match(character) is not None


# tokenization.IDEOGRAPHS, written as RE2 has it, in Python's notation.
_IDEOGRAPH = re.compile("[" + re.sub(r"\\x{(\w+)}", lambda match: chr(int(match[1], 16)), IDEOGRAPHS) + "]")


def _learned_pieces(words: Counter[str], entries: list[str], room: int, min_frequency: int) -> list[str]:
    """At most `room` pieces of several characters, made of the characters that have entries."""
    alphabet = set(entries)
    usable = sorted(
        (word, count) for word, count in words.items() if 1 < len(word) <= LONGEST_WORD and alphabet.issuperset(word)
    )

    def repeated() -> Iterator[str]:
        # The library takes text and no counts.
        for word, count in usable:
            for first in range(0, count, REPEATS_AT_ONCE):
                yield " ".join([word] * min(REPEATS_AT_ONCE, count - first))

    trained = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token=SPECIAL_TOKENS[1]))
    trained.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=len(entries) + room,
        min_frequency=min_frequency,
        # Ties between pieces go by the ids of their characters, which the library would give in the order of a hash
        # table that differs from run to run; given as special tokens they have fixed ids.
        special_tokens=entries,
        continuing_subword_prefix=CONTINUATION,
        show_progress=False,
    )
    trained.train_from_iterator(repeated(), trainer)
    ids = trained.get_vocab()
    return [token for token in sorted(ids, key=ids.get) if token not in alphabet][:room]

"""A vocabulary with more entries in which every old entry keeps its id, and what a new entry was to the old one."""

import functools
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from chemkd_tf.errors import InputError
from chemkd_tf.text.block_tokenization import is_ideograph
from chemkd_tf.text.vocabulary import CONTINUATION, SPECIAL_TOKENS, Vocabulary
from chemkd_tf.text.word_pieces import WordPieces

_UNUSED_SLOT = re.compile(r"\[unused ?\d+\]")

PIECES, OTHER_POSITION, COMPATIBLE_FORM, KNOWN_PARTS = "pieces", "other_position", "compatible_form", "known_parts"
IDEOGRAPHS, ALL_ENTRIES = "ideographs", "all_entries"


def is_unused_slot(token: str) -> bool:
    """Whether an entry is one of the [unusedN] that BERT's vocabularies keep free for their users' own words."""
    return _UNUSED_SLOT.fullmatch(token) is not None


def unused_slots(vocabulary: Vocabulary) -> list[int]:
    """Returns the ids of the [unusedN] entries, ascending."""
    return [index for index, token in enumerate(vocabulary.tokens) if is_unused_slot(token)]


def extend(vocabulary: Vocabulary, tokens: Sequence[str]) -> Vocabulary:
    """Puts `tokens` into the [unusedN] entries from the first on, and what doesn't fit behind the last entry.

    Args:
        vocabulary: the old one, whose other entries keep their ids.
        tokens: new entries.
    """
    entries = list(vocabulary.tokens)
    slots = unused_slots(vocabulary)[: len(tokens)]
    for index, token in zip(slots, tokens, strict=False):
        entries[index] = token
    return Vocabulary((*entries, *tokens[len(slots) :]))


def new_ids(old: Vocabulary, new: Vocabulary) -> list[int]:
    """Returns the ids of `new`, ascending, whose entry is not that of `old`."""
    same = [ours == theirs for ours, theirs in zip(old.tokens, new.tokens, strict=False)]
    return [index for index in range(new.size) if index >= len(same) or not same[index]]


def require_extension(old: Vocabulary, new: Vocabulary, path_old: str, path_new: str) -> None:
    """Checks that every entry of `old` but the [unusedN] has its id in `new` too.

    Args:
        old: a checkpoint's vocabulary.
        new: what is to take its place; may be the same, or have more entries behind.
        path_old: file of `old`, for the message.
        path_new: file of `new`, for the message.

    Raises:
        InputError: it is not so; the message names the first entry that moved or is gone.
    """
    for index, token in enumerate(old.tokens):
        if is_unused_slot(token) or (index < new.size and new.tokens[index] == token):
            continue
        found = f"found {new.tokens[index]!r}" if index < new.size else f"it ends after {new.size:,} entries"
        raise InputError(
            f"{path_new}:{index + 1}: expected {token!r}, as in {path_old}, {found}: an extension keeps every entry "
            "but the [unusedN] on its line (data_prep/extend_vocab.py makes one)"
        )


class Origin(NamedTuple):
    """What a new entry's embedding is the mean of.

    Attributes:
        kind: how the old entries were found, see `Origins.of`.
        ids: old entries; an entry that occurs twice counts twice.
    """

    kind: str
    ids: tuple[int, ...]


class Origins:
    """Finds the old entries whose embeddings a new entry begins with.

    Args:
        old: the vocabulary that a model was trained with.
    """

    def __init__(self, old: Vocabulary):
        self._old = old
        self._pieces = WordPieces(old)

    def of(self, token: str) -> Origin:
        """Returns the first of these that there is.

        "pieces": what WordPiece made of the entry so far, as it stands ("##ml" as the later part of a word).
        "other_position": the pieces of the same characters at a word's other position ("##℃" has those of "℃").
        "compatible_form": the pieces of its compatibility form, Unicode's NFKC ("##₂" has those of "##2").
        "known_parts": the entries found in it, though other characters of it had none ("μmol" has those of "##mol").
        "ideographs": for an ideograph, all ideographs.
        "all_entries": all entries but special tokens and [unusedN].

        Args:
            token: the new entry.
        """
        continues = token.startswith(CONTINUATION)
        text = token.removeprefix(CONTINUATION) or token
        for kind, form, position in (
            (PIECES, text, continues),
            (OTHER_POSITION, text, not continues),
            (COMPATIBLE_FORM, unicodedata.normalize("NFKC", text), continues),
        ):
            if pieces := self._pieces.split(form, position):
                return Origin(kind, tuple(pieces))
        if parts := self._pieces.match(text, continues).ids:
            return Origin(KNOWN_PARTS, tuple(parts))
        if len(text) == 1 and is_ideograph(ord(text)) and self._ideographs:
            return Origin(IDEOGRAPHS, self._ideographs)
        return Origin(ALL_ENTRIES, self._all_entries)

    @functools.cached_property
    def _ideographs(self) -> tuple[int, ...]:
        return tuple(
            index for index, token in enumerate(self._old.tokens) if len(token) == 1 and is_ideograph(ord(token))
        )

    @functools.cached_property
    def _all_entries(self) -> tuple[int, ...]:
        tokens = self._old.tokens
        used = (
            index for index, token in enumerate(tokens) if token not in SPECIAL_TOKENS and not is_unused_slot(token)
        )
        return tuple(used) or tuple(range(len(tokens)))

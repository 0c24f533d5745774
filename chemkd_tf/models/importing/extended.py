"""A checkpoint with the vocabulary of data_prep/extend_vocab.py: a new entry begins as the mean of its old pieces."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from chemkd_tf.errors import InputError
from chemkd_tf.models.families.family import HEAD_BIAS, HEAD_KERNEL
from chemkd_tf.models.importing.source import Source
from chemkd_tf.models.vocabulary_extension import extend_embeddings, is_same, require_extension
from chemkd_tf.text.vocabulary import load_vocabulary


class ExtendedSource:
    """See `Source`: another one with a longer, or a changed, vocabulary.

    Args:
        source: the checkpoint.
        vocabulary_file: the new vocabulary, an extension of the checkpoint's own.
    """

    def __init__(self, source: Source, vocabulary_file: str):
        self._source = source
        self._old, self._new = load_vocabulary(source.vocabulary_file), load_vocabulary(vocabulary_file)
        self.name = source.name
        self.architecture = dataclasses.replace(source.architecture, vocabulary_size=self._new.size)
        self.vocabulary_file = vocabulary_file
        self.do_lower_case = source.do_lower_case
        self.has_head = source.has_head

    def original_name(self, path: str) -> str:
        """See `Source`."""
        return self._source.original_name(path)

    def left_over(self, paths: Iterable[str]) -> list[str]:
        """See `Source`."""
        return self._source.left_over(paths)

    def read(self, path: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """See `Source`; an array with a row for each entry of the vocabulary gets rows for the new ones."""
        axis = 1 if path == HEAD_KERNEL else 0
        if path not in (HEAD_BIAS, HEAD_KERNEL) and not path.endswith("token_embedding/embeddings"):
            return self._source.read(path, shape)
        before = self._source.read(path, tuple(self._old.size if i == axis else n for i, n in enumerate(shape)))
        if before is None:
            return None
        rows = extend_embeddings(self._old, self._new, before.T if axis else before).token_embedding
        return np.ascontiguousarray(rows.T) if axis else rows


def with_vocabulary(source: Source, vocabulary_file: str) -> Source:
    """Returns the checkpoint with this vocabulary: as it is where it is its own, extended where it extends that.

    Raises:
        InputError: it is neither; or, where no vocabulary lies beside the checkpoint, of another size.
    """
    new = load_vocabulary(vocabulary_file)
    if source.vocabulary_file is None:
        size = source.architecture.vocabulary_size
        if new.size != size:
            raise InputError(
                f"--init_checkpoint={source.name}: a vocabulary of {size:,} entries, but {vocabulary_file} has "
                f"{new.size:,}: give the vocabulary that belongs to it"
            )
        return source
    old = load_vocabulary(source.vocabulary_file)
    if is_same(old, new):
        return source
    require_extension(old, new, source.vocabulary_file, vocabulary_file)
    return ExtendedSource(source, vocabulary_file)

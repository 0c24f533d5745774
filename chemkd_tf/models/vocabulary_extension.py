"""The arrays of a masked language model that are as long as its vocabulary, for a vocabulary with new entries.

With a vocabulary of data_prep/extend_vocab.py and a checkpoint's arrays:

    require_extension(old, new, "bert/vocab.txt", "vocab.txt")
    if not is_same(old, new):
        arrays = extend_embeddings(old, new, token_embedding, output_bias)

Rows of old entries are bit-identical. A new entry's row is the mean of old rows: those of the pieces that it was so far
(Gee et al., "Fast Vocabulary Transfer for Language Model Compression", EMNLP 2022, industry track), or what
`text.vocabulary_extension.Origins` names where it was [UNK]. Only NumPy is needed.
"""

from typing import NamedTuple

import numpy as np

from chemkd_tf.errors import InputError
from chemkd_tf.text.vocabulary import Vocabulary
from chemkd_tf.text.vocabulary_extension import Origins, new_ids, require_extension

__all__ = ["ExtendedArrays", "extend_embeddings", "is_same", "require_extension"]


class ExtendedArrays(NamedTuple):
    """What `extend_embeddings` returns; V' is the size of the new vocabulary, H the width.

    Attributes:
        token_embedding: [V', H].
        output_bias: [V'], of the masked-LM head; None if none was given.
        decoder_kernel: [H, V'], of a head that is not tied to the embedding; None if none was given.
    """

    token_embedding: np.ndarray
    output_bias: np.ndarray | None
    decoder_kernel: np.ndarray | None


def is_same(old: Vocabulary, new: Vocabulary) -> bool:
    """Whether two vocabularies have the same entries with the same ids, so that arrays fit as they are."""
    return old.tokens == new.tokens


def extend_embeddings(
    old_vocabulary: Vocabulary,
    new_vocabulary: Vocabulary,
    token_embedding: np.ndarray,
    output_bias: np.ndarray | None = None,
    decoder_kernel: np.ndarray | None = None,
) -> ExtendedArrays:
    """Returns the arrays of a model for the new vocabulary; a pure function, the given arrays stay as they are.

    Of all three arrays alike: what belongs to an entry that both vocabularies have at the same id is copied; what
    belongs to any other entry of the new one is the mean, taken in float64, over the old entries of its origin (see
    `Origins.of`).

    Args:
        old_vocabulary: V entries, which the arrays belong to.
        new_vocabulary: V' entries, an extension of the old one (`require_extension`).
        token_embedding: [V, H], any floating dtype, which is kept.
        output_bias: [V] or None.
        decoder_kernel: [H, V] or None.

    Raises:
        InputError: an array does not have V entries, or the new vocabulary is no extension of the old one.
    """
    require_extension(old_vocabulary, new_vocabulary, "the old vocabulary", "the new vocabulary")
    for name, array, axis in (
        ("token embedding", token_embedding, 0),
        ("output bias", output_bias, 0),
        ("decoder kernel", decoder_kernel, 1),
    ):
        if array is not None and array.shape[axis] != old_vocabulary.size:
            raise InputError(
                f"the {name} of the checkpoint is for {array.shape[axis]:,} entries, its vocabulary has "
                f"{old_vocabulary.size:,}: name the vocabulary that the checkpoint was trained with"
            )
    origins = Origins(old_vocabulary)
    means = {index: origins.of(new_vocabulary.tokens[index]).ids for index in new_ids(old_vocabulary, new_vocabulary)}

    def extended(rows: np.ndarray) -> np.ndarray:
        result = np.empty((new_vocabulary.size, *rows.shape[1:]), rows.dtype)
        result[: len(rows)] = rows
        for index, ids in means.items():
            result[index] = rows[list(ids)].astype(np.float64).mean(0)
        return result

    return ExtendedArrays(
        extended(token_embedding),
        None if output_bias is None else extended(output_bias),
        None if decoder_kernel is None else np.ascontiguousarray(extended(decoder_kernel.T).T),
    )

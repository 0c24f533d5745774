"""Smaller classifiers made of trained ones: a vocabulary cut to what is used, a token embedding of low rank.

Two thirds and more of a student are its token embedding; both cuts leave everything else as it was.
"""

import dataclasses
import string

import keras
import numpy as np

from chemkd_tf.errors import InputError
from chemkd_tf.models.classifier import ClassifierParts
from chemkd_tf.models.student import TOKEN_PROJECTION
from chemkd_tf.text.vocabulary import CONTINUATION, SPECIAL_TOKENS, Vocabulary

_TOKEN_EMBEDDING = "token_embedding/embeddings"  # end of its path: DistilBERT's stands one level deeper
_PROJECTION = f"{TOKEN_PROJECTION}/kernel"
# Entries of one of these, which any word of ASCII letters and digits can be spelt with.
_ALPHABET = frozenset(string.ascii_letters + string.digits)


def prune_vocabulary(parts: ClassifierParts, counts: np.ndarray, min_count: int) -> ClassifierParts:
    """Cuts the vocabulary to what occurs; the entries that stay keep their order.

    Special tokens stay, and single ASCII letters and digits (bare and behind "##"), so that no word of them becomes
    [UNK]. A text whose tokens all stay gets the tokens, and so the probabilities, that it had: WordPiece takes the
    longest entry that fits, and the longer ones that are gone did not fit before. Other texts are spelt with shorter
    entries, or get [UNK] where there are none.

    Args:
        parts: the classifier; left as it is.
        counts: int `[V]`, how often each entry occurs in the texts that the classifier is for.
        min_count: entries that occur less often go.
    """
    tokens = parts.vocabulary.tokens
    kept = [
        token_id
        for token_id, token in enumerate(tokens)
        if counts[token_id] >= min_count or token in SPECIAL_TOKENS or token.removeprefix(CONTINUATION) in _ALPHABET
    ]
    weights = _weights(parts.network)
    path = _token_embedding(weights)
    weights[path] = weights[path][kept]
    vocabulary = Vocabulary(tuple(tokens[token_id] for token_id in kept))
    return _rebuilt(parts._replace(vocabulary=vocabulary), weights, vocabulary_size=vocabulary.size)


def factorise_embedding(parts: ClassifierParts, rank: int, counts: np.ndarray | None = None) -> ClassifierParts:
    """Replaces the token embedding E `[V, H]` by a product A B of `[V, rank]` and `[rank, H]`.

    B's rows are the first right singular vectors of E, A = E B^T: of all products of this rank the one with the least
    squared error. With `counts` each row of E is weighted by the root of its frequency, so that it is the expected
    squared error over the tokens of a text. (Factorised embeddings: Lan et al. 2020, arXiv:1909.11942; weights by
    frequency: Chen et al. 2018, arXiv:1806.06950; what they did here: docs/smaller.md.)

    Args:
        parts: the classifier; left as it is.
        rank: columns of A; below V and below H.
        counts: int `[V]`, how often each entry occurs; one more is added to each, so that a rare one counts as well.
            None: every entry counts the same.

    Raises:
        InputError: not a BiLSTM, or `rank` is too large to save anything.
    """
    architecture = parts.description.architecture
    if architecture.kind != "student":
        raise InputError(f"--embedding_rank={rank}: for BiLSTM students; this is a {architecture.kind}: leave it out")
    weights = _weights(parts.network)
    table = full_embedding(parts.network)
    if not 1 <= rank < min(table.shape):
        raise InputError(
            f"--embedding_rank={rank}: the token embedding is {table.shape[0]} x {table.shape[1]}; "
            f"name a rank from 1 to {min(table.shape) - 1}"
        )
    table = table.astype(np.float64)
    frequency = np.ones(len(table)) if counts is None else counts + 1.0
    frequency /= frequency.sum()
    _, axes = np.linalg.eigh(table.T @ (frequency[:, None] * table))  # in the order of growing variance
    axes = axes[:, ::-1][:, :rank]
    weights[_token_embedding(weights)] = (table @ axes).astype(np.float32)
    weights[_PROJECTION] = axes.T.astype(np.float32)
    return _rebuilt(parts, weights, embedding_rank=rank)


def full_embedding(network: keras.Model) -> np.ndarray:
    """Returns the token embedding float32 `[V, H]` of a classifier, multiplied out where it is factorised."""
    weights = _weights(network)
    table = weights[_token_embedding(weights)]
    return table @ weights[_PROJECTION] if _PROJECTION in weights else table


def _weights(network: keras.Model) -> dict[str, np.ndarray]:
    return {variable.path: variable.numpy() for variable in network.weights}


def _token_embedding(weights: dict[str, np.ndarray]) -> str:
    return next(path for path in weights if path.endswith(_TOKEN_EMBEDDING))


def _rebuilt(parts: ClassifierParts, weights: dict[str, np.ndarray], **changes: int) -> ClassifierParts:
    """The classifier of another shape, with these weights."""
    description = dataclasses.replace(
        parts.description, architecture=dataclasses.replace(parts.description.architecture, **changes)
    )
    network = description.build()
    for variable in network.weights:
        variable.assign(weights[variable.path])
    return parts._replace(description=description, network=network)

"""Macro-F1 with its uncertainty: bootstrap intervals, and a paired test of the difference between two models.

Everything is counted over the same N reported texts, each answered once by every seed of a model. A resampled or
exchanged set of texts is a row of weights, so that thousands of them are one matrix product.
"""

import functools
from collections.abc import Sequence

import numpy as np

NUM_RESAMPLES = 2000
NUM_EXCHANGES = 10000
_SEED = 1
_ROWS_AT_ONCE = 500


def macro_f1(true: np.ndarray, predicted: np.ndarray, num_classes: int) -> float:
    """Macro-F1 over the classes that occur among truth or answers, as scikit-learn's.

    Args:
        true: class of each text, int `[N]`.
        predicted: the answers, int `[N]`.
        num_classes: classes there are.
    """
    return float(_macro_f1(*(counts.sum(axis=0) for counts in _indicators(true, predicted, num_classes))))


def bootstrap(true: np.ndarray, answers: Sequence[np.ndarray], num_classes: int, num_resamples: int) -> np.ndarray:
    """Macro-F1, averaged over the seeds, of texts drawn with replacement.

    The draws depend on N and on `num_resamples` alone: two models are compared on the same ones, so that the
    percentiles of the difference are those of a paired bootstrap (Efron and Tibshirani 1993, chapters 13 and 16).

    Args:
        true: class of each text, int `[N]`.
        answers: of each seed, int `[N]`.
        num_classes: classes there are.
        num_resamples: draws.

    Returns:
        float64 `[num_resamples]`.
    """
    weights = _resamples(len(true), num_resamples)
    scores = []
    for predicted in answers:
        indicators = _indicators(true, predicted, num_classes)
        scores.append(_macro_f1(*(weights @ counts for counts in indicators)))
    return np.mean(scores, axis=0)


def interval(scores: np.ndarray) -> list[float]:
    """The 95 % interval of bootstrapped scores, by percentiles."""
    return np.percentile(scores, (2.5, 97.5)).tolist()


def approximate_randomisation(
    true: np.ndarray,
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    num_classes: int,
    num_exchanges: int = NUM_EXCHANGES,
) -> float:
    """Two-sided p-value of the difference in macro-F1, averaged over the seeds, between two models.

    Approximate randomisation (Noreen 1989, "Computer-Intensive Methods for Testing Hypotheses"; for F scores Yeh 2000,
    arXiv cs/0008005, and Dror et al. 2018, DOI 10.18653/v1/P18-1128): were the models alike, each text's answers might
    as well have been the other's. They are exchanged with probability 1/2, text by text, and the share of exchanges
    with at least the observed difference is counted. Macro-F1 is no mean over texts, so that neither a t-test nor
    McNemar's test is one of it. All seeds' answers to a text change hands together: they are answers to one and the
    same text, and must not count as independent ones.

    Args:
        true: class of each text, int `[N]`.
        first: answers of one model's seeds, int `[N]` each.
        second: of the other's, as many seeds.
        num_classes: classes there are.
        num_exchanges: random exchanges.

    Returns:
        (1 + exchanges with a difference as large) / (1 + exchanges): never 0.
    """
    assert len(first) == len(second), "the seeds are paired"
    pairs = [
        (_indicators(true, one, num_classes), _indicators(true, other, num_classes))
        for one, other in zip(first, second, strict=True)
    ]

    def difference(exchanged: np.ndarray) -> np.ndarray:
        found = []
        for one, other in pairs:
            moved = [exchanged @ (b - a) for a, b in zip(one, other, strict=True)]
            totals = [[counts.sum(axis=0) for counts in model] for model in (one, other)]
            found.append(
                _macro_f1(*(total + move for total, move in zip(totals[0], moved, strict=True)))
                - _macro_f1(*(total - move for total, move in zip(totals[1], moved, strict=True)))
            )
        return np.abs(np.mean(found, axis=0))

    observed = difference(np.zeros((1, len(true)), np.float32))[0]
    rng = np.random.default_rng(_SEED)
    as_large = 0
    for start in range(0, num_exchanges, _ROWS_AT_ONCE):
        rows = min(_ROWS_AT_ONCE, num_exchanges - start)
        exchanged = rng.integers(0, 2, size=(rows, len(true)), dtype=np.int8).astype(np.float32)
        # Equal counts may differ in the last bits of their quotients: such a tie is as large.
        as_large += int((difference(exchanged) >= observed - 1e-12).sum())
    return (1 + as_large) / (1 + num_exchanges)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number (Holm 1979, Scandinavian Journal of Statistics 6): reject those below alpha.

    Args:
        p_values: of a family of tests.

    Returns:
        Adjusted ones in the same order, at most 1.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _indicators(true: np.ndarray, predicted: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each text and class: is it right, is it answered, is it true. float32 `[N, C]`, exact up to 2^24 texts."""
    classes = np.eye(num_classes, dtype=np.float32)
    answered, truth = classes[predicted], classes[true]
    return answered * truth, answered, truth


def _macro_f1(right: np.ndarray, answered: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """From counts `[..., C]`: mean over the classes that occur of 2 right / (answered + truth)."""
    occurrences = (answered + truth).astype(np.float64)
    scores = 2 * right / np.maximum(occurrences, 1)
    return scores.sum(axis=-1) / (occurrences > 0).sum(axis=-1)


@functools.lru_cache(maxsize=4)
def _resamples(num_texts: int, num_resamples: int) -> np.ndarray:
    """How often each text is drawn, float32 `[num_resamples, num_texts]`."""
    rng = np.random.default_rng(_SEED)
    draws = (rng.integers(num_texts, size=num_texts) for _ in range(num_resamples))
    return np.array([np.bincount(rows, minlength=num_texts) for rows in draws], np.float32)

"""BERT's static masking, for many samples at once (google-research/bert, create_pretraining_data.py)."""

import dataclasses

import numpy as np

MASK_SHARE = 0.8  # of the chosen tokens become [MASK],
KEEP_SHARE = 0.1  # stay as they are; the rest becomes a random entry.


@dataclasses.dataclass(frozen=True)
class MaskedSamples:
    """Masked samples and what was under the masks (S samples, T tokens with specials, P predictions).

    Args:
        input_ids: int32 [S, T], `[CLS] tokens [SEP]`, padded with the id of [PAD].
        lengths: int64 [S], tokens with the specials.
        positions: int32 [S, P], ascending positions in `input_ids`, then zeros.
        label_ids: int32 [S, P], the ids that stood there, then zeros.
        num_predictions: int64 [S], how many of the P are real.
    """

    input_ids: np.ndarray
    lengths: np.ndarray
    positions: np.ndarray
    label_ids: np.ndarray
    num_predictions: np.ndarray


def number_to_predict(lengths: np.ndarray, masked_lm_prob: float, max_predictions_per_seq: int) -> np.ndarray:
    """Google's `min(max_predictions_per_seq, max(1, int(round(length * masked_lm_prob))))`.

    Args:
        lengths: int [S], tokens with [CLS] and [SEP].
        masked_lm_prob: share to predict.
        max_predictions_per_seq: P.

    Returns:
        int64 [S]; halves round to even, as Python's `round` does.
    """
    return np.clip(np.rint(lengths * masked_lm_prob), 1, max_predictions_per_seq).astype(np.int64)


def choose_tokens(lengths: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Chooses `counts[i]` of the `lengths[i]` tokens of each sample, every subset as likely as another.

    Args:
        lengths: int [S], candidates of each sample.
        counts: int [S]; more than there are candidates takes them all.
        rng: source of the random numbers.

    Returns:
        bool [S, max(lengths)], true where chosen.
    """
    width = int(lengths.max(initial=0))
    keys = rng.random((len(lengths), width))
    keys[np.arange(width) >= lengths[:, None]] = 2.0
    order = np.argsort(keys, axis=1)
    chosen = np.zeros(keys.shape, bool)
    np.put_along_axis(chosen, order, np.arange(width) < np.minimum(counts, lengths)[:, None], axis=1)
    return chosen


def choose_units(starts: np.ndarray, lengths: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Chooses whole units (words) in random order until `counts[i]` tokens are taken.

    A unit that would exceed the budget is passed over and the next one tried, as Google's whole-word masking does;
    so a sample may get fewer predictions than its budget, or none if each of its words is longer than that.

    Args:
        starts: bool [S, W], true where a unit starts; the first candidate of a sample always starts one.
        lengths: int [S], candidates of each sample, at most W.
        counts: int [S], the budget.
        rng: source of the random numbers.

    Returns:
        bool [S, W], true where chosen.
    """
    samples, width = starts.shape
    real = np.arange(width) < lengths[:, None]
    starts = starts & real
    starts[:, :1] = real[:, :1]
    units = np.cumsum(starts, axis=1) - 1  # [S, W], the unit of each candidate
    slots = (units + np.arange(samples)[:, None] * width)[real]
    sizes = np.bincount(slots, minlength=samples * width).reshape(samples, width)
    keys = rng.random((samples, width))
    keys[sizes == 0] = 2.0
    order = np.argsort(keys, axis=1)
    taken = np.zeros(samples, np.int64)
    unit_chosen = np.zeros((samples, width), bool)
    rows = np.arange(samples)
    for rank in range(int((sizes > 0).sum(axis=1).max(initial=0))):
        unit = order[:, rank]
        size = sizes[rows, unit]
        fits = (size > 0) & (taken + size <= counts)
        unit_chosen[rows[fits], unit[fits]] = True
        taken += np.where(fits, size, 0)
    return np.take_along_axis(unit_chosen, np.maximum(units, 0), axis=1) & real


def mask_samples(
    input_ids: np.ndarray,
    lengths: np.ndarray,
    rng: np.random.Generator,
    *,
    mask_id: int,
    vocabulary_size: int,
    masked_lm_prob: float,
    max_predictions_per_seq: int,
    unit_starts: np.ndarray | None = None,
) -> MaskedSamples:
    """Masks a batch of samples by BERT's rule: 80 % [MASK], 10 % kept, 10 % any entry of the vocabulary.

    Args:
        input_ids: int32 [S, T], `[CLS] tokens [SEP]`, then padding; left as it is.
        lengths: int [S], tokens with the two specials, at least 3.
        rng: source of the random numbers.
        mask_id: id of [MASK].
        vocabulary_size: V; a random replacement is drawn from all V entries, as Google's is.
        masked_lm_prob: share of tokens to predict.
        max_predictions_per_seq: P.
        unit_starts: bool [S, T - 2], for whole-word masking: which of the tokens behind [CLS] start a word; None masks
            single tokens.

    Returns:
        The masked samples.
    """
    counts = number_to_predict(lengths, masked_lm_prob, max_predictions_per_seq)
    if unit_starts is None:
        chosen = choose_tokens(lengths - 2, counts, rng)
    else:
        chosen = choose_units(unit_starts[:, : int(lengths.max(initial=2)) - 2], lengths - 2, counts, rng)
    rows, columns = np.nonzero(chosen)  # In row order, columns ascending.
    columns = columns + 1  # Behind [CLS].
    num_predictions = chosen.sum(axis=1)
    ranks = np.arange(len(rows)) - np.repeat(np.cumsum(num_predictions) - num_predictions, num_predictions)

    originals = input_ids[rows, columns]
    dice = rng.random(len(rows))
    random_ids = rng.integers(0, vocabulary_size, len(rows), dtype=np.int32)
    replaced = np.where(dice < MASK_SHARE, mask_id, np.where(dice < MASK_SHARE + KEEP_SHARE, originals, random_ids))

    masked = input_ids.copy()
    masked[rows, columns] = replaced
    positions = np.zeros((len(input_ids), max_predictions_per_seq), np.int32)
    label_ids = np.zeros_like(positions)
    positions[rows, ranks] = columns
    label_ids[rows, ranks] = originals
    return MaskedSamples(masked, np.asarray(lengths), positions, label_ids, num_predictions)

"""BERT's static masking, for many samples at once (google-research/bert, create_pretraining_data.py)."""

import dataclasses

import numpy as np

from chemkd_tf.data.samples import Samples

MASK_SHARE = 0.8  # of the chosen tokens become [MASK],
KEEP_SHARE = 0.1  # stay as they are; the rest becomes a random entry.


@dataclasses.dataclass(frozen=True)
class MaskedSamples:
    """Masked samples and what was under the masks (S samples, N tokens, M masks).

    Args:
        token_ids: int32 [N], without special tokens, all samples in a row.
        splits: int64 [S + 1], where each sample starts; the last is N.
        positions: int64 [M], ascending positions within each sample, counted from its [CLS].
        label_ids: int32 [M], the ids that stood there.
        num_predictions: int64 [S], masks of each sample.
    """

    token_ids: np.ndarray
    splits: np.ndarray
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


def choose_tokens(splits: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Chooses `counts[i]` tokens of each sample, every subset as likely as another.

    Floyd's algorithm (Bentley and Floyd, "A sample of brilliance", 1987), one step for all samples at a time: step j
    draws from the first n - k + j + 1 candidates, and takes the last of them where the drawn one is taken already.

    Args:
        splits: int64 [S + 1], where each sample starts among all N tokens.
        counts: int64 [S]; more than there are tokens takes them all.
        rng: source of the random numbers.

    Returns:
        bool [N], true where chosen.
    """
    chosen = np.zeros(splits[-1], bool)
    lengths = np.diff(splits)
    counts = np.minimum(counts, lengths)
    # The samples with most to choose first: those that a step concerns are a prefix.
    order = np.argsort(-counts, kind="stable")
    starts, counts = splits[:-1][order], counts[order]
    lasts = lengths[order] - counts
    uniform = rng.random((int(counts.max(initial=0)), len(counts)))
    for step, numbers in enumerate(uniform):
        active = np.searchsorted(-counts, -step)  # counts > step
        last = lasts[:active] + step
        drawn = starts[:active] + (numbers[:active] * (last + 1)).astype(np.int64)
        chosen[np.where(chosen[drawn], starts[:active] + last, drawn)] = True
    return chosen


def choose_units(
    unit_starts: np.ndarray, splits: np.ndarray, counts: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Chooses whole units (words) in random order until `counts[i]` tokens are taken.

    A unit that would exceed the budget is passed over and the next one tried, as Google's whole-word masking does;
    so a sample may get fewer predictions than its budget, or none if each of its words is longer than that.

    Args:
        unit_starts: bool [N], true where a unit starts; the first token of a sample always starts one.
        splits: int64 [S + 1], where each sample starts among all N tokens.
        counts: int64 [S], the budget.
        rng: source of the random numbers.

    Returns:
        bool [N], true where chosen.
    """
    starts_unit = unit_starts.copy()
    starts_unit[splits[:-1]] = True
    unit_positions = np.flatnonzero(starts_unit)
    sizes = np.diff(np.append(unit_positions, len(unit_starts)))
    unit_splits = np.searchsorted(unit_positions, splits)
    chosen = np.zeros(len(sizes), bool)
    # A shuffle of each sample's units, as far as it is needed: step j swaps a random one of the rest to place j.
    order = np.arange(len(sizes))
    next_unit, ends, room = unit_splits[:-1].copy(), unit_splits[1:], counts.copy()
    active = np.flatnonzero((next_unit < ends) & (room > 0))
    while len(active):
        place, end = next_unit[active], ends[active]
        other = place + (rng.random(len(active)) * (end - place)).astype(np.int64)
        unit = order[other]
        order[other] = order[place]
        fits = sizes[unit] <= room[active]
        chosen[unit[fits]] = True
        room[active] -= np.where(fits, sizes[unit], 0)
        next_unit[active] += 1
        active = active[(place + 1 < end) & (room[active] > 0)]
    return np.repeat(chosen, sizes)


def mask_samples(
    samples: Samples,
    rng: np.random.Generator,
    *,
    mask_id: int,
    vocabulary_size: int,
    masked_lm_prob: float,
    max_predictions_per_seq: int,
) -> MaskedSamples:
    """Masks samples by BERT's rule: 80 % [MASK], 10 % kept, 10 % any entry of the vocabulary.

    Args:
        samples: left as they are; whole words are masked where they have `unit_starts`. None is empty.
        rng: source of the random numbers.
        mask_id: id of [MASK].
        vocabulary_size: V; a random replacement is drawn from all V entries, as Google's is.
        masked_lm_prob: share of tokens to predict.
        max_predictions_per_seq: P.

    Returns:
        The masked samples.
    """
    counts = number_to_predict(samples.lengths + 2, masked_lm_prob, max_predictions_per_seq)
    if samples.unit_starts is None:
        chosen = choose_tokens(samples.splits, counts, rng)
    else:
        chosen = choose_units(samples.unit_starts, samples.splits, counts, rng)
    places = np.flatnonzero(chosen)  # Ascending.
    masks_before = np.searchsorted(places, samples.splits)
    num_predictions = np.diff(masks_before)
    positions = places - np.repeat(samples.splits[:-1], num_predictions) + 1  # Behind [CLS].

    token_ids = samples.token_ids.astype(np.int32)
    label_ids = token_ids[places]
    dice = rng.random(len(places))
    random_ids = rng.integers(0, vocabulary_size, len(places), dtype=np.int32)
    replaced = np.where(dice < MASK_SHARE, mask_id, np.where(dice < MASK_SHARE + KEEP_SHARE, label_ids, random_ids))
    token_ids[places] = replaced
    return MaskedSamples(token_ids, samples.splits, positions, label_ids, num_predictions)

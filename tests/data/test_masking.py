import itertools
from collections import Counter

import numpy as np
import pytest

from chemkd_tf.data.masking import choose_tokens, choose_units, mask_samples, number_to_predict
from chemkd_tf.data.samples import Samples

MASK_ID, VOCABULARY_SIZE = 4, 500


def samples_of(rng, count: int, longest: int, whole_words: bool = False) -> Samples:
    """Samples of 1 to `longest` tokens, none of them special."""
    lengths = rng.integers(1, longest + 1, count)
    token_ids = rng.integers(5, VOCABULARY_SIZE, lengths.sum()).astype(np.uint16)
    unit_starts = rng.random(len(token_ids)) < 0.6 if whole_words else None
    return Samples(token_ids, np.append(0, np.cumsum(lengths)), unit_starts)


def splits_of(lengths) -> np.ndarray:
    return np.append(0, np.cumsum(lengths))


def mask(samples, rng, predictions=20, probability=0.15):
    return mask_samples(
        samples,
        rng,
        mask_id=MASK_ID,
        vocabulary_size=VOCABULARY_SIZE,
        masked_lm_prob=probability,
        max_predictions_per_seq=predictions,
    )


@pytest.mark.parametrize(("probability", "predictions"), itertools.product([0.01, 0.15, 0.5, 0.99], [1, 20]))
def test_the_number_to_predict_is_googles(probability, predictions):
    found = number_to_predict(np.arange(3, 513), probability, predictions)
    # google-research/bert, create_masked_lm_predictions
    expected = [min(predictions, max(1, int(round(length * probability)))) for length in range(3, 513)]
    assert found.tolist() == expected


@pytest.mark.parametrize("whole_words", [False, True])
def test_invariants_of_every_sample(whole_words):
    rng = np.random.default_rng(3)
    samples = samples_of(rng, 500, 60, whole_words)
    before = samples.token_ids.copy()
    masked = mask(samples, rng, predictions=7)
    assert (samples.token_ids == before).all()
    assert (masked.splits == samples.splits).all()
    mask_splits = splits_of(masked.num_predictions)
    for row in range(500):
        start, end = samples.splits[row], samples.splits[row + 1]
        length = end - start
        count = int(masked.num_predictions[row])
        budget = min(7, max(1, round(int(length + 2) * 0.15)))
        assert count <= budget if whole_words else count == min(budget, length)
        positions = masked.positions[mask_splits[row] : mask_splits[row + 1]].tolist()
        labels = masked.label_ids[mask_splits[row] : mask_splits[row + 1]].tolist()
        assert positions == sorted(set(positions))
        assert all(1 <= position <= length for position in positions)
        restored = masked.token_ids[start:end].copy()
        for position, label in zip(positions, labels, strict=True):
            restored[position - 1] = label
        assert (restored == before[start:end]).all()


def test_80_percent_mask_10_percent_kept_10_percent_random():
    rng = np.random.default_rng(4)
    samples = samples_of(rng, 12_000, 126)
    masked = mask(samples, rng)
    starts = np.repeat(masked.splits[:-1], masked.num_predictions)
    outcomes: Counter[str] = Counter()
    random_ids = []
    for place, label in zip((starts + masked.positions - 1).tolist(), masked.label_ids.tolist(), strict=True):
        now = int(masked.token_ids[place])
        outcomes["mask" if now == MASK_ID else "kept" if now == label else "random"] += 1
        if now not in (MASK_ID, label):
            random_ids.append(now)
    total = sum(outcomes.values())
    assert total > 100_000
    for name, share in (("mask", 0.8), ("kept", 0.1), ("random", 0.1)):
        standard_error = (share * (1 - share) / total) ** 0.5
        # A random entry equals [MASK] or the old token once in 250: far below the allowance.
        assert abs(outcomes[name] / total - share) < 5 * standard_error + 0.0004
    # Any entry may be drawn, the special ones and the last one too.
    assert min(random_ids) < 4 and max(random_ids) == VOCABULARY_SIZE - 1
    assert abs(np.mean(random_ids) - (VOCABULARY_SIZE - 1) / 2) < 5 * VOCABULARY_SIZE / (12 * len(random_ids)) ** 0.5


@pytest.mark.parametrize(("length", "count"), [(1, 1), (5, 2), (12, 3), (12, 11), (126, 19)])
def test_every_position_is_chosen_equally_often(length, count):
    # Beside samples of other lengths and counts, which must not matter.
    rows = 20_000
    lengths, counts = np.tile([length, 7, length], rows), np.tile([count, 4, count], rows)
    chosen = choose_tokens(splits_of(lengths), counts, np.random.default_rng(5))
    ours = chosen.reshape(rows, 2 * length + 7)[:, :length]
    assert (ours.sum(axis=1) == count).all()
    share = count / length
    assert np.abs(ours.mean(axis=0) - share).max() <= 5 * (share * (1 - share) / rows) ** 0.5


def test_every_subset_is_chosen_equally_often():
    rows = 60_000
    chosen = choose_tokens(splits_of([5] * rows), np.full(rows, 2), np.random.default_rng(6)).reshape(rows, 5)
    found = Counter(tuple(np.flatnonzero(row).tolist()) for row in chosen)
    assert set(found) == set(itertools.combinations(range(5), 2))
    assert all(abs(count / rows - 0.1) < 5 * (0.09 / rows) ** 0.5 for count in found.values())


def test_more_than_there_are_takes_all():
    assert choose_tokens(splits_of([2, 3]), np.array([5, 1]), np.random.default_rng(0)).tolist()[:2] == [True, True]


def test_whole_units_are_chosen_or_left():
    rng = np.random.default_rng(6)
    lengths = rng.integers(1, 50, 400)
    splits = splits_of(lengths)
    starts = rng.random(splits[-1]) < 0.5
    counts = rng.integers(1, 9, 400)
    chosen = choose_units(starts, splits, counts, rng)
    for row in range(400):
        own = slice(splits[row], splits[row + 1])
        assert chosen[own].sum() <= counts[row]
        units: list[list[int]] = []
        for column in range(splits[row], splits[row + 1]):
            if column == splits[row] or starts[column]:
                units.append([])
            units[-1].append(column)
        left_sizes = []
        for unit in units:
            states = set(chosen[unit].tolist())
            assert len(states) == 1
            if states == {False}:
                left_sizes.append(len(unit))
        # No unit that was left would still fit.
        room = counts[row] - chosen[own].sum()
        assert all(size > room for size in left_sizes)


def test_units_are_tried_in_random_order_as_google_does():
    # Units of 1, 2 and 1 tokens, budget 2. All six orders equally likely; a unit that does not fit is passed over.
    outcomes: Counter[tuple[int, ...]] = Counter()
    for order in itertools.permutations([(0,), (1, 2), (3,)]):
        taken: list[int] = []
        for unit in order:
            if len(taken) + len(unit) <= 2:
                taken += unit
        outcomes[tuple(sorted(taken))] += 1
    starts = np.tile([True, True, False, True], 30_000)
    chosen = choose_units(starts, splits_of([4] * 30_000), np.full(30_000, 2), np.random.default_rng(8))
    found = Counter(tuple(np.nonzero(row)[0].tolist()) for row in chosen.reshape(-1, 4))
    assert set(found) == set(outcomes)
    for outcome, count in outcomes.items():
        assert abs(found[outcome] / 30_000 - count / 6) < 5 * (count / 6 * (1 - count / 6) / 30_000) ** 0.5


def test_no_unit_fits_no_prediction():
    chosen = choose_units(np.array([True, False, False]), np.array([0, 3]), np.array([1]), np.random.default_rng(0))
    assert not chosen.any()
    samples = Samples(np.array([7, 8, 9], np.uint16), np.array([0, 3]), np.array([True, False, False]))
    masked = mask(samples, np.random.default_rng(0), predictions=1)
    assert masked.num_predictions.tolist() == [0] and masked.token_ids.tolist() == [7, 8, 9]

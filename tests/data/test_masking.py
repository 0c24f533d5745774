import itertools
from collections import Counter

import numpy as np
import pytest

from chemkd_tf.data.masking import choose_tokens, choose_units, mask_samples, number_to_predict

MASK_ID, VOCABULARY_SIZE, START, END = 4, 1000, 2, 3


def samples_of(rng: np.random.Generator, count: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Random samples without [MASK]: ids [count, longest + 2] and lengths."""
    lengths = rng.integers(1, longest + 1, count) + 2
    ids = rng.integers(5, VOCABULARY_SIZE, (count, longest + 2)).astype(np.int32)
    ids[:, 0] = START
    ids[np.arange(count), lengths - 1] = END
    ids[np.arange(longest + 2) >= lengths[:, None]] = 0
    return ids, lengths


def mask(ids, lengths, rng, predictions=20, probability=0.15, unit_starts=None):
    return mask_samples(
        ids,
        lengths,
        rng,
        mask_id=MASK_ID,
        vocabulary_size=VOCABULARY_SIZE,
        masked_lm_prob=probability,
        max_predictions_per_seq=predictions,
        unit_starts=unit_starts,
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
    ids, lengths = samples_of(rng, 500, 60)
    before = ids.copy()
    unit_starts = rng.random((500, 60)) < 0.6 if whole_words else None
    masked = mask(ids, lengths, rng, predictions=7, unit_starts=unit_starts)
    assert (ids == before).all()
    for row in range(500):
        count = int(masked.num_predictions[row])
        budget = min(7, max(1, round(int(lengths[row]) * 0.15)))
        if whole_words:
            assert count <= budget
        else:
            assert count == min(budget, lengths[row] - 2)
        positions = masked.positions[row, :count].tolist()
        assert positions == sorted(set(positions))
        assert all(0 < position < lengths[row] - 1 for position in positions)
        assert masked.label_ids[row, :count].tolist() == before[row, positions].tolist()
        assert not masked.positions[row, count:].any() and not masked.label_ids[row, count:].any()
        restored = masked.input_ids[row].copy()
        restored[positions] = masked.label_ids[row, :count]
        assert (restored == before[row]).all()


def test_80_percent_mask_10_percent_kept_10_percent_random():
    rng = np.random.default_rng(4)
    ids, lengths = samples_of(rng, 4000, 126)
    masked = mask(ids, lengths, rng)
    outcomes: Counter[str] = Counter()
    random_ids = []
    for row in range(len(ids)):
        for column in range(int(masked.num_predictions[row])):
            now, was = masked.input_ids[row, masked.positions[row, column]], masked.label_ids[row, column]
            outcomes["mask" if now == MASK_ID else "kept" if now == was else "random"] += 1
            if now not in (MASK_ID, was):
                random_ids.append(int(now))
    total = sum(outcomes.values())
    for name, share in (("mask", 0.8), ("kept", 0.1), ("random", 0.1)):
        standard_error = (share * (1 - share) / total) ** 0.5
        # A random entry equals [MASK] or the old token once in 500: far below the allowance.
        assert abs(outcomes[name] / total - share) < 5 * standard_error + 0.0002
    # Any entry may be drawn, the special ones and the last one too.
    assert min(random_ids) < 4 and max(random_ids) == VOCABULARY_SIZE - 1
    assert abs(np.mean(random_ids) - (VOCABULARY_SIZE - 1) / 2) < 5 * VOCABULARY_SIZE / (12 * len(random_ids)) ** 0.5


def test_every_position_is_chosen_equally_often():
    rng = np.random.default_rng(5)
    chosen = choose_tokens(np.full(20_000, 12), np.full(20_000, 3), rng)
    assert (chosen.sum(axis=1) == 3).all()
    standard_error = (0.25 * 0.75 / 20_000) ** 0.5
    assert np.abs(chosen.mean(axis=0) - 0.25).max() < 5 * standard_error


def test_whole_units_are_chosen_or_left():
    rng = np.random.default_rng(6)
    lengths = rng.integers(1, 50, 400)
    starts = rng.random((400, 50)) < 0.5
    counts = rng.integers(1, 9, 400)
    chosen = choose_units(starts, lengths, counts, rng)
    for row in range(400):
        assert not chosen[row, lengths[row] :].any()
        assert chosen[row].sum() <= counts[row]
        units: list[list[int]] = []
        for column in range(lengths[row]):
            if column == 0 or starts[row, column]:
                units.append([])
            units[-1].append(column)
        left_sizes = []
        for unit in units:
            states = set(chosen[row, unit].tolist())
            assert len(states) == 1
            if states == {False}:
                left_sizes.append(len(unit))
        # No unit that was left would still fit.
        room = counts[row] - chosen[row].sum()
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
    starts = np.tile([True, True, False, True], (30_000, 1))
    chosen = choose_units(starts, np.full(30_000, 4), np.full(30_000, 2), np.random.default_rng(8))
    found = Counter(tuple(np.nonzero(row)[0].tolist()) for row in chosen)
    assert set(found) == set(outcomes)
    for outcome, count in outcomes.items():
        assert abs(found[outcome] / 30_000 - count / 6) < 5 * (count / 6 * (1 - count / 6) / 30_000) ** 0.5


def test_no_unit_fits_no_prediction():
    chosen = choose_units(np.array([[True, False, False]]), np.array([3]), np.array([1]), np.random.default_rng(0))
    assert not chosen.any()

"""Masks that are drawn in tf.data's graph: the rule is Google's, the distribution that of the static path."""

import dataclasses
import itertools
import math
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from data.record_files import DYNAMIC, END, MASK, PAD, START

from chemkd_tf.data import dynamic_masking, masking, samples

# 5 standard errors, which one of two million draws exceeds.
ERRORS = 5
PAPER = dataclasses.replace(DYNAMIC, max_seq_length=128, max_predictions_per_seq=20, vocabulary_size=1000)
WHOLE_WORDS = dataclasses.replace(PAPER, whole_words=True)


def ragged(rows: list) -> tf.RaggedTensor:
    values = np.concatenate(rows).astype(np.int32)
    return tf.RaggedTensor.from_row_lengths(values, np.array([len(row) for row in rows], np.int64))


def consecutive(lengths) -> tf.RaggedTensor:
    """Texts whose tokens tell their place: 100, 101, 102, ..."""
    return ragged([np.arange(100, 100 + length) for length in lengths])


def random_words(rng: np.random.Generator, lengths) -> list[list[int]]:
    rows = []
    for length in lengths:
        ends = np.flatnonzero(rng.random(length - 1) < 0.6) + 1
        rows.append(np.diff([0, *ends, length]).tolist())
    return rows


def masked(token_ids, words=None, record_format=PAPER, key=(1, 2)) -> dict[str, np.ndarray]:
    batch = dynamic_masking.cut_and_mask(token_ids, words, record_format, tf.constant(key, tf.int64))
    return {name: value.numpy() for name, value in batch.items()}


def number_of_masks(batch) -> np.ndarray:
    return batch["mask_weights"].sum(axis=1).astype(int)


def unmasked(batch, row: int) -> list[int]:
    """The row's window with what was masked put back; checks the row on the way."""
    length, count = batch["padding_mask"][row].sum(), int(batch["mask_weights"][row].sum())
    ids, positions = batch["token_ids"][row].tolist(), batch["mask_positions"][row].tolist()
    width, most = len(ids), len(positions)
    assert batch["padding_mask"][row].tolist() == [1] * length + [0] * (width - length)
    assert batch["mask_weights"][row].tolist() == [1.0] * count + [0.0] * (most - count)
    assert ids[0] == START and ids[length - 1] == END and ids[length:] == [PAD] * (width - length)
    assert positions[:count] == sorted(set(positions[:count]))
    assert all(0 < position < length - 1 for position in positions[:count])
    assert positions[count:] == batch["mask_ids"][row, count:].tolist() == [0] * (most - count)
    for position, was in zip(positions[:count], batch["mask_ids"][row], strict=False):
        ids[position] = int(was)
    return ids[1 : length - 1]


@pytest.mark.parametrize("whole_words", [False, True])
@pytest.mark.parametrize("truncate_mode", ["token_coin", "side_coin"])
def test_every_text_unmasks_to_itself_or_to_a_window_of_itself(truncate_mode, whole_words):
    rng = np.random.default_rng(3)
    lengths = [1, 2, 125, 126, 127, 128, 800, *rng.integers(1, 300, 400)]
    record_format = dataclasses.replace(PAPER, truncate_mode=truncate_mode, whole_words=whole_words)
    words = ragged(random_words(rng, lengths)) if whole_words else None
    batch = masked(consecutive(lengths), words, record_format)
    assert {name: value.shape for name, value in batch.items()} == {
        "token_ids": (407, 128), "segment_ids": (407, 128), "padding_mask": (407, 128), "mask_positions": (407, 20),
        "mask_ids": (407, 20), "mask_weights": (407, 20), "example_weight": (407,),
    }  # fmt: skip
    assert not batch["segment_ids"].any() and (batch["example_weight"] == 1).all()
    fronts = set()
    for row, length in enumerate(lengths):
        window = unmasked(batch, row)
        assert window == list(range(window[0], window[0] + min(length, 126)))
        assert 100 <= window[0] <= window[-1] < 100 + length
        fronts.add((int(length), window[0] - 100))
    cut = {(length, front) for length, front in fronts if length > 126}
    at_an_end = {(length, front) for length, front in cut if front in (0, length - 126)}
    assert at_an_end == cut if truncate_mode == "side_coin" else len(at_an_end) < len(cut) / 10


@pytest.mark.parametrize(("probability", "predictions"), itertools.product([0.01, 0.15, 0.5, 0.99], [1, 20, 126]))
def test_the_number_of_masks_is_googles_at_every_length(probability, predictions):
    lengths = range(1, 130)
    record_format = dataclasses.replace(PAPER, masked_lm_prob=probability, max_predictions_per_seq=predictions)
    batch = masked(consecutive(lengths), record_format=record_format)
    # google-research/bert, create_masked_lm_predictions: of what is left of a text, with [CLS] and [SEP]
    kept = [min(length, 126) for length in lengths]
    expected = [min(predictions, max(1, int(round((length + 2) * probability))), length) for length in kept]
    assert number_of_masks(batch).tolist() == expected


@pytest.mark.parametrize("predictions", [1, 5, 20])
def test_there_may_be_more_predictions_than_tokens(predictions):
    record_format = dataclasses.replace(
        PAPER, max_seq_length=6, max_predictions_per_seq=predictions, masked_lm_prob=0.9
    )
    batch = masked(consecutive([1, 2, 3, 4, 5, 9]), record_format=record_format)
    assert batch["mask_weights"].shape == (6, predictions)
    # 0.9 of 3, 4, 5 (4.5: half to even) and 6
    assert number_of_masks(batch).tolist() == [min(predictions, count) for count in (1, 2, 3, 4, 4, 4)]
    assert [len(unmasked(batch, row)) for row in range(6)] == [1, 2, 3, 4, 4, 4]


@pytest.mark.parametrize("words", [False, True])
def test_80_percent_mask_10_percent_kept_10_percent_random(words):
    count = 6000
    word_lengths = ragged([[2] * 63] * count) if words else None
    batch = masked(consecutive([126] * count), word_lengths, WHOLE_WORDS if words else PAPER, key=(4, 5))
    now, was = np.take_along_axis(batch["token_ids"], batch["mask_positions"], 1), batch["mask_ids"]
    assert (number_of_masks(batch) == (18 if words else 19)).all()  # 0.15 * 128 = 19.2
    real = batch["mask_weights"] > 0
    now, was = now[real], was[real]
    total = len(now)
    assert total >= 100_000
    # A random entry is [MASK] or the old token once in V draws each.
    again = 0.1 / PAPER.vocabulary_size
    for found, share in ((now == MASK, 0.8 + again), (now == was, 0.1 + again)):
        assert abs(found.mean() - share) < ERRORS * math.sqrt(share * (1 - share) / total)
    random_ids = now[(now != MASK) & (now != was)]
    # Any entry may be drawn, the special ones and the last one too, each as often as another.
    entries = np.bincount(random_ids, minlength=PAPER.vocabulary_size)
    assert len(entries) == PAPER.vocabulary_size and entries[0] and entries[-1]
    not_in_text = np.delete(entries, [MASK, *range(100, 226)])
    mean = not_in_text.mean()
    assert abs(mean - total * again) < ERRORS * math.sqrt(total * again / len(not_in_text))
    chi_square = ((not_in_text - mean) ** 2 / mean).sum()
    assert abs(chi_square - len(not_in_text)) < ERRORS * math.sqrt(2 * len(not_in_text))


@pytest.mark.parametrize(("probability", "predictions", "count"), [(0.15, 20, 5), (0.9, 4, 4)])
def test_every_position_is_masked_equally_often(probability, predictions, count):
    record_format = dataclasses.replace(PAPER, masked_lm_prob=probability, max_predictions_per_seq=predictions)
    batch = masked(consecutive([30] * 40_000), record_format=record_format, key=(6, 7))
    counts = np.bincount(batch["mask_positions"][batch["mask_weights"] > 0], minlength=32)
    assert counts.sum() == 40_000 * count and not counts[[0, 31]].any()
    share = count / 30
    assert np.abs(counts[1:31] / 40_000 - share).max() < ERRORS * math.sqrt(share * (1 - share) / 40_000)


def test_every_subset_of_tokens_is_as_likely_as_another():
    rows = 60_000
    chosen = dynamic_masking.choose_tokens(tf.fill([rows], 6), tf.fill([rows], 3), 9, tf.constant([1, 1])).numpy()
    found = Counter(tuple(np.flatnonzero(row).tolist()) for row in chosen)
    assert set(found) == set(itertools.combinations(range(6), 3))
    for count in found.values():
        assert abs(count / rows - 1 / 20) < ERRORS * math.sqrt(19 / 20 / 20 / rows)


@pytest.mark.parametrize("excess", [0, 1, 2, 7, 19, 20, 21, 60, 400])
@pytest.mark.parametrize("truncate_mode", ["token_coin", "side_coin"])
def test_what_falls_in_front_is_what_the_coins_say(truncate_mode, excess):
    texts = 50_000
    front, kept = dynamic_masking.cut_windows(
        tf.fill([texts], 14 + excess), 14, truncate_mode, tf.constant([excess, 8], tf.int64)
    )
    assert (kept.numpy() == 14).all()
    found = np.bincount(front.numpy(), minlength=excess + 1)
    assert len(found) == excess + 1
    if truncate_mode == "token_coin":
        shares = np.array([math.comb(excess, heads) / 2**excess for heads in range(excess + 1)])
    else:
        shares = np.array([0.5 * (heads in (0, excess)) for heads in range(excess + 1)]) if excess else np.ones(1)
    # What is expected less than ten times counts together.
    rare = texts * shares < 10
    found, shares = np.append(found[~rare], found[rare].sum()), np.append(shares[~rare], shares[rare].sum())
    assert (np.abs(found - texts * shares) <= ERRORS * np.sqrt(texts * shares * (1 - shares))).all()


def test_what_is_short_enough_loses_nothing():
    for truncate_mode in ("token_coin", "side_coin"):
        front, kept = dynamic_masking.cut_windows(tf.range(1, 15), 14, truncate_mode, tf.constant([1, 2]))
        assert not front.numpy().any() and kept.numpy().tolist() == list(range(1, 15))


def static_masks(lengths, words, rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The static path of texts 100, 101, ...: number of masks, positions of all, and what stands there now."""
    ends = np.cumsum(lengths)
    starts, ends = samples.cut_windows(ends - lengths, ends, 126, "token_coin", rng)
    fronts = starts - (np.cumsum(lengths) - lengths)
    windows = zip(100 + fronts, 100 + fronts + ends - starts, strict=True)
    unit_starts = None
    if words is not None:
        every = np.concatenate([np.isin(np.arange(sum(row)), np.cumsum([0, *row[:-1]])) for row in words])
        unit_starts = np.concatenate([every[start:end] for start, end in zip(starts, ends, strict=True)])
    splits = np.append(0, np.cumsum(ends - starts))
    masks = masking.mask_samples(
        samples.Samples(np.concatenate([np.arange(*window) for window in windows]), splits, unit_starts),
        rng,
        mask_id=MASK,
        vocabulary_size=PAPER.vocabulary_size,
        masked_lm_prob=0.15,
        max_predictions_per_seq=20,
    )
    rows = np.repeat(np.arange(len(lengths)), masks.num_predictions)
    return masks.num_predictions, masks.positions, masks.token_ids[splits[rows] + masks.positions - 1]


def two_sample_chi_square(one: np.ndarray, other: np.ndarray) -> tuple[float, int]:
    """Of two histograms of equally many draws; bins with few entries are left out."""
    kept = one + other >= 20
    return float(((one - other)[kept] ** 2 / (one + other)[kept]).sum()), int(kept.sum()) - 1


@pytest.mark.parametrize("whole_words", [False, True])
def test_the_distribution_is_that_of_the_static_path(whole_words):
    texts = 12_000
    rng = np.random.default_rng(11)
    lengths = rng.integers(1, 180, texts)
    words = random_words(rng, lengths) if whole_words else None
    batch = masked(consecutive(lengths), words and ragged(words), WHOLE_WORDS if whole_words else PAPER, key=(9, 9))
    real = batch["mask_weights"] > 0
    positions, was = batch["mask_positions"][real], batch["mask_ids"][real]
    now = np.take_along_axis(batch["token_ids"], batch["mask_positions"], 1)[real]
    static_counts, static_positions, static_now = static_masks(lengths, words, rng)

    if whole_words:
        histograms = [np.bincount(counts, minlength=21) for counts in (number_of_masks(batch), static_counts)]
        chi_square, freedom = two_sample_chi_square(*histograms)
        assert chi_square < freedom + ERRORS * math.sqrt(2 * freedom)
    else:
        np.testing.assert_array_equal(number_of_masks(batch), static_counts)
    histograms = [np.bincount(found, minlength=128) for found in (positions, static_positions)]
    chi_square, freedom = two_sample_chi_square(*histograms)
    # Draws without replacement scatter less than independent ones, words of several tokens more: by their length.
    assert chi_square < (1 + 2 * whole_words) * (freedom + ERRORS * math.sqrt(2 * freedom))
    shares = [(found == MASK).mean() for found in (now, static_now)]
    assert abs(shares[0] - shares[1]) < ERRORS * math.sqrt(2 * 0.8 * 0.2 / len(now))
    # Texts longer than a window: where windows begin shows in what masks hide.
    assert was.min() >= 100 and was.max() < 100 + 180


def test_whole_words_are_masked_or_left_and_none_that_is_left_would_fit():
    rng = np.random.default_rng(6)
    lengths = rng.integers(1, 250, 500)
    words = random_words(rng, lengths)
    batch = masked(consecutive(lengths), ragged(words), WHOLE_WORDS)
    cut_words = 0
    for row in range(500):
        window, count = unmasked(batch, row), int(number_of_masks(batch)[row])
        budget = min(20, max(1, round((len(window) + 2) * 0.15)))
        assert count <= budget
        hidden = set(batch["mask_ids"][row, :count].tolist())
        first = 100
        for length in words[row]:
            here = {token for token in range(first, first + length) if token in window}
            cut_words += 0 < len(here) < length
            assert here <= hidden or not here & hidden
            assert not here or here <= hidden or len(here) > budget - count
            first += length
    assert cut_words > 50, "a word at the edge counts with what the window leaves of it"


def test_what_windows_leave_of_words():
    words = ragged([[2, 3, 1], [4], [1, 1, 1, 5]])
    starts, lengths = tf.constant([0 + 1, 6 + 0, 10 + 2]), tf.constant([3, 4, 4])
    found = dynamic_masking.words_in_windows(words, starts, lengths)
    assert found.numpy().tolist() == [[1, 2], [4, 0], [1, 3]]


@pytest.mark.parametrize(
    ("sizes", "budget"),
    [([1, 2, 1], 2), ([2, 3, 1, 2], 4), ([4, 1, 3, 2, 2], 5), ([3, 3, 2, 2, 1, 1], 6), ([5, 4, 3], 2), ([1, 6, 7], 3)],
)
def test_words_are_tried_in_random_order_as_google_does(sizes, budget):
    # All orders are equally likely; a word that does not fit is passed over and the next one tried.
    expected: Counter[tuple[int, ...]] = Counter()
    for order in itertools.permutations(range(len(sizes))):
        taken: list[int] = []
        for word in order:
            if sum(sizes[other] for other in taken) + sizes[word] <= budget:
                taken.append(word)
        expected[tuple(sorted(taken))] += 1 / math.factorial(len(sizes))
    rows = 30_000
    padded = np.tile(sizes + [0, 0], (rows, 1)).astype(np.int32)
    chosen = dynamic_masking.choose_words(tf.constant(padded), tf.fill([rows], budget), tf.constant([2, 3])).numpy()
    found = Counter(tuple(np.flatnonzero(row).tolist()) for row in chosen)
    assert set(found) == set(expected)
    for outcome, share in expected.items():
        assert abs(found[outcome] / rows - share) <= ERRORS * math.sqrt(share * (1 - share) / rows)


def test_no_word_fits_no_prediction():
    batch = masked(consecutive([5]), ragged([[3, 2]]), dataclasses.replace(WHOLE_WORDS, max_predictions_per_seq=1))
    assert number_of_masks(batch).tolist() == [0]
    assert unmasked(batch, 0) == [100, 101, 102, 103, 104]
    assert batch["token_ids"][0, :7].tolist() == [START, 100, 101, 102, 103, 104, END]


@pytest.mark.parametrize("whole_words", [False, True])
def test_masks_are_a_function_of_the_key(whole_words):
    lengths = np.random.default_rng(1).integers(1, 300, 64)
    words = ragged(random_words(np.random.default_rng(2), lengths)) if whole_words else None
    token_ids, record_format = consecutive(lengths), dataclasses.replace(PAPER, whole_words=whole_words)

    def batches(parallel_calls):
        dataset = tf.data.Dataset.range(6).map(
            lambda number: dynamic_masking.cut_and_mask(token_ids, words, record_format, tf.stack([7, number])),
            num_parallel_calls=parallel_calls,
        )
        return list(dataset.as_numpy_iterator())

    one, several = batches(1), batches(3)
    for number in range(6):
        eager = masked(token_ids, words, record_format, key=(7, number))
        for name, value in eager.items():
            np.testing.assert_array_equal(one[number][name], value, err_msg=name)
            np.testing.assert_array_equal(several[number][name], value, err_msg=name)
    for number, other in itertools.combinations(range(6), 2):
        assert (one[number]["mask_positions"] != one[other]["mask_positions"]).mean() > 0.5
        assert (one[number]["token_ids"] != one[other]["token_ids"]).any(axis=1).mean() > 0.9
    other_seed = masked(token_ids, words, record_format, key=(8, 0))
    assert (other_seed["mask_positions"] != one[0]["mask_positions"]).mean() > 0.5

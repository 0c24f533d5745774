"""Intervals and tests against scikit-learn, exhaustive enumeration and plain loops."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import f1_score

from benchmarks import scores


def f1(true, predicted):
    return f1_score(true, predicted, average="macro", zero_division=0)


def f1_in_plain_python(true, predicted):
    found = []
    for label in {*true, *predicted}:
        right = sum(a == b == label for a, b in zip(true, predicted, strict=True))
        found.append(2 * right / (list(true).count(label) + list(predicted).count(label)))
    return sum(found) / len(found)


def answers_to(rng, true, share_right, num_classes, seeds):
    wrong = [rng.integers(0, num_classes, len(true)) for _ in range(seeds)]
    return [np.where(rng.random(len(true)) < share_right, true, other) for other in wrong]


def test_macro_f1_is_scikit_learns():
    rng = np.random.default_rng(1)
    for _ in range(50):
        true, predicted = rng.integers(0, 4, 12), rng.integers(0, 5, 12)
        assert scores.macro_f1(true, predicted, 5) == pytest.approx(f1(true, predicted))


def test_a_bootstrapped_score_is_that_of_the_drawn_texts():
    rng = np.random.default_rng(2)
    true = rng.integers(0, 3, 40)
    answers = answers_to(rng, true, 0.6, 3, 2)
    found = scores.bootstrap(true, answers, 3, 30)
    for weights, score in zip(scores._resamples(40, 30), found, strict=True):
        assert weights.sum() == 40
        drawn = np.repeat(np.arange(40), weights.astype(int))
        assert score == pytest.approx(np.mean([f1(true[drawn], answer[drawn]) for answer in answers]))


def test_a_bootstrapped_mean_of_indicators_has_the_binomial_spread():
    # One class is always answered rightly in half of the texts: accuracy's standard error is known.
    draws = scores._resamples(100, 4000)
    right = np.arange(100) < 50
    assert (draws @ right / 100).std() == pytest.approx(0.05, rel=0.05)
    low, high = scores.interval(draws @ right / 100)
    assert low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.011) and high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.011)


def test_the_p_value_is_that_of_all_exchanges():
    rng = np.random.default_rng(3)
    for share in (0.3, 0.9):
        true = rng.integers(0, 2, 8)
        first, second = answers_to(rng, true, share, 2, 2), answers_to(rng, true, 0.3, 2, 2)

        def difference(one, other, true=true):
            pairs = zip(one, other, strict=True)
            return abs(np.mean([f1_in_plain_python(true, a) - f1_in_plain_python(true, b) for a, b in pairs]))

        observed = difference(first, second)
        as_large = 0
        for exchanged in itertools.product([False, True], repeat=8):
            swapped = [
                [np.where(exchanged, b, a) for a, b in zip(first, second, strict=True)],
                [np.where(exchanged, a, b) for a, b in zip(first, second, strict=True)],
            ]
            as_large += difference(*swapped) >= observed - 1e-12
        found = scores.approximate_randomisation(true, first, second, 2)
        assert found == pytest.approx(as_large / 2**8, abs=0.02)  # 4 standard errors of 10,000 draws


def test_equal_answers_differ_in_nothing_and_far_better_ones_surely():
    rng = np.random.default_rng(4)
    true = rng.integers(0, 3, 300)
    good, bad = answers_to(rng, true, 0.9, 3, 3), answers_to(rng, true, 0.3, 3, 3)
    assert scores.approximate_randomisation(true, bad, bad, 3) == 1
    assert scores.approximate_randomisation(true, good, bad, 3) == pytest.approx(1 / 10001)
    assert scores.approximate_randomisation(true, bad, good, 3) == pytest.approx(1 / 10001)


def test_p_values_of_models_that_are_alike_are_spread_evenly():
    rng = np.random.default_rng(5)
    found = []
    for _ in range(200):
        true = rng.integers(0, 3, 60)
        one, other = answers_to(rng, true, 0.5, 3, 2), answers_to(rng, true, 0.5, 3, 2)
        found.append(scores.approximate_randomisation(true, one, other, 3, num_exchanges=200))
    for level in (0.05, 0.2, 0.5):
        standard_error = (level * (1 - level) / 200) ** 0.5
        assert np.mean(np.array(found) <= level) == pytest.approx(level, abs=3 * standard_error + 0.005)


def test_answers_copied_to_more_seeds_do_not_make_a_difference_surer():
    rng = np.random.default_rng(6)
    true = rng.integers(0, 2, 80)
    (one,), (other,) = answers_to(rng, true, 0.6, 2, 1), answers_to(rng, true, 0.4, 2, 1)
    once = scores.approximate_randomisation(true, [one], [other], 2)
    assert scores.approximate_randomisation(true, [one] * 5, [other] * 5, 2) == pytest.approx(once)


def test_holm_multiplies_the_smallest_by_all_the_next_by_one_less():
    # Worked by hand: 0.01 x 4, 0.015 x 3, 0.04 x 2, then 0.045 x 1, raised to the one before.
    assert scores.holm([0.04, 0.01, 0.045, 0.015]) == pytest.approx([0.08, 0.04, 0.08, 0.045])
    assert scores.holm([0.6, 0.9]) == [1, 1]
    assert scores.holm([]) == []

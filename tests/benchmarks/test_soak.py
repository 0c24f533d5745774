"""The soak test finds what it is there for: errors, other answers, memory that grows."""

import itertools
import threading

import numpy as np
import pytest

from benchmarks import soak

BATCHES = [["a"], ["bb", "ccc"], ["dddd"] * 5]


def lengths(texts):
    return np.array([[len(text), 1.0] for text in texts], np.float32)


def test_right_answers_pass():
    found = soak.soak(lengths, [lengths] * 4, BATCHES, 0.3, 0.6)
    assert soak.passed(found) == (found["growth_percent"] <= 2)
    assert found["calls"] > 4 and not found["wrong"] and not found["errors"] and found["largest_difference"] == 0


def test_another_answer_and_an_answer_that_is_no_number_are_found():
    def mostly_right(count, value):
        return lambda texts: lengths(texts) if next(count) % 50 else lengths(texts) + value

    for value in (1e-3, np.nan):
        found = soak.soak(lengths, [mostly_right(itertools.count(), value), lengths], BATCHES, 0.1, 0.2)
        assert found["wrong"] > 0 and not soak.passed(found)


def test_an_error_of_one_thread_is_found():
    def fail(texts):
        raise RuntimeError(f"no interpreter of my own in {threading.current_thread().name}")

    found = soak.soak(lengths, [lengths, fail], BATCHES, 0.1, 0.2)
    assert len(found["errors"]) == 1 and found["errors"][0].startswith("RuntimeError: no interpreter of my own")
    assert not soak.passed(found) and "FAILED" in soak.verdict(found)


def test_growth_is_taken_after_the_warm_up():
    samples = [(moment / 10, 100 if moment < 50 else 1000 + moment) for moment in range(150)]  # 5 s, then 10 s
    before, after = soak.growth_of(samples, 5.0, 10.0)
    assert before == pytest.approx(sum(range(1050, 1060)) / 10) and after == pytest.approx(sum(range(1140, 1150)) / 10)


def test_memory_that_grows_is_found():
    kept = []

    def leaking(texts):
        kept.append(np.ones(1 << 14, np.float32))
        threading.Event().wait(0.002)
        return lengths(texts)

    found = soak.soak(lengths, [leaking] * 4, BATCHES, 0.5, 2.0)
    assert found["growth_percent"] > 2 and not soak.passed(found)

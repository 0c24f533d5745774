"""The strategy's own data sets."""

import os

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.data.ops import dataset_ops

from chemkd_tf.data.datasets import EncodedTexts, labelled_batches, labelled_examples
from chemkd_tf.training.strategy import make_strategy

EXAMPLES = EncodedTexts(np.ones((6, 4), "int32"), np.full(6, 4, "int32"), np.arange(6, dtype="int32"))


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("grouped", [True, False])
def test_no_thread_tunes_a_data_set_while_it_is_read(monkeypatch, replicas, grouped):
    """Each such thread may hold up the end of a training by a minute."""
    tuned = []
    iterate = dataset_ops.DatasetV2.__iter__

    def spy(dataset):
        tuned.append(dataset.options().autotune.enabled)
        return iterate(dataset)

    monkeypatch.setattr(dataset_ops.DatasetV2, "__iter__", spy)
    strategy = make_strategy(replicas)
    for dataset in (
        labelled_batches(EXAMPLES, 2, 1, 3, 0, replicas, group_by_length=grouped),
        labelled_examples(EXAMPLES, 2, replicas),
    ):
        distributed = strategy.experimental_distribute_dataset(dataset)
        assert len(list(distributed)) == 3
        assert len(list(dataset)) == 3
    # One for each device, twice; one for the data set itself, twice.
    assert tuned == ([False] * replicas + [False]) * 2


@pytest.mark.parametrize(
    ("cores", "environment", "replicas", "is_recurrent", "expected"),
    [
        (2, {}, 1, True, [1]),
        (4, {}, 0, True, [1]),
        (8, {}, 1, True, []),
        (2, {}, 1, False, []),
        (2, {}, 2, True, []),  # they have the cores already
        (2, {"TF_NUM_INTRAOP_THREADS": "2"}, 1, True, []),
    ],
)
def test_a_recurrence_has_its_operations_side_by_side_on_few_cores(
    monkeypatch, cores, environment, replicas, is_recurrent, expected
):
    make_strategy(replicas)  # splits the CPU, where it is whole yet
    asked = []
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(tf.config.threading, "set_intra_op_parallelism_threads", asked.append)
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    make_strategy(replicas, is_recurrent)
    assert asked == expected

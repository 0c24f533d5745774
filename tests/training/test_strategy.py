"""The strategy's own data sets."""

import numpy as np
import pytest
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

"""What several machines need that one process can show. Two processes: tests/test_several_machines.py."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from chemkd_tf.errors import InputError
from chemkd_tf.training import chief, multi_worker, restarts
from chemkd_tf.training.cluster import Cluster
from chemkd_tf.training.strategy import make_strategy

CLUSTER = Cluster(("worker 0", "worker 1", "worker 2"), ("a:1", "b:1", "c:1"), 1)
# As TensorFlow 2.21 wrote them when a worker was killed, when one did not come, and when the chief began again.
KILLED = (
    "Collective ops is aborted by: Error reported from /job:worker/task:2: The following tasks are unhealthy (stopped "
    "sending heartbeats):\n/job:worker/replica:0/task:2\nThe tasks have crashed."
)
MISSING = (
    "Barrier timed out. The first task at the barrier: /job:worker/replica:0/task:0. Some timed out task names:\n"
    "/job:worker/replica:0/task:2\n"
)
BEGUN_AGAIN = (
    "Graph execution error:\n\nCollective ops is aborted by: Task with task_name=/job:worker/replica:0/task:1 must be "
    "registered before sending heartbeat messages. The service might have restarted"
)


def rows(dataset):
    return [{name: value.tolist() for name, value in batch.items()} for batch in dataset.as_numpy_iterator()]


@pytest.mark.parametrize(("replicas", "per_machine"), [(2, 1), (4, 2), (6, 3), (1, 1)])
@pytest.mark.parametrize("sizes", [(12, 12), (12, 24)])
def test_the_slices_of_all_replicas_are_the_global_batch(replicas, per_machine, sizes):
    batches = [
        {
            "token_ids": np.arange(size * width).reshape(size, width) + 1000 * width,
            "weight": np.arange(size) + width / 2,
        }
        for size, width in zip(sizes, (3, 5), strict=True)  # trimmed batches differ in width, batches of tokens in rows
    ]
    static = sizes[0] if sizes[0] == sizes[1] else None
    dataset = tf.data.Dataset.from_generator(
        lambda: iter(batches),
        output_signature={"token_ids": tf.TensorSpec([static, None], tf.int64), "weight": tf.TensorSpec([static])},
    )
    machines = []
    for first in range(0, replicas, per_machine):
        sliced = multi_worker.slices_of_replicas(dataset, replicas, range(first, first + per_machine))
        assert sliced.element_spec["token_ids"].shape.as_list() == [static and static // replicas, None]
        machines.append(rows(sliced))
    for k, batch in enumerate(batches):
        shares = [share for of_machine in machines for share in of_machine[k * per_machine : (k + 1) * per_machine]]
        for name, value in batch.items():
            assert [row for share in shares for row in share[name]] == value.tolist()


@pytest.mark.parametrize(
    ("message", "named"),
    [(KILLED, "worker 2 (c:1)"), (MISSING, "worker 2 (c:1)"), (BEGUN_AGAIN, "worker 0 (a:1)"), ("?", "worker 0 (a:1)")],
)
def test_the_missing_worker_is_named(message, named):
    assert multi_worker.missing(CLUSTER, message) == named


@pytest.mark.parametrize(
    ("error", "is_loss"),
    [
        (tf.errors.UnavailableError(None, None, KILLED), True),
        (tf.errors.InvalidArgumentError(None, None, BEGUN_AGAIN), True),
        (tf.errors.InvalidArgumentError(None, None, "indices[0] = 7 is not in [0, 5)"), False),
        (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating"), False),
        (tf.errors.DataLossError(None, None, "corrupted record at 0"), False),
    ],
)
def test_a_lost_worker_is_told_from_an_error_of_our_own(error, is_loss):
    assert restarts.is_loss(error) is is_loss


@pytest.fixture
def worker(monkeypatch):
    """This process as worker 1 of 2; what it would have executed, and no pause."""
    content = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(content))
    monkeypatch.setenv("CHEMKD_TF_RESTARTS", "0:0")
    monkeypatch.setattr(restarts.time, "sleep", lambda seconds: None)
    executed = []
    monkeypatch.setattr(restarts, "_execute_again", lambda: executed.append(os.environ["CHEMKD_TF_RESTARTS"]))
    return executed


def lose():
    raise tf.errors.UnavailableError(None, None, "Connection reset by peer")


def test_a_worker_that_loses_another_begins_again(worker, capfd):
    restarts.run_as_worker(lose)
    assert worker == ["1:0"]
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("worker 0 (a:1) can't be reached: if its process has ended, start the same command there")


def test_it_gives_up_when_the_run_does_not_get_on(worker):
    for _ in range(restarts.MOST_ATTEMPTS):
        restarts.run_as_worker(lose)
    with pytest.raises(
        InputError, match=r"worker 0 \(a:1\) can't be reached, 10 times since the checkpoint of update 0"
    ):
        restarts.run_as_worker(lose)
    assert len(worker) == restarts.MOST_ATTEMPTS


def test_a_later_checkpoint_makes_the_count_begin_anew(worker):
    for update, expected in ((0, "1:0"), (0, "2:0"), (40, "1:40"), (40, "2:40"), (30, "3:40")):
        restarts.note_progress(update)
        restarts.run_as_worker(lose)
        assert worker[-1] == expected


def test_the_chief_alone_reports(worker, capsys):
    assert restarts.run_as_worker(lambda: print("progress") or 7) == 7
    assert capsys.readouterr().out == ""


def test_without_other_workers_nothing_is_caught(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(tf.errors.UnavailableError):
        restarts.run_as_worker(lose)


def test_one_process_is_its_own_chief():
    strategy = make_strategy(2)
    assert multi_worker.is_chief(strategy) and not multi_worker.is_multi_worker(strategy)
    assert chief.from_chief(strategy, lambda: {"answer": 42}) == {"answer": 42}

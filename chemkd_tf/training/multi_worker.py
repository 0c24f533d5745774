"""Several machines: the strategy over all their devices, each replica's slice of the batch, and the remedy for `fit`.

The workers form a cluster only when all of them are there (TensorFlow's coordination service, with a barrier at its
registration), and find out by missed heartbeats that one is gone. What happens then: `restarts`. What is read and
written by the chief alone: `chief`.
"""

import contextlib
import functools
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator

import keras
import tensorflow as tf
from tensorflow.python.eager import context

from chemkd_tf import startup
from chemkd_tf.data.datasets import untuned
from chemkd_tf.errors import InputError
from chemkd_tf.training.cluster import Cluster

# How long workers wait for each other before they give up; the environment may say otherwise.
WAIT_VARIABLE = "CHEMKD_TF_WORKER_WAIT_SECONDS"
WAIT_SECONDS = 600
# A worker that is silent for so long is gone. TensorFlow's 10 are little for a machine that is busy swapping.
_HEARTBEAT_SECONDS = 20
_TASK = re.compile(r"/job:(\w+)(?:/replica:\d+)?/task:(\d+)")


def is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    """Whether other processes train along."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process reads and writes the run's folder: the only one, or the first worker."""
    return not is_multi_worker(strategy) or strategy.extended.should_checkpoint


@functools.cache
def make_multi_worker_strategy(cluster: Cluster, num_replicas: int = 0) -> tf.distribute.MultiWorkerMirroredStrategy:
    """Waits for all workers and returns a strategy over their devices; can be made once in a process.

    Args:
        cluster: read from TF_CONFIG, which TensorFlow reads again.
        num_replicas: GPUs to use on this machine; 0: all. Without GPUs a worker has one replica, the CPU.

    Raises:
        InputError: more replicas than devices, or the other workers did not come in time.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if num_replicas > max(len(gpus), 1):
        devices = f"{len(gpus)} GPU(s)" if gpus else "no GPU, and a worker on a CPU has one replica: start more workers"
        raise InputError(f"--num_replicas={num_replicas}: this machine has {devices}")
    if gpus and num_replicas:
        tf.config.set_visible_devices(gpus[:num_replicas], "GPU")
    seconds = int(os.environ.get(WAIT_VARIABLE, WAIT_SECONDS))
    _configure_coordination_service(cluster, seconds)
    print(
        f"{cluster.describe(cluster.index)} of {len(cluster.names)} workers: waiting for the others, at most "
        f"{seconds:,} s",
        file=sys.stderr,
        flush=True,
    )
    try:
        with _default_ctrl_c(), startup.filtered_stderr():
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.DeadlineExceededError as error:
        raise InputError(f"{missing(cluster, str(error))} did not come within {seconds:,} s: {START_AGAIN}") from None
    except (tf.errors.UnknownError, tf.errors.InternalError) as error:
        if "start gRPC server" not in str(error):
            raise
        raise InputError(
            f"TF_CONFIG: {cluster.describe(cluster.index)} can't listen at its port on this machine: is it in use, or "
            "is the index another machine's?"
        ) from None
    # All workers read the same number of batches, so nobody has to ask the others at every one whether there is more.
    strategy.extended.experimental_enable_get_next_as_optional = False
    return strategy


START_AGAIN = "start the same command on every machine of TF_CONFIG; the run goes on from its last checkpoint"


def missing(cluster: Cluster, message: str) -> str:
    """Names the workers that a message of TensorFlow's names, without this one; the chief if it names none."""
    _, _, timed_out = message.rpartition("timed out task names:")
    named = {f"{job} {number}" for job, number in _TASK.findall(timed_out or message)}
    others = [i for i, name in enumerate(cluster.names) if name in named and i != cluster.index]
    if others:
        return " and ".join(map(cluster.describe, others))
    return "the other workers" if cluster.is_chief else cluster.describe(0)


def distribute(strategy: tf.distribute.Strategy, dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Shares out global batches: replica r takes the r-th slice of every batch, whatever machine it is on.

    Args:
        strategy: of one machine, or of several. On one, `dataset` comes back as it is if a strategy divides it anyway.
        dataset: global batches whose size is a multiple of the number of replicas; on every worker the same.

    Returns:
        A distributed data set. (TensorFlow's own sharding would hand whole files or batches to a worker.)
    """
    if not is_multi_worker(strategy):
        return strategy.experimental_distribute_dataset(dataset)

    def slices_here(pipeline: tf.distribute.InputContext) -> tf.data.Dataset:
        here = pipeline.num_replicas_in_sync // pipeline.num_input_pipelines
        first = pipeline.input_pipeline_id * here
        return slices_of_replicas(dataset, pipeline.num_replicas_in_sync, range(first, first + here))

    return strategy.distribute_datasets_from_function(slices_here)


def slices_of_replicas(dataset: tf.data.Dataset, num_replicas: int, replicas: range) -> tf.data.Dataset:
    """The slices of `replicas`, one after the other, batch by batch.

    Args:
        dataset: global batches `[B, ...]`, B a multiple of `num_replicas`; where B is static, so is a slice's size.
        num_replicas: on all machines.
        replicas: those of this machine.
    """

    def slices(batch):
        def of_here(value):
            size = tf.shape(value)[0] // num_replicas
            mine = value[replicas.start * size : replicas.stop * size]
            return tf.reshape(mine, tf.concat([[len(replicas), size], tf.shape(value)[1:]], 0))

        return tf.nest.map_structure(of_here, batch)

    shared = dataset.map(slices).unbatch()
    # The reshape forgets which dimensions were static; the LSTM wants the number of rows.
    shapes = {
        name: [spec.shape[0] and spec.shape[0] // num_replicas, *spec.shape[1:]]
        for name, spec in dataset.element_spec.items()
    }
    shared = shared.map(lambda batch: {name: tf.ensure_shape(value, shapes[name]) for name, value in batch.items()})
    return untuned(shared.prefetch(2 * len(replicas)))


def prepare_fit(model: keras.Model, strategy: tf.distribute.Strategy) -> None:
    """Makes `model.fit` work under a MultiWorkerMirroredStrategy; does nothing under any other.

    The one place that works around Keras (3.15, keras/src/backend/tensorflow/trainer.py):

    - `_maybe_symbolic_build` feeds a first batch through `Strategy.reduce("MEAN")`, which fails on ids and on
      PerReplica values, and throws the batch away. The model is built: there is nothing to be done.
    - `reduce_per_replica` takes the mean of the logs over the workers along axis 0, which scalars don't have. Ours are
      all-reduced in the train step and equal everywhere: the first replica's are taken, and no collective is spent.

    `fit` takes a `train_function` that is there already; `compile` forgets it, so this comes after.
    """
    if not is_multi_worker(strategy):
        return

    @tf.function(reduce_retracing=True)
    @tf.autograph.experimental.do_not_convert
    def train_function(iterator):
        logs = strategy.run(model.train_step, args=(iterator.get_next(),))
        return tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0], logs)

    model._maybe_symbolic_build = lambda *arguments, **keywords: None
    model.train_function = train_function


def _configure_coordination_service(cluster: Cluster, wait_seconds: int) -> None:
    """What MultiWorkerMirroredStrategy would configure itself, with limits, and with a barrier at registration.

    Without the barrier the chief waits for an hour, and in a call that nothing ends.
    """
    protocol = context.coordination_config_pb2
    jobs = [name.split()[0] for name in cluster.names]
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader=f"/job:{jobs[0]}/replica:0/task:0",
        cluster_register_timeout_in_ms=wait_seconds * 1000,
        heartbeat_timeout_in_ms=_HEARTBEAT_SECONDS * 1000,
        shutdown_barrier_timeout_in_ms=_HEARTBEAT_SECONDS * 1000,
        coordinated_jobs=[protocol.CoordinatedJob(name=job, num_tasks=jobs.count(job)) for job in dict.fromkeys(jobs)],
    )
    context.context().coordination_service.cluster_register_with_barrier = True


@contextlib.contextmanager
def _default_ctrl_c() -> Iterator[None]:
    """Lets Ctrl-C end the process at once: Python's own handler would not run before the C++ call returns."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

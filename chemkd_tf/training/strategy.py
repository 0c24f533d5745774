"""The devices a stage runs on: a MirroredStrategy even on one device, so that one replica is no special case."""

import functools
import os

import keras
import tensorflow as tf
from tensorflow.python.data.ops import multi_device_iterator_ops

from chemkd_tf import startup
from chemkd_tf.data.datasets import untuned
from chemkd_tf.errors import InputError
from chemkd_tf.training.cluster import cluster_from_environment
from chemkd_tf.training.multi_worker import make_multi_worker_strategy

_FEW_CORES = 4


def make_strategy(
    num_replicas: int = 0, is_recurrent: bool = False
) -> tf.distribute.MirroredStrategy | tf.distribute.MultiWorkerMirroredStrategy:
    """Returns a MirroredStrategy over GPUs, or over logical CPU devices where there is no GPU.

    Where TF_CONFIG names several workers, it is a MultiWorkerMirroredStrategy over the devices of all of them.

    Args:
        num_replicas: how many devices of this machine; 0 takes every GPU, or one CPU.
        is_recurrent: a BiLSTM is trained, and no transformer beside it. On a CPU of few cores they then take operations
            side by side, such as the directions of a layer, rather than share each operation.

    Raises:
        InputError: more replicas than devices; TF_CONFIG is broken, or its workers don't come.
    """
    cluster = cluster_from_environment()
    if cluster:
        _keep_devices_untuned()
        strategy = make_multi_worker_strategy(cluster, num_replicas)
        startup.run_first_operation_quietly()
        return strategy
    # Physical ones first: to ask for logical devices fixes them, and a CPU can then no longer be split.
    if tf.config.list_physical_devices("GPU"):
        gpus = tf.config.list_logical_devices("GPU")
        if num_replicas > len(gpus):
            raise InputError(f"--num_replicas={num_replicas}: this machine has {len(gpus)} GPU(s)")
        return _mirrored(tuple(device.name for device in gpus[: num_replicas or None]))
    num_replicas = num_replicas or 1
    _split_cpu(num_replicas)
    if is_recurrent and num_replicas == 1:
        _give_each_operation_one_core()
    devices = tf.config.list_logical_devices("CPU")
    if num_replicas > len(devices):
        raise InputError(
            f"--num_replicas={num_replicas}: no GPU here, and TensorFlow already runs with {len(devices)} CPU device(s)"
        )
    return _mirrored(tuple(device.name for device in devices[:num_replicas]))


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.MirroredStrategy:
    """One strategy for one set of devices: two of them number their collectives alike, and TensorFlow aborts both."""
    startup.run_first_operation_quietly()
    _keep_devices_untuned()
    return tf.distribute.MirroredStrategy(list(devices))


_create_device_dataset = multi_device_iterator_ops._create_device_dataset


def _keep_devices_untuned() -> None:
    multi_device_iterator_ops._create_device_dataset = _untuned_device_dataset


def _untuned_device_dataset(*arguments, **keywords) -> tf.data.Dataset:
    """What a strategy keeps ready for one device, untuned as well; the strategy has no option for it."""
    return untuned(_create_device_dataset(*arguments, **keywords))


def _split_cpu(num_replicas: int) -> None:
    """Splits the CPU into logical devices, if TensorFlow has not fixed its devices yet."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    if num_replicas == 1 or tf.config.get_logical_device_configuration(cpu):
        return
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * num_replicas)
        # The replicas work at the same time: each gets its share of the cores.
        tf.config.threading.set_intra_op_parallelism_threads(max((os.cpu_count() or 1) // num_replicas, 1))
    except RuntimeError:
        pass  # devices are fixed; the caller counts them


def _give_each_operation_one_core() -> None:
    """Keeps TensorFlow from sharing the small products of a recurrence between cores: to meet costs more than it saves.

    In one look, an update of the student (3 x 200, 16 texts of 64 tokens) took 81 ms so and 127 ms otherwise on two
    cores, 139 ms on one. With many cores, what is large (the embedding's update) would wait for one of them; that was
    not measured, so nothing changes there, nor where the environment says how many threads an operation has.
    """
    if (os.cpu_count() or 1) > _FEW_CORES or "TF_NUM_INTRAOP_THREADS" in os.environ:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
    except RuntimeError:
        pass  # TensorFlow runs already


def set_seed_and_precision(random_seed: int, mixed_bfloat16: bool) -> None:
    """Seeds Python, NumPy and TensorFlow (initial weights), and sets Keras's global dtype policy."""
    keras.utils.set_random_seed(random_seed)
    keras.mixed_precision.set_global_policy("mixed_bfloat16" if mixed_bfloat16 else "float32")

"""What the chief reads or writes on behalf of all workers. With one process, that process is the chief.

The run's folder is the chief's alone: checkpoints are restored there and sent to the others, which need not see it.
Everything travels as float32 through the strategy's own all-reduce, to which the chief adds its values and the others
zeros, so that every value arrives as it was.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from chemkd_tf.data.manifest import Manifest
from chemkd_tf.errors import InputError
from chemkd_tf.training import restarts
from chemkd_tf.training.checkpoints import StepCheckpoints
from chemkd_tf.training.multi_worker import is_chief, is_multi_worker
from chemkd_tf.workdir import FREE_TO_CHANGE, WorkingDirectory

# One size for everything: a collective remembers the shape it began with.
_CHUNK = 2**20
_MAY_DIFFER = FREE_TO_CHANGE - {"num_replicas", "eval_batch_size", "do_train", "do_eval"} | {"output_dir"}


def from_chief(strategy: tf.distribute.Strategy, make: Callable[[], Any]) -> Any:
    """Calls `make` on the chief; every worker returns when it has, with what it returned.

    Args:
        strategy: whose workers all call this.
        make: called on the chief alone; returns a JSON value.

    Raises:
        InputError: `make` raised it, on every worker.
    """
    if not is_multi_worker(strategy):
        return make()
    answer = {}
    if is_chief(strategy):
        try:
            answer = {"value": make()}
        except InputError as error:
            answer = {"error": str(error)}
    message = np.frombuffer(json.dumps(answer).encode(), np.uint8).astype(np.float32)
    # The first chunk begins with the length, in two digits to the base 2^20: float32 counts to 2^24 only.
    message = np.concatenate([np.array(divmod(len(message), _CHUNK), np.float32), message])
    first = _sum(strategy, message[:_CHUNK])
    length = 2 + int(first[0]) * _CHUNK + int(first[1])
    parts = [first, *(_sum(strategy, message[start : start + _CHUNK]) for start in range(_CHUNK, length, _CHUNK))]
    answer = json.loads(np.concatenate(parts)[2:length].astype(np.uint8).tobytes())
    if "error" in answer:
        raise InputError(answer["error"])
    return answer["value"]


def variables_from_chief(strategy: tf.distribute.Strategy, variables: Iterable[keras.Variable]) -> None:
    """Gives every worker the chief's values; `variables` stand in the same order everywhere."""
    if not is_multi_worker(strategy):
        return
    variables = list(variables)
    floats = [variable for variable in variables if variable.dtype == "float32"]
    others = [variable for variable in variables if variable.dtype != "float32"]  # counters and seeds: a few numbers
    for variable, value in zip(others, from_chief(strategy, lambda: [v.numpy().tolist() for v in others]), strict=True):
        variable.assign(np.array(value, variable.dtype))
    for group in _groups(floats):
        values = np.concatenate([variable.numpy().ravel() for variable in group])
        starts = range(0, len(values), _CHUNK)
        values = np.concatenate([_sum(strategy, values[start : start + _CHUNK]) for start in starts])
        for variable in group:
            size = int(np.prod(variable.shape))
            variable.assign(values[:size].reshape(variable.shape))
            values = values[size:]


def restore(strategy: tf.distribute.Strategy, model: keras.Model, checkpoints: StepCheckpoints) -> int:
    """Restores the chief's newest checkpoint on every worker, or gives them its initial values.

    Returns:
        The number of updates it was made after; 0 if there is none.

    Raises:
        InputError: it belongs to another model or is damaged.
    """

    def restore_here() -> dict:
        step = checkpoints.restore()
        return {"step": step, "memory": checkpoints.host.values}

    restored = from_chief(strategy, restore_here)
    if is_multi_worker(strategy):
        checkpoints.host.values = restored["memory"]
        variables_from_chief(strategy, [*model.weights, *model.optimizer.variables])
        restarts.note_progress(restored["step"])
    return restored["step"]


def working_directory(
    strategy: tf.distribute.Strategy, stage: str, config: Any, *records: Manifest | None
) -> WorkingDirectory:
    """Begins the run's folder on the chief, once all workers are found to do the same.

    Args:
        strategy: whose workers all call this.
        stage: see `WorkingDirectory.begin`.
        config: settings of this worker.
        *records: what it reads.

    Raises:
        InputError: see `WorkingDirectory.begin`; or a worker has other settings or other records than the chief.
    """

    mine = json.loads(json.dumps({**dataclasses.asdict(config), "records": [_summary(each) for each in records]}))
    chiefs = from_chief(strategy, lambda: mine)
    complaint = ""
    for name, value in mine.items():
        if name not in _MAY_DIFFER and value != chiefs[name]:
            complaint = complaint or (
                "the records here are not those of the chief: give every machine the same files"
                if name == "records"
                else f"--{name}={value} here, but the chief has {chiefs[name]}: give every machine the same command"
            )
    if is_multi_worker(strategy) and _sum(strategy, np.array([bool(complaint)], np.float32), of_all=True)[0]:
        raise InputError(complaint or "another worker has other settings or records than the chief: see what it says")
    from_chief(strategy, lambda: WorkingDirectory(config.output_dir).begin(stage, config))
    return WorkingDirectory(config.output_dir, writes=is_chief(strategy))


def _summary(records: Manifest | None) -> list | None:
    """What has to be the same on every machine; the folder may be another."""
    if records is None:
        return None
    names = [shard.replace("\\", "/").rpartition("/")[2] for shard in records.shards]
    return [names, list(records.shard_samples), dataclasses.asdict(records.format)]


def _groups(variables: list[keras.Variable]) -> list[list[keras.Variable]]:
    """Neighbours that together fill a few chunks: not a collective for every bias, nor a second copy of the model."""
    groups, size = [[]], 0
    for variable in variables:
        if size > 16 * _CHUNK:
            groups, size = [*groups, []], 0
        groups[-1].append(variable)
        size += int(np.prod(variable.shape))
    return [group for group in groups if group]


def _sum(strategy: tf.distribute.Strategy, values: np.ndarray, of_all: bool = False) -> np.ndarray:
    """Adds up float32 `[<= _CHUNK]` over the workers: the chief's alone, or everybody's; returns `[_CHUNK]`."""
    mine = np.zeros(_CHUNK, np.float32)
    if of_all or is_chief(strategy):
        mine[: len(values)] = values
    return _summation(strategy)(tf.constant(mine)).numpy()


@functools.cache
def _summation(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    """The collective of `_sum`, traced once."""
    here = len(strategy.extended.worker_devices)

    def of_replica(values):
        replica = tf.distribute.get_replica_context()
        is_first = tf.equal(replica.replica_id_in_sync_group % here, 0)
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(is_first, values, tf.zeros_like(values)))

    @tf.function(autograph=False)
    def summation(values):
        return strategy.experimental_local_results(strategy.run(of_replica, args=(values,)))[0]

    return summation

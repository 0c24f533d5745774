"""A pool of processes that each keep one worker object between calls."""

import concurrent.futures
import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from typing import Any

from chemkd_tf import startup


class WorkerPool:
    """Context manager: a function (task, count) that yields task(worker, 0), ... task(worker, count - 1) in order.

    Args:
        make_worker: a class or function of a module; `make_worker(job)` is called once in each process.
        job: what the worker needs to know; must pickle.
        num_workers: processes. One or fewer: no process is started, the tasks run in this one, as results are asked
            for. More: spawned processes, because one forked from a process that runs TensorFlow's threads can hang.

    A task must be a function of a module. Its exception reaches the caller; a process that dies (out of memory, say)
    raises concurrent.futures.process.BrokenProcessPool.
    """

    def __init__(self, make_worker: Callable[[Any], Any], job: Any, num_workers: int):
        self._make_worker, self._job, self._num_workers = make_worker, job, num_workers
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None

    def __enter__(self) -> Callable[[Callable, int], Iterator[Any]]:
        if self._num_workers <= 1:
            worker = self._make_worker(self._job)
            return lambda task, count: (task(worker, index) for index in range(count))
        # Pickled here, so that the process imports TensorFlow where `_start` can keep it quiet.
        start = pickle.dumps((self._make_worker, self._job))
        self._pool = concurrent.futures.ProcessPoolExecutor(
            self._num_workers, multiprocessing.get_context("spawn"), _start, (start,)
        )
        return lambda task, count: self._pool.map(_call, [task] * count, range(count))

    def __exit__(self, *exception: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)


_worker: Any = None  # In a spawned process: its own.


def _start(pickled: bytes) -> None:
    global _worker
    startup.import_tensorflow_quietly()
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")  # Text needs none, and every process would take memory there.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    make_worker, job = pickle.loads(pickled)
    _worker = make_worker(job)


def _call(task: Callable, index: int) -> Any:
    return task(_worker, index)

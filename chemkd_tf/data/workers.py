"""A pool of processes that each keep one worker object between calls."""

import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


class WorkerPool:
    """Context manager: a function (task, count) that yields task(worker, 0), ... task(worker, count - 1) in order.

    Args:
        make_worker: a class or function of a module; `make_worker(job)` is called once in each process.
        job: what the worker needs to know; must pickle.
        num_workers: processes. One or fewer: no process is started, the tasks run in this one, as results are asked
            for. More: spawned processes, because one forked from a process with threads (TensorFlow's, say) can hang.

    A task must be a function of a module. Its exception reaches the caller; a process that dies (out of memory, say)
    raises concurrent.futures.process.BrokenProcessPool. Ctrl-C interrupts the caller alone; the processes end with it,
    however it ends.
    """

    def __init__(self, make_worker: Callable[[Any], Any], job: Any, num_workers: int):
        self._make_worker, self._job, self._num_workers = make_worker, job, num_workers
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None

    def __enter__(self) -> Callable[[Callable, int], Iterator[Any]]:
        if self._num_workers <= 1:
            worker = self._make_worker(self._job)
            return lambda task, count: (task(worker, index) for index in range(count))
        self._pool = concurrent.futures.ProcessPoolExecutor(
            self._num_workers, multiprocessing.get_context("spawn"), _start, (self._make_worker, self._job)
        )
        return self._map

    def _map(self, task: Callable, count: int) -> Iterator[Any]:
        with _interrupts_held():  # Processes are started here, when there are tasks for them.
            return self._pool.map(_call, [task] * count, range(count))

    def __exit__(self, *exception: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C comes at the end. A process started meanwhile holds it back too: it dies of none while it is starting."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_worker: Any = None  # In a spawned process: its own.


def _start(make_worker: Callable[[Any], Any], job: Any) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The process that started this one decides.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = make_worker(job)


def _end_with_parent() -> None:
    # The queue of tasks never ends for a worker whose parent was killed: the workers hold its other end themselves.
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _call(task: Callable, index: int) -> Any:
    return task(_worker, index)

"""A worker that is lost and comes back: the others begin again by themselves and go on from the last checkpoint.

TensorFlow's collectives can't be repaired: once a worker is gone, "restart your program". So a process whose
collective fails executes its own command again, in place, and waits for the others at the registration. Whoever or
whatever starts the lost worker again (a person, a supervisor, a cluster's scheduler) need not touch the others.
"""

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from chemkd_tf.errors import InputError
from chemkd_tf.training.cluster import Cluster, cluster_from_environment
from chemkd_tf.training.multi_worker import START_AGAIN, missing

# What collectives, and the registration of workers, raise when a worker is gone or has been started anew; or any other
# error with one of the phrases: a worker that outlives the chief's service may get InvalidArgumentError.
_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)
_PHRASES = ("Collective ops is aborted", "CoordinationService", "coordination service")
# "ATTEMPTS:UPDATE": starts since the run was last seen to get on, and the checkpoint it then went on from.
_VARIABLE = "CHEMKD_TF_RESTARTS"
# Starts without a later checkpoint in between: then it isn't the network.
MOST_ATTEMPTS = 10
_LONGEST_PAUSE = 30  # seconds


def run_as_worker(main: Callable[[], Any]) -> Any:
    """Calls `main`; if it loses another worker, executes this process's command again. For scripts only.

    Without several workers in TF_CONFIG, just calls `main`. Of several, the chief alone reports on standard output.

    Args:
        main: goes on from the last checkpoint when it is called in a new process.

    Raises:
        InputError: workers were lost `MOST_ATTEMPTS` times without a new checkpoint.
    """
    cluster = cluster_from_environment()
    if cluster is None:
        return main()
    with contextlib.ExitStack() as stack:
        if not cluster.is_chief:
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        try:
            return main()
        except tf.errors.OpError as error:
            if not is_loss(error):
                raise
            _begin_again(cluster, error)


def is_loss(error: tf.errors.OpError) -> bool:
    """Whether an error says that a worker is gone or was started anew, and not that something is wrong here."""
    return isinstance(error, _LOST) or any(phrase in error.message for phrase in _PHRASES)


def note_progress(update: int) -> None:
    """Forgets earlier starts if the run goes on from a later update than at the last one."""
    attempts, before = _history()
    if update > before:
        attempts = 0
    os.environ[_VARIABLE] = f"{attempts}:{max(update, before)}"


def _begin_again(cluster: Cluster, error: tf.errors.OpError) -> None:
    attempts, update = _history()
    lost = f"{missing(cluster, error.message)} can't be reached"
    if attempts >= MOST_ATTEMPTS:
        raise InputError(
            f"{lost}, {attempts} times since the checkpoint of update {update:,} ({_first_line(error)}): {START_AGAIN}"
        ) from None
    os.environ[_VARIABLE] = f"{attempts + 1}:{update}"
    print(
        f"{lost}: if its process has ended, start the same command there again; this worker begins again by itself, "
        "waits, and the run goes on from its last checkpoint",
        file=sys.stderr,
        flush=True,
    )
    time.sleep(min(2**attempts, _LONGEST_PAUSE))
    _execute_again()


def _history() -> tuple[int, int]:
    attempts, _, update = os.environ.get(_VARIABLE, "0:0").partition(":")
    return int(attempts), int(update)


def _first_line(error: tf.errors.OpError) -> str:
    return error.message.strip().splitlines()[0][:200] if error.message.strip() else type(error).__name__


def _execute_again() -> None:
    """Replaces this process by its own command; TensorFlow's threads and sockets vanish with it."""
    sys.stdout.flush()
    sys.stderr.flush()
    for name in os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"):
        with contextlib.suppress(OSError):
            if int(name) > 2:  # the port has to be free again
                fcntl.fcntl(int(name), fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

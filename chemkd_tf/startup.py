"""Imports TensorFlow without its start-up notes, and keeps every other message."""

import contextlib
import ctypes
import os
import re
import sys
import tempfile
from collections.abc import Iterator

from absl import logging

# C++ log lines that say nothing a user could act on: absl's notice that logging isn't set up yet, CPU features, absent
# GPU drivers. TF_CPP_MIN_LOG_LEVEL doesn't reach them: they are written before it is read.
_NOISE = re.compile(
    rb"absl::InitializeLog|oneDNN custom operations|Could not find cuda drivers|cpu_feature_guard|failed call to cuInit"
    rb"|To enable the following instructions|oneDNN supports DT_"
)


@contextlib.contextmanager
def filtered_stderr() -> Iterator[None]:
    """Collects file descriptor 2 (C++ writes there directly) and replays what isn't noise, also after an exception."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as collected:
        original = os.dup(2)
        os.dup2(collected.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            collected.seek(0)
            for line in collected:
                if not _NOISE.search(line):
                    os.write(2, line)


# Numbers of glibc's mallopt.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> bool:
    """Asks glibc to keep freed memory for the next tensor; returns whether it does.

    By default large tensors go back to the system when they are freed, and every update pays for fresh pages: in one
    look 0.18 of the 0.26 CPU seconds of a student's update (200 wide, 16 x 96 tokens). An environment that sets glibc's
    own MALLOC_ variables is left alone.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None:
        return False
    settings = {_M_MMAP_THRESHOLD: 32 << 20, _M_TRIM_THRESHOLD: 1 << 30, _M_TOP_PAD: 64 << 20}
    return all([mallopt(name, value) == 1 for name, value in settings.items()])


def import_tensorflow_quietly() -> None:
    """Imports tensorflow, tensorflow_text and keras and lists the devices, dropping TensorFlow's start-up notes."""
    keep_freed_memory()
    with filtered_stderr():
        import keras  # noqa: F401
        import tensorflow as tf
        import tensorflow_text  # noqa: F401

        tf.config.list_physical_devices()
        tf.get_logger().setLevel("ERROR")
    # TensorFlow's Python side logs at INFO through absl, once absl's app has started (sharding times and the like).
    logging.set_verbosity(logging.WARNING)


def run_first_operation_quietly() -> None:
    """Runs the operation at which oneDNN says, once per process, that it leaves integers to Eigen.

    It fixes TensorFlow's devices, so it comes after they are chosen.
    """
    import tensorflow as tf

    with filtered_stderr():
        tf.transpose(tf.ones([1, 2], tf.int64))

"""What happens around an update: logs, evaluation, checkpoints. Keras callbacks that count updates, not epochs."""

import resource
import sys
import time
from collections.abc import Callable

import keras
import tensorflow as tf

from chemkd_tf.progress import Progress
from chemkd_tf.training.checkpoints import StepCheckpoints
from chemkd_tf.training.interruption import TerminationRequest
from chemkd_tf.workdir import WorkingDirectory

# What an update says it saw; logged as so many a second.
_COUNTS = ("examples", "tokens")


class StepCallback(keras.callbacks.Callback):
    """Counts updates from where the run was resumed.

    Args:
        first_step: updates already made.
    """

    def __init__(self, first_step: int):
        super().__init__()
        self.step = first_step

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Counts the update, then calls `after_step`."""
        self.step += 1
        self.after_step(logs or {})

    def after_step(self, logs: dict) -> None:
        """Called after each update with its metrics (tensors or arrays)."""
        raise NotImplementedError


def peak_memory() -> dict[str, float]:
    """Bytes that this process (and, if there is one, its first GPU) has held at most so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"peak_memory_bytes": float(peak if sys.platform == "darwin" else peak * 1024)}
    if tf.config.list_logical_devices("GPU"):
        found["peak_gpu_memory_bytes"] = float(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    return found


class MetricsLog(StepCallback):
    """Writes metrics to metrics.jsonl, TensorBoard and the terminal.

    Args:
        workdir: the run's folder.
        first_step: updates already made.
        num_train_steps: updates at the end.
        every: updates between two points.
        label: what the progress line calls this stage.
    """

    def __init__(self, workdir: WorkingDirectory, first_step: int, num_train_steps: int, every: int, label: str):
        super().__init__(first_step)
        self._workdir = workdir
        self._every = every
        self._num_train_steps = num_train_steps
        self._label = label
        self._writer = tf.summary.create_file_writer(workdir.file("tensorboard"))
        self._last = time.perf_counter()
        self._seen = dict.fromkeys(_COUNTS, 0.0)

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Starts the progress line."""
        self._progress = Progress(self._label, self._num_train_steps, initial=self.step)

    def after_step(self, logs: dict) -> None:
        """Counts examples and tokens; every `every` updates writes the metrics."""
        for name in _COUNTS:
            self._seen[name] += float(logs[name])
        if self.step % self._every and self.step != self._num_train_steps:
            return
        metrics = {name: float(value) for name, value in logs.items() if name not in _COUNTS}
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        metrics["learning_rate"] = self.model.learning_rate_of(self.step)
        metrics |= {f"{name}_per_second": count / max(seconds, 1e-9) for name, count in self._seen.items()}
        metrics["seconds"] = seconds  # since the point before: they add up to what the training took, kills left out
        self._seen = dict.fromkeys(_COUNTS, 0.0)
        metrics |= peak_memory()
        self.write("train", metrics)
        self._progress.update(self.step, loss=metrics["loss"])

    def write(self, split: str, metrics: dict[str, float]) -> None:
        """Writes one point of the curves of `split`."""
        self._workdir.append_metrics(self.step, split, metrics)
        with self._writer.as_default(step=self.step):
            for name, value in metrics.items():
                tf.summary.scalar(f"{split}/{name}", value)
        self._writer.flush()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Ends the progress line."""
        self._progress.close()
        self._writer.close()


class Unlogged(StepCallback):
    """Takes the place of `MetricsLog` in a worker that isn't the chief."""

    def after_step(self, logs: dict) -> None:
        """Nothing."""

    def write(self, split: str, metrics: dict[str, float]) -> None:
        """Nothing."""


class Evaluation(StepCallback):
    """Evaluates every so many updates, and lets the stage decide what follows.

    Args:
        first_step: updates already made.
        every: updates between two evaluations; the last update is always evaluated.
        num_train_steps: updates at the end.
        evaluate: returns the held-out metrics.
        log: where they are written; its step is the same.
        then: called with (step, metrics); what it returns, if true, ends the training.
    """

    def __init__(
        self,
        first_step: int,
        every: int,
        num_train_steps: int,
        evaluate: Callable[[], dict[str, float]],
        log: MetricsLog | Unlogged,
        then: Callable[[int, dict[str, float]], bool] = lambda step, metrics: False,
    ):
        super().__init__(first_step)
        self._every = every
        self._num_train_steps = num_train_steps
        self._evaluate = evaluate
        self._log = log
        self._then = then

    def after_step(self, logs: dict) -> None:
        """Evaluates when it is time."""
        if self.step % self._every and self.step != self._num_train_steps:
            return
        metrics = self._evaluate()
        self._log.write("eval", metrics)
        if self._then(self.step, metrics):
            self.model.stop_training = True


class Checkpointing(StepCallback):
    """Saves a checkpoint every so many updates and at the end. Stands last, after what changes the host's state.

    Args:
        first_step: updates already made.
        every: updates between two checkpoints.
        num_train_steps: updates at the end.
        checkpoints: where they go.
        termination: when SIGTERM has come, a checkpoint is saved at once, and the training ends.
    """

    def __init__(
        self,
        first_step: int,
        every: int,
        num_train_steps: int,
        checkpoints: StepCheckpoints,
        termination: TerminationRequest,
    ):
        super().__init__(first_step)
        self._termination = termination
        self._every = every
        self._num_train_steps = num_train_steps
        self._checkpoints = checkpoints

    def after_step(self, logs: dict) -> None:
        """Saves when it is time."""
        if self._termination.received:
            self.model.stop_training = True
        if self.step % self._every == 0 or self.step == self._num_train_steps or self.model.stop_training:
            self._checkpoints.save(self.step)

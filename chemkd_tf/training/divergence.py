"""A training whose loss or gradient is no longer a number ends there, and leaves the batch that did it."""

import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from chemkd_tf.atomic import atomic_write
from chemkd_tf.errors import InputError
from chemkd_tf.training.callbacks import StepCallback
from chemkd_tf.training.checkpoints import StepCheckpoints
from chemkd_tf.workdir import WorkingDirectory

_WATCHED = ("loss", "gradient_norm")


class FiniteCheck(StepCallback):
    """Ends the training at the first update whose loss or gradient norm is NaN or infinite.

    Stands first, so that nothing is logged, evaluated or saved after such an update. It reads two numbers after every
    update, hence the host waits for the device each time: an update is not queued while the one before it still runs.
    The model in memory is spoilt by then, what lies on disk is not.

    Args:
        first_step: updates already made.
        batches_from: k to the data set that begins with global batch k: the batch is made again from it.
        workdir: where the batch is saved, as `nan_batch_<update>.npz`, an array by each name of the batch contract.
        checkpoints: named in the message.
    """

    def __init__(
        self,
        first_step: int,
        batches_from: Callable[[int], tf.data.Dataset],
        workdir: WorkingDirectory,
        checkpoints: StepCheckpoints,
    ):
        super().__init__(first_step)
        self._batches_from = batches_from
        self._workdir = workdir
        self._checkpoints = checkpoints

    def after_step(self, logs: dict) -> None:
        """Checks the update's loss and gradient norm.

        Raises:
            InputError: one of them is not finite.
        """
        if all(math.isfinite(float(logs[name])) for name in _WATCHED):
            return
        path = self._workdir.file(f"nan_batch_{self.step}.npz")
        if self._workdir.writes:
            batch = next(iter(self._batches_from(self.step - 1).take(1).as_numpy_iterator()))
            with atomic_write(path, "wb") as file:
                np.savez(file, **batch)
        values = {name: np.asarray(value) for name, value in logs.items()}
        found = ", ".join(
            f"{name} {value.ravel()[0]}" for name, value in values.items() if not np.isfinite(value).all()
        )
        newest = self._checkpoints.newest
        bfloat16 = keras.mixed_precision.global_policy().name == "mixed_bfloat16"
        raise InputError(
            f"update {self.step} is not finite ({found}), so training ended there; its batch is saved in {path}, "
            + (f"the last checkpoint is {newest}" if newest else "there is no checkpoint yet")
            + ": look at the batch, or begin again in another --output_dir with a smaller --learning_rate, a smaller "
            f"--clip_norm{',' if bfloat16 else ' or'} a longer --num_warmup_steps"
            + (" or without --mixed_bfloat16" if bfloat16 else "")
        )

"""Step-exact checkpoints: what is trained, the optimizer, and what the host remembers, in one atomic file set.

Keras's BackupAndRestore goes back to the start of an epoch; here the unit is the update. Frozen variables (the teacher
of a distillation) are left out: they come from their own folder. Dropout needs no state (see `replica_exact`), and the
order of the data is a function of the update's number.
"""

import json

import keras
import tensorflow as tf

from chemkd_tf.errors import InputError

# What TensorFlow raises for a damaged checkpoint, or for one of another model.
_UNREADABLE = (AssertionError, ValueError, IndexError, RuntimeError, tf.errors.OpError)


class HostState(tf.train.experimental.PythonState):
    """Python values that must be restored together with the weights: `values` is any JSON object."""

    def __init__(self):
        super().__init__()
        self.values: dict = {}

    def serialize(self) -> str:
        """Returns the values as JSON."""
        return json.dumps(self.values)

    def deserialize(self, string_value: str) -> None:
        """Takes the values from JSON."""
        self.values = json.loads(string_value)


class StepCheckpoints:
    """Saves and restores a compiled model at an update.

    Args:
        directory: where the checkpoints lie; the last two are kept.
        model: compiled Keras model; its trainable variables and its optimizer are saved.
    """

    def __init__(self, directory: str, model: keras.Model):
        self.host = HostState()
        # Keyed by path, not by number: a changed model is refused by name.
        trained = {variable.path.replace("/", "|"): variable.value for variable in model.trainable_variables}
        optimizer = {variable.path.replace("/", "|"): variable.value for variable in model.optimizer.variables}
        self._checkpoint = tf.train.Checkpoint(
            model=_Variables(trained), optimizer=_Variables(optimizer), host=self.host
        )
        self._manager = tf.train.CheckpointManager(self._checkpoint, directory, max_to_keep=2)

    @staticmethod
    def peek(directory: str) -> dict:
        """Returns what the host remembered when the newest checkpoint was saved; empty if there is none."""
        newest = tf.train.latest_checkpoint(directory)
        host = HostState()
        if newest is not None:
            try:
                tf.train.Checkpoint(host=host).restore(newest).expect_partial()
            except _UNREADABLE:
                return {}  # `restore` says so
        return host.values

    @property
    def newest(self) -> str | None:
        """Path of the newest checkpoint; None if there is none."""
        return self._manager.latest_checkpoint

    def restore(self) -> int:
        """Restores the newest checkpoint.

        Returns:
            The number of updates it was made after; 0 if there is none.

        Raises:
            InputError: it belongs to another model or is damaged.
        """
        newest = self.newest
        if newest is None:
            return 0
        try:
            self._checkpoint.restore(newest).assert_consumed()
        except _UNREADABLE as error:
            reason = str(error).splitlines()[0][:200]
            raise InputError(
                f"{newest}: can't be restored ({reason}); delete its folder to begin again, or choose "
                "another --output_dir"
            ) from None
        return int(self.host.values["step"])

    def save(self, step: int) -> None:
        """Saves a checkpoint made after `step` updates."""
        self.host.values["step"] = step
        self._manager.save(checkpoint_number=step)


class _Variables(tf.Module):
    """A bag of variables that tf.train.Checkpoint can track by name."""

    def __init__(self, variables: dict[str, tf.Variable]):
        super().__init__()
        self.variables_by_path = variables

"""What every objective is: a layer that says what it reads, what it returns, and when it is learnt."""

from typing import NamedTuple

import keras
import tensorflow as tf

from chemkd_tf.distillation.batches import LABEL_WEIGHT, TRANSFER_WEIGHT
from chemkd_tf.errors import InputError

# When an objective is learnt in a schedule that proceeds by stages (paper section 4.3): from the bottom to the top.
EMBEDDING_STAGE, HIDDEN_STAGE, PREDICTION_STAGE = STAGES = ("embedding", "hidden", "prediction")


class Outcome(NamedTuple):
    """What an objective says about a batch.

    Attributes:
        loss: (sum, weight), both float32 `[B]`.
        statistics: name to tensor, to be added up and given to `summarise`.
    """

    loss: tuple[tf.Tensor, tf.Tensor]
    statistics: dict[str, tf.Tensor]


class Objective(keras.layers.Layer):
    """Base: called with (student states, teacher states, batch), returns an `Outcome`.

    Subclasses set `student_states` and `teacher_states` (names they read) and build their projections in the
    constructor, before the optimizer is made.

    Args:
        name: of the loss.
        stage: one of `STAGES`.

    Attributes:
        compares_examples: whether an example's loss depends on other examples of the global batch. Such a batch can't
            be computed in parts.
    """

    student_states: tuple[str, ...] = ()
    teacher_states: tuple[str, ...] = ()
    compares_examples: bool = False

    def __init__(self, name: str, stage: str):
        super().__init__(name=name, autocast=False)
        self.stage = stage
        self.supports_masking = True
        self.built = True

    def require_states(self, student: keras.Model, teacher: keras.Model) -> None:
        """Raises InputError unless both models return the states this objective reads."""
        for role, model, names in (
            ("student", student, self.student_states),
            ("teacher", teacher, self.teacher_states),
        ):
            missing = [name for name in names if name not in model.output]
            if missing:
                raise InputError(
                    f"{self.name}: the {role} has no state {', '.join(missing)}; it has {', '.join(model.output)}"
                )

    def compute_weights(self, batch: dict) -> tf.Tensor:
        """Returns the weight of the outcome's loss, float32 `[B]`, which depends on the batch alone."""
        raise NotImplementedError

    def compute_mask(self, *args, **kwargs):
        """Returns None: an outcome has no padding mask."""
        return None

    def summarise(self, statistics: dict) -> dict:
        """Turns added-up statistics into metrics by name."""
        return {}


def token_weights(batch: dict) -> tf.Tensor:
    """Float32 `[B, T]`: what each token weighs whose states are learnt from the teacher."""
    return tf.cast(batch["padding_mask"], tf.float32) * batch[TRANSFER_WEIGHT][:, None]


def taught_weights(batch: dict) -> tf.Tensor:
    """Float32 `[B, P]`: what each prediction weighs that is learnt from the teacher."""
    return batch["mask_weights"] * batch[TRANSFER_WEIGHT][:, None]


def labelled_weights(batch: dict) -> tf.Tensor:
    """Float32 `[B, P]`: what each prediction weighs whose right answer is known."""
    return batch["mask_weights"] * batch[LABEL_WEIGHT][:, None]


def projection(name: str, student_width: int, teacher_width: int) -> keras.layers.Dense:
    """W in R^{d' x d}, built at once so that the optimizer knows it.

    Without a bias: the paper names none (docs/deviations.md).
    """
    layer = keras.layers.Dense(teacher_width, use_bias=False, name=name)
    layer.build((None, None, student_width))
    return layer

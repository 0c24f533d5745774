"""Objectives: Keras layers that name the states they need, own their projections, and return (sum, weight)."""

from typing import NamedTuple

import keras
import tensorflow as tf

from chemkd_tf.distillation import losses
from chemkd_tf.errors import InputError
from chemkd_tf.models import states


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
    """

    student_states: tuple[str, ...] = ()
    teacher_states: tuple[str, ...] = ()

    def __init__(self, name: str):
        super().__init__(name=name, autocast=False)
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


class StateMatching(Objective):
    """MSE of projected student states to teacher states: L_emb with one pair, L_hid with one pair per student layer.

    Args:
        name: of the loss.
        pairs: (student state, teacher state) names.
        student_width: width of the student's states.
        teacher_width: d.
        share_projection: one W for all pairs instead of one each.

    The projections have no bias: the paper names none (docs/deviations.md). Next to the loss, per pair: R², the share
    of the teacher state's variance that the projected student explains, and the mean cosine. Raw MSE misleads: the
    scale of the states differs from layer to layer.
    """

    def __init__(
        self,
        name: str,
        pairs: list[tuple[str, str]],
        student_width: int,
        teacher_width: int,
        share_projection: bool = False,
    ):
        super().__init__(name)
        self.student_states = tuple(student for student, _ in pairs)
        self.teacher_states = tuple(teacher for _, teacher in pairs)
        first = _projection(f"{name}_projection", student_width, teacher_width)
        if share_projection or len(pairs) == 1:
            self.projections = [first] * len(pairs)
        else:
            self.projections = [
                _projection(f"{name}_projection_{state}", student_width, teacher_width) for state in self.student_states
            ]

    def call(self, student: dict, teacher: dict, batch: dict) -> Outcome:
        """Adds up the pairs' errors over real tokens (paper: the sum over h of the means)."""
        token_weights = _token_weights(batch)
        total, statistics = 0.0, {}
        for student_name, teacher_name, projection in zip(
            self.student_states, self.teacher_states, self.projections, strict=True
        ):
            projected = projection(student[student_name])
            summed, weight = losses.state_mean_squared_error(projected, teacher[teacher_name], token_weights)
            total += summed
            fit = _fit_statistics(projected, teacher[teacher_name], token_weights)
            statistics.update({f"{student_name}/{key}": value for key, value in fit.items()})
        return Outcome((total, weight), statistics)

    def compute_weights(self, batch: dict) -> tf.Tensor:
        """Real tokens."""
        return tf.reduce_sum(_token_weights(batch), axis=1)

    def summarise(self, statistics: dict) -> dict:
        """R² and cosine of each pair."""
        metrics = {}
        for name in self.student_states:
            value = {key: statistics[f"{name}/{key}"] for key in _FIT_KEYS}
            tokens = tf.maximum(value["tokens"], 1e-9)
            variance = value["sum_of_squares"] - tf.reduce_sum(tf.square(value["sum"])) / tokens
            metrics[f"r_squared_{name}"] = 1.0 - value["squared_error"] / tf.maximum(variance, 1e-9)
            metrics[f"cosine_{name}"] = value["cosine"] / tokens
        return metrics


class PredictionMatching(Objective):
    """L_pred at the masked positions of the corpus.

    Args:
        name: of the loss.
        temperature: Tem.
    """

    student_states = (states.LOGITS,)
    teacher_states = (states.LOGITS,)

    def __init__(self, name: str, temperature: float):
        super().__init__(name)
        self.temperature = temperature

    def call(self, student: dict, teacher: dict, batch: dict) -> Outcome:
        """Soft cross-entropy; statistics: how often student and teacher find the masked token."""
        weights = _position_weights(batch)
        loss = losses.soft_cross_entropy(teacher[states.LOGITS], student[states.LOGITS], weights, self.temperature)
        statistics = {"masked": tf.reduce_sum(weights)}
        for role, outputs in (("student", student), ("teacher", teacher)):
            right = tf.argmax(outputs[states.LOGITS], -1, output_type=tf.int32) == batch["mask_ids"]
            statistics[role] = tf.reduce_sum(tf.cast(right, tf.float32) * weights)
        return Outcome(loss, statistics)

    def compute_weights(self, batch: dict) -> tf.Tensor:
        """Masked tokens."""
        return tf.reduce_sum(_position_weights(batch), axis=1)

    def summarise(self, statistics: dict) -> dict:
        """Masked-LM accuracy of both."""
        masked = tf.maximum(statistics["masked"], 1e-9)
        return {f"masked_lm_accuracy_{role}": statistics[role] / masked for role in ("student", "teacher")}


def _token_weights(batch: dict) -> tf.Tensor:
    return tf.cast(batch["padding_mask"], tf.float32) * batch["example_weight"][:, None]


def _position_weights(batch: dict) -> tf.Tensor:
    return batch["mask_weights"] * batch["example_weight"][:, None]


_FIT_KEYS = ("squared_error", "sum_of_squares", "sum", "cosine", "tokens")


def _fit_statistics(projected: tf.Tensor, teacher: tf.Tensor, token_weights: tf.Tensor) -> dict[str, tf.Tensor]:
    """Sums from which R² and cosine of any number of batches follow exactly."""
    projected, teacher = tf.stop_gradient(tf.cast(projected, tf.float32)), tf.cast(teacher, tf.float32)
    weights = token_weights[:, :, None]
    cosine = tf.reduce_sum(tf.nn.l2_normalize(projected, -1) * tf.nn.l2_normalize(teacher, -1), -1)
    return {
        "squared_error": tf.reduce_sum(tf.square(projected - teacher) * weights),
        "sum_of_squares": tf.reduce_sum(tf.square(teacher) * weights),
        "sum": tf.reduce_sum(teacher * weights, axis=[0, 1]),
        "cosine": tf.reduce_sum(cosine * token_weights),
        "tokens": tf.reduce_sum(token_weights),
    }


def _projection(name: str, student_width: int, teacher_width: int) -> keras.layers.Dense:
    """W in R^{d' x d}, built at once so that the optimizer knows it."""
    projection = keras.layers.Dense(teacher_width, use_bias=False, name=name)
    projection.build((None, None, student_width))
    return projection

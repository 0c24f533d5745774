"""Objectives that bring projected states of the student near states of the teacher, and say how near they are."""

from collections.abc import Sequence

import tensorflow as tf

from chemkd_tf.distillation import losses
from chemkd_tf.distillation.batches import TRANSFER_WEIGHT
from chemkd_tf.distillation.objectives.objective import HIDDEN_STAGE, Objective, Outcome, projection, token_weights
from chemkd_tf.models import states


class StateMatching(Objective):
    """MSE of projected student states to teacher states: L_emb with one pair, L_hid with one pair per student layer.

    Subclasses take another measure than the squared error.

    Args:
        name: of the loss.
        pairs: (student state, teacher state) names.
        student_width: width of the student's states.
        teacher_width: d.
        share_projection: one W for all pairs instead of one each.
        stage: see `Objective`.

    Next to the loss, per pair: R², the share of the teacher state's variance that the projected student explains, and
    the mean cosine. Raw MSE misleads: the scale of the states differs from layer to layer.
    """

    def __init__(
        self,
        name: str,
        pairs: Sequence[tuple[str, str]],
        student_width: int,
        teacher_width: int,
        share_projection: bool = False,
        stage: str = HIDDEN_STAGE,
    ):
        super().__init__(name, stage)
        self.student_states = tuple(student for student, _ in pairs)
        self.teacher_states = tuple(teacher for _, teacher in pairs)
        first = projection(f"{name}_projection", student_width, teacher_width)
        if share_projection or len(pairs) == 1:
            self.projections = [first] * len(pairs)
        else:
            self.projections = [
                projection(f"{name}_projection_{state}", student_width, teacher_width) for state in self.student_states
            ]

    def call(self, student: dict, teacher: dict, batch: dict) -> Outcome:
        """Adds up the pairs' losses (paper: the sum over h of the means)."""
        counted = self.count_tokens(batch)
        projected = [
            project(student[name]) for name, project in zip(self.student_states, self.projections, strict=True)
        ]
        pairs = list(zip(projected, (teacher[name] for name in self.teacher_states), strict=True))
        sums, weights = zip(*self.pair_losses(pairs, counted, batch), strict=True)
        statistics = {}
        for name, pair in zip(self.student_states, pairs, strict=True):
            fit = _fit_statistics(*pair, counted)
            statistics.update({f"{name}/{key}": value for key, value in fit.items()})
        return Outcome((tf.add_n(sums), weights[0]), statistics)

    def pair_losses(
        self, pairs: list[tuple[tf.Tensor, tf.Tensor]], counted: tf.Tensor, batch: dict
    ) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Returns (sum, weight) `[B]` of each pair; the weights are `compute_weights`.

        Args:
            pairs: (projected student state, teacher state), both `[B, T, d]`.
            counted: `count_tokens` of the batch.
            batch: see `batches`.
        """
        return [losses.state_mean_squared_error(projected, teacher, counted) for projected, teacher in pairs]

    def count_tokens(self, batch: dict) -> tf.Tensor:
        """Float32 `[B, T]`: what each position weighs."""
        return token_weights(batch)

    def compute_weights(self, batch: dict) -> tf.Tensor:
        """Real tokens."""
        return tf.reduce_sum(self.count_tokens(batch), axis=1)

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


class CosineMatching(StateMatching):
    """1 - cosine of projected student states and teacher states, token by token (DistilBERT)."""

    def pair_losses(self, pairs, counted, batch):
        """`losses.cosine_distance` of each pair."""
        return [losses.cosine_distance(projected, teacher, counted) for projected, teacher in pairs]


class ClsMatching(StateMatching):
    """Squared distance of normalised states at [CLS] (BERT-PKD)."""

    def pair_losses(self, pairs, counted, batch):
        """`losses.normalised_squared_error` of each pair, at the first token."""
        return [
            losses.normalised_squared_error(projected[:, 0], teacher[:, 0], counted[:, 0])
            for projected, teacher in pairs
        ]

    def count_tokens(self, batch: dict) -> tf.Tensor:
        """[CLS] of each example, nothing else."""
        weights = token_weights(batch)
        return weights * tf.one_hot(0, tf.shape(weights)[1])


class RepresentationMatching(StateMatching):
    """MSE of the vectors that a task's classes are read from (paper section 4.3.1: the teacher's representations).

    Args:
        name: of the loss.
        student_width: of the student's vector.
        teacher_width: of the teacher's.
    """

    def __init__(self, name: str, student_width: int, teacher_width: int):
        super().__init__(name, [(states.REPRESENTATION, states.REPRESENTATION)], student_width, teacher_width)

    def count_tokens(self, batch: dict) -> tf.Tensor:
        """One vector per example."""
        return batch[TRANSFER_WEIGHT][:, None]


_FIT_KEYS = ("squared_error", "sum_of_squares", "sum", "cosine", "tokens")


def _fit_statistics(projected: tf.Tensor, teacher: tf.Tensor, counted: tf.Tensor) -> dict[str, tf.Tensor]:
    """Sums from which R² and cosine of any number of batches follow exactly."""
    projected, teacher = tf.stop_gradient(tf.cast(projected, tf.float32)), tf.cast(teacher, tf.float32)
    weights = counted[:, :, None]
    cosine = tf.reduce_sum(tf.nn.l2_normalize(projected, -1) * tf.nn.l2_normalize(teacher, -1), -1)
    return {
        "squared_error": tf.reduce_sum(tf.square(projected - teacher) * weights),
        "sum_of_squares": tf.reduce_sum(tf.square(teacher) * weights),
        "sum": tf.reduce_sum(teacher * weights, axis=[0, 1]),
        "cosine": tf.reduce_sum(cosine * counted),
        "tokens": tf.reduce_sum(counted),
    }

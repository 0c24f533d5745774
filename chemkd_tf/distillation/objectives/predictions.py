"""Objectives of what the models predict: masked tokens of a corpus, classes of a task."""

import tensorflow as tf

from chemkd_tf.distillation import losses
from chemkd_tf.distillation.objectives.objective import (
    PREDICTION_STAGE,
    Objective,
    Outcome,
    labelled_weights,
    taught_weights,
)
from chemkd_tf.models import states
from chemkd_tf.training.losses import cross_entropy


class PredictionMatching(Objective):
    """L_pred: soft cross-entropy of the student's predictions under the teacher's.

    Args:
        name: of the loss.
        temperature: Tem.
    """

    student_states = (states.LOGITS,)
    teacher_states = (states.LOGITS,)

    def __init__(self, name: str, temperature: float = 1.0):
        super().__init__(name, PREDICTION_STAGE)
        self.temperature = temperature

    def call(self, student: dict, teacher: dict, batch: dict) -> Outcome:
        """The loss; statistics: how often both would predict the same."""
        weights = taught_weights(batch)
        logits = {"student": student[states.LOGITS], "teacher": teacher[states.LOGITS]}
        answers = {role: tf.argmax(value, -1, output_type=tf.int32) for role, value in logits.items()}
        alike = tf.cast(answers["student"] == answers["teacher"], tf.float32)
        statistics = {"alike": tf.reduce_sum(alike * weights), "taught": tf.reduce_sum(weights)}
        return Outcome(
            self.loss(logits["teacher"], logits["student"], weights), {**statistics, **self.count(answers, batch)}
        )

    def loss(self, teacher: tf.Tensor, student: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(sum, weight) `[B]` of logits `[B, P, V]` under weights `[B, P]`."""
        return losses.soft_cross_entropy(teacher, student, weights, self.temperature)

    def count(self, answers: dict[str, tf.Tensor], batch: dict) -> dict[str, tf.Tensor]:
        """More statistics, from what student and teacher predict, int32 `[B, P]`."""
        return {}

    def compute_weights(self, batch: dict) -> tf.Tensor:
        """Taught predictions."""
        return tf.reduce_sum(taught_weights(batch), axis=1)

    def summarise(self, statistics: dict) -> dict:
        """Share of predictions that are the teacher's."""
        return {"agreement_with_teacher": statistics["alike"] / tf.maximum(statistics["taught"], 1e-9)}


class MaskedTokenMatching(PredictionMatching):
    """L_pred at the masked tokens of a corpus, which are known: how often student and teacher find them is counted."""

    def count(self, answers, batch):
        """Masked tokens, and how many of them each finds."""
        weights = taught_weights(batch)
        right = {role: tf.cast(answer == batch["mask_ids"], tf.float32) for role, answer in answers.items()}
        found = {role: tf.reduce_sum(value * weights) for role, value in right.items()}
        return {"masked": tf.reduce_sum(weights), **found}

    def summarise(self, statistics: dict) -> dict:
        """Masked-LM accuracy of both."""
        masked = tf.maximum(statistics["masked"], 1e-9)
        return {f"masked_lm_accuracy_{role}": statistics[role] / masked for role in ("student", "teacher")}


class LogitsMatching(PredictionMatching):
    """Mean squared error of the logits (Tang et al. 2019)."""

    def loss(self, teacher, student, weights):
        """`losses.logits_mean_squared_error`."""
        return losses.logits_mean_squared_error(teacher, student, weights)


class MaskedLogitsMatching(LogitsMatching, MaskedTokenMatching):
    """`LogitsMatching` at the masked tokens of a corpus."""


class HardPrediction(Objective):
    """Cross-entropy of the right answers: the labels of a task, the masked tokens of a corpus.

    Args:
        name: of the loss.
        accuracy: name of the share of right answers.
    """

    student_states = (states.LOGITS,)

    def __init__(self, name: str, accuracy: str):
        super().__init__(name, PREDICTION_STAGE)
        self.accuracy = accuracy

    def call(self, student: dict, teacher: dict, batch: dict) -> Outcome:
        """The loss; statistics: how many answers are right."""
        weights = labelled_weights(batch)
        logits = student[states.LOGITS]
        right = tf.cast(tf.argmax(logits, -1, output_type=tf.int32) == batch["mask_ids"], tf.float32)
        statistics = {"right": tf.reduce_sum(right * weights), "labelled": tf.reduce_sum(weights)}
        return Outcome(cross_entropy(batch["mask_ids"], logits, weights), statistics)

    def compute_weights(self, batch: dict) -> tf.Tensor:
        """Known answers."""
        return tf.reduce_sum(labelled_weights(batch), axis=1)

    def summarise(self, statistics: dict) -> dict:
        """Share of right answers."""
        return {self.accuracy: statistics["right"] / tf.maximum(statistics["labelled"], 1e-9)}

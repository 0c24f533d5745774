"""The objective of TinyBERT that a BiLSTM can't have: attention scores, before the softmax."""

from collections.abc import Sequence

import tensorflow as tf

from chemkd_tf.distillation import losses
from chemkd_tf.distillation.objectives.objective import HIDDEN_STAGE, Objective, Outcome, token_weights


class AttentionMatching(Objective):
    """MSE of the student's attention scores to the teacher's, head by head.

    Args:
        name: of the loss.
        pairs: (student state, teacher state) names, of as many heads.
    """

    def __init__(self, name: str, pairs: Sequence[tuple[str, str]]):
        super().__init__(name, HIDDEN_STAGE)
        self.student_states = tuple(student for student, _ in pairs)
        self.teacher_states = tuple(teacher for _, teacher in pairs)

    def call(self, student: dict, teacher: dict, batch: dict) -> Outcome:
        """Adds up the pairs' errors over pairs of real tokens."""
        weights = token_weights(batch)
        total, weight = 0.0, None
        for of_student, of_teacher in zip(self.student_states, self.teacher_states, strict=True):
            summed, weight = losses.attention_mean_squared_error(student[of_student], teacher[of_teacher], weights)
            total += summed
        return Outcome((total, weight), {})

    def compute_weights(self, batch: dict) -> tf.Tensor:
        """Pairs of real tokens."""
        weights = token_weights(batch)
        return tf.reduce_sum(weights, axis=1) * tf.reduce_sum(tf.sign(weights), axis=1)

"""Distillation on a task: a fine-tuned teacher answers for texts that have no label (paper section 4.3.1)."""

import keras
import tensorflow as tf

from chemkd_tf.distillation import losses
from chemkd_tf.models import states
from chemkd_tf.training.classification import Classification
from chemkd_tf.training.replica_exact import Terms

TASK_LOSS = "task_prediction_loss"


class TaskDistiller(Classification):
    """Cross-entropy on the labelled texts of a batch, L_pred over the classes on its unlabelled ones.

    The paper's third part, the loss of the representations on the task, is not here: the student's states were matched
    to the teacher's on the corpus.

    Args:
        network: the student, see `heads.classification_model`.
        teacher: a fine-tuned classifier with the same classes; it never moves and never drops out.
        loss_weight: of L_pred; the labels' weighs 1.
        temperature: Tem of L_pred.
        random_seed: of the student's dropout.
    """

    def __init__(
        self, network: keras.Model, teacher: keras.Model, loss_weight: float, temperature: float, random_seed: int
    ):
        super().__init__(network, random_seed, {"classification_loss": 1.0, TASK_LOSS: loss_weight})
        teacher.trainable = False
        self.teacher = teacher
        self.temperature = temperature

    def compute_terms(self, batch: dict[str, tf.Tensor], training: bool) -> Terms:
        """Losses `classification_loss` and `task_prediction_loss`; statistics also: how often both answer alike."""
        inputs = states.select(batch, states.ENCODER_INPUTS)
        taught = self.teacher(inputs, training=False)
        logits = self.network(inputs, training=training)
        terms = self.terms_of_labels(batch, logits)
        weights = batch["example_weight"] * (1.0 - batch["has_label"])
        # One "position" per text: the loss of the corpus, over the classes instead of the vocabulary.
        loss = losses.soft_cross_entropy(taught[:, None], logits[:, None], weights[:, None], self.temperature)
        alike = tf.cast(tf.argmax(taught, -1) == tf.argmax(logits, -1), tf.float32)
        statistics = {"alike": tf.reduce_sum(alike * weights), "unlabelled": tf.reduce_sum(weights)}
        return Terms({**terms.losses, TASK_LOSS: loss}, {**terms.statistics, **statistics})

    def summarise(self, statistics: dict) -> dict:
        """Share of right labels, and of unlabelled texts for which the student answers as the teacher."""
        agreement = statistics["alike"] / tf.maximum(statistics["unlabelled"], 1e-9)
        return {**super().summarise(statistics), "agreement_with_teacher": agreement}

"""A classifier under the cross-entropy of its labels: what the third stage trains where there is no teacher."""

import keras
import tensorflow as tf

from chemkd_tf.models import states
from chemkd_tf.training import losses
from chemkd_tf.training.replica_exact import ReplicaExactModel, Terms


class Classification(ReplicaExactModel):
    """A classifier under the cross-entropy of its labels.

    Args:
        network: see `heads.classification_model`.
        random_seed: of the dropout.
        loss_weights: see `ReplicaExactModel`.
    """

    def __init__(self, network: keras.Model, random_seed: int, loss_weights: dict[str, float] | None = None):
        super().__init__(loss_weights or {"classification_loss": 1.0}, random_seed, name="classification")
        self.network = network

    def compute_terms(self, batch: dict[str, tf.Tensor], training: bool) -> Terms:
        """Losses `classification_loss`; statistics: how many labels were right."""
        return self.terms_of_labels(batch, self.network(states.select(batch, states.ENCODER_INPUTS), training=training))

    def compute_weights(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """1 for an example with a label."""
        return {"classification_loss": batch["example_weight"] * batch["has_label"]}

    def terms_of_labels(self, batch: dict[str, tf.Tensor], logits: tf.Tensor) -> Terms:
        """`compute_terms` from logits `[B, C]`; examples without a label weigh nothing."""
        weights = batch["example_weight"] * batch["has_label"]
        right = tf.cast(tf.argmax(logits, -1, output_type=tf.int32) == batch["label_ids"], tf.float32)
        return Terms(
            {"classification_loss": losses.cross_entropy(batch["label_ids"], logits, weights)},
            {"right": tf.reduce_sum(right * weights), "examples": tf.reduce_sum(weights)},
        )

    def summarise(self, statistics: dict) -> dict:
        """Share of right labels."""
        return {"accuracy": statistics["right"] / tf.maximum(statistics["examples"], 1e-9)}

"""Adversarial training: a classifier that answers right where its embeddings are moved the worst way, too.

Miyato et al. 2017, "Adversarial Training Methods for Semi-Supervised Text Classification" (arXiv:1605.07725), section
3: with g the gradient of a text's loss at its embeddings, the loss is taken again at embeddings + epsilon * g / |g|.
There the embeddings are normalised first and both losses are added up; here they are as they were distilled, and the
objective is the mean of both losses, so that --clip_norm means what it does without.
"""

import keras
import tensorflow as tf

from chemkd_tf.models import states
from chemkd_tf.models.embedding_split import split_at_embedding
from chemkd_tf.models.heads import classification_states
from chemkd_tf.training.classification import Classification
from chemkd_tf.training.replica_exact import Terms

_AT_MOVED = "adversarial_loss"


class AdversarialClassification(Classification):
    """A classifier under the cross-entropy of its labels at the embeddings of a text, and at perturbed ones.

    Losses `classification_loss` and `adversarial_loss`, half of each. A text's perturbation depends on that text alone,
    so that the update is the same on any number of replicas. An update takes about two and a half times as long.

    Args:
        network: see `heads.classification_model`.
        random_seed: of the dropout.
        epsilon: length of the perturbation of a text, over all its tokens; above 0.
    """

    def __init__(self, network: keras.Model, random_seed: int, epsilon: float):
        super().__init__(network, random_seed, {"classification_loss": 0.5, _AT_MOVED: 0.5})
        self.epsilon = epsilon
        self._parts = split_at_embedding(classification_states(network))

    def compute_terms(self, batch: dict[str, tf.Tensor], training: bool) -> Terms:
        """Both losses; statistics: how many labels were right at the embeddings as they are."""
        inputs = states.select(batch, states.ENCODER_INPUTS)
        to_embedding, from_embedding = self._parts
        embedding = to_embedding(inputs, training=training)

        def terms_at(state: tf.Tensor) -> Terms:
            outputs = from_embedding({**inputs, states.EMBEDDING: state}, training=training)
            return self.terms_of_labels(batch, outputs[states.LOGITS])

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(embedding)
            terms = terms_at(embedding)
            loss = tf.reduce_sum(terms.losses["classification_loss"][0])
        moved = embedding + perturbation(tape.gradient(loss, embedding), inputs["padding_mask"], self.epsilon)
        return Terms(
            {**terms.losses, _AT_MOVED: terms_at(moved).losses["classification_loss"]},
            terms.statistics,
        )

    def compute_weights(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """1 for an example with a label, in both losses."""
        weights = super().compute_weights(batch)
        return {**weights, _AT_MOVED: weights["classification_loss"]}


def perturbation(gradient: tf.Tensor, padding_mask: tf.Tensor, epsilon: float) -> tf.Tensor:
    """The step of length `epsilon` that raises each text's loss the most, to first order.

    r = epsilon * g / |g|, |g| over the real tokens of a text; 0 where g is.

    Args:
        gradient: of each text's own loss at its embeddings, `[B, T, H]`.
        padding_mask: int `[B, T]`, 1 at real tokens; padding isn't moved.
        epsilon: length.

    Returns:
        `[B, T, H]` in the dtype of `gradient`, through which no gradient flows.
    """
    real = tf.cast(padding_mask, tf.float32)[:, :, None]
    directions = tf.cast(tf.stop_gradient(gradient), tf.float32) * real
    length = tf.sqrt(tf.reduce_sum(tf.square(directions), axis=[1, 2], keepdims=True))
    return tf.cast(epsilon * tf.math.divide_no_nan(directions, length), gradient.dtype)

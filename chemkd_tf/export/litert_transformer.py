"""A transformer classifier for LiteRT: the Keras network as it is."""

from collections.abc import Callable

import tensorflow as tf

from chemkd_tf.export.litert_tables import Lookup
from chemkd_tf.models.classifier import TextClassifier


def build(classifier: TextClassifier, lookup: Lookup) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the function that LiteRT gets: `token_ids` int32 `[1, T]` to probabilities float32 `[1, C]`.

    Args:
        classifier: on a transformer.
        lookup: not used; the converter keeps the tables as it keeps every other weight.
    """
    del lookup
    network = tf.autograph.experimental.do_not_convert(lambda batch: classifier.network(batch, training=False))

    def probabilities_of(token_ids):
        token_ids = token_ids[:, : classifier.description.max_seq_length]
        padding_mask = tf.cast(token_ids != classifier.vocabulary.pad_id, tf.int32)
        batch = {"token_ids": token_ids, "segment_ids": tf.zeros_like(token_ids), "padding_mask": padding_mask}
        return tf.nn.softmax(network(batch))

    return probabilities_of

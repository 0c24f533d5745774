"""The objective of LRC-BERT: nearer to the teacher's state of the same sample than to those of others."""

import tensorflow as tf

from chemkd_tf.distillation import losses
from chemkd_tf.distillation.objectives.objective import token_weights
from chemkd_tf.distillation.objectives.state_matching import StateMatching


class ContrastiveMatching(StateMatching):
    """COS-NCE; the negatives are samples of the whole global batch, whatever replica they are on.

    Args:
        num_negatives: K.
        **keywords: see `StateMatching`.
    """

    compares_examples = True

    def __init__(self, *, num_negatives: int, **keywords):
        super().__init__(**keywords)
        self.num_negatives = num_negatives

    def pair_losses(self, pairs, counted, batch):
        """`losses.cos_nce` of each pair."""
        replica = tf.distribute.get_replica_context()
        # Frozen, so no gradient has to find its way back to another replica: gathering them is all there is to do.
        everyone = replica.all_gather(tf.concat([teacher for _, teacher in pairs], axis=-1), axis=0)
        are_tokens = replica.all_gather(tf.sign(token_weights(batch)), axis=0)
        # Replicas have the same number of rows, and are gathered in their order.
        first_row = tf.cast(replica.replica_id_in_sync_group, tf.int32) * tf.shape(counted)[0]
        return [
            losses.cos_nce(projected, teacher, counted, states, are_tokens, first_row, self.num_negatives)
            for (projected, teacher), states in zip(pairs, tf.split(everyone, len(pairs), axis=-1), strict=True)
        ]

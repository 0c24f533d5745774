"""ELECTRA (Clark et al. 2020): its generator is a masked language model, its discriminator an encoder without head."""

import keras_nlp

from chemkd_tf.models.families import bert, family
from chemkd_tf.models.families.family import Family, with_encoder_prefix

ELECTRA = Family(
    name="electra",
    backbone=keras_nlp.models.ElectraBackbone,
    arguments={**bert.ARGUMENTS, "vocabulary_size": "vocab_size", "embedding_dim": "embedding_dim"},
    # There is a projection only where the embedding has another width.
    first_input=("embeddings_projection", "embeddings_dropout"),
    layer_calls=bert.BERT.layer_calls,
    config_keys={**bert.CONFIG_KEYS, "embedding_dim": "embedding_size"},
    backbone_activation="gelu_tanh",
    activation_key="hidden_act",
    head_activation="gelu",
    parts={
        **with_encoder_prefix("electra.", bert.EMBEDDING_PARTS),
        "embeddings_projection": "electra.embeddings_project",
        family.HEAD_DENSE: "generator_predictions.dense",
        family.HEAD_NORM: "generator_predictions.LayerNorm",
        family.HEAD_BIAS: "generator_lm_head.bias",
        family.HEAD_KERNEL: "generator_lm_head.weight",
    },
    layer_path=bert.LAYER_PATH,
    layer_name="electra.encoder.layer.{}.",
    layer_parts=bert.LAYER_PARTS,
    base_prefix="electra.",
    superfluous=r"(electra\.)?embeddings\.position_ids|discriminator_predictions\.",
    masked_lm_class=None,
)

"""ALBERT (Lan et al. 2020): a narrow token embedding, and layers that share their weights."""

import keras_nlp

from chemkd_tf.models.families import bert, family
from chemkd_tf.models.families.family import Family, with_encoder_prefix

ALBERT = Family(
    name="albert",
    backbone=keras_nlp.models.AlbertBackbone,
    arguments={
        **bert.ARGUMENTS,
        **{name: name for name in ("embedding_dim", "num_groups", "num_inner_repetitions")},
    },
    first_input=("embeddings_projection",),
    layer_calls=lambda backbone: [
        inner_layers
        for inner_layers in backbone.transformer_layers
        for _ in range(backbone.num_layers // backbone.num_groups)
    ],
    config_keys={
        **bert.CONFIG_KEYS,
        "embedding_dim": "embedding_size",
        "num_groups": "num_hidden_groups",
        "num_inner_repetitions": "inner_group_num",
    },
    backbone_activation="gelu_tanh",
    activation_key="hidden_act",
    head_activation=None,
    parts={
        **with_encoder_prefix("albert.", bert.EMBEDDING_PARTS),
        "embedding_projection": "albert.encoder.embedding_hidden_mapping_in",
        family.HEAD_DENSE: "predictions.dense",
        family.HEAD_NORM: "predictions.LayerNorm",
        family.HEAD_BIAS: "predictions.bias",
        family.HEAD_KERNEL: "predictions.decoder.weight",
    },
    layer_path=r"group_(\d+)_inner_layer_(\d+)/",
    layer_name="albert.encoder.albert_layer_groups.{}.albert_layers.{}.",
    layer_parts={
        family.QUERY: "attention.query",
        family.KEY: "attention.key",
        family.VALUE: "attention.value",
        family.ATTENTION_OUTPUT: "attention.dense",
        family.ATTENTION_NORM: "attention.LayerNorm",
        family.INTERMEDIATE: "ffn",
        family.OUTPUT: "ffn_output",
        family.OUTPUT_NORM: "full_layer_layer_norm",
    },
    base_prefix="albert.",
    superfluous=r"(albert\.)?(pooler\.|embeddings\.position_ids)|sop_classifier\.|predictions\.decoder\.bias",
    masked_lm_class=keras_nlp.models.AlbertMaskedLM,
)

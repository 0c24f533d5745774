"""DistilBERT (Sanh et al. 2019): BERT without segments and pooler."""

import keras_nlp

from chemkd_tf.models.families import bert, family
from chemkd_tf.models.families.family import Family

DISTILBERT = Family(
    name="distilbert",
    backbone=keras_nlp.models.DistilBertBackbone,
    arguments={name: name for name in bert.ARGUMENTS if name != "num_segments"},
    first_input=("embeddings_dropout",),
    layer_calls=bert.BERT.layer_calls,
    config_keys={
        "vocabulary_size": "vocab_size",
        "num_layers": "n_layers",
        "num_heads": "n_heads",
        "hidden_dim": "dim",
        "intermediate_dim": "hidden_dim",
        "dropout": "dropout",
        "max_sequence_length": "max_position_embeddings",
    },
    backbone_activation="gelu",
    activation_key="activation",
    head_activation=None,
    parts={
        "token_and_position_embedding/token_embedding": "distilbert.embeddings.word_embeddings",
        "token_and_position_embedding/position_embedding": "distilbert.embeddings.position_embeddings",
        "embeddings_layer_norm": "distilbert.embeddings.LayerNorm",
        family.HEAD_DENSE: "vocab_transform",
        family.HEAD_NORM: "vocab_layer_norm",
        family.HEAD_BIAS: "vocab_projector.bias",
        family.HEAD_KERNEL: "vocab_projector.weight",
    },
    layer_path=bert.LAYER_PATH,
    layer_name="distilbert.transformer.layer.{}.",
    layer_parts={
        family.QUERY: "attention.q_lin",
        family.KEY: "attention.k_lin",
        family.VALUE: "attention.v_lin",
        family.ATTENTION_OUTPUT: "attention.out_lin",
        family.ATTENTION_NORM: "sa_layer_norm",
        family.INTERMEDIATE: "ffn.lin1",
        family.OUTPUT: "ffn.lin2",
        family.OUTPUT_NORM: "output_layer_norm",
    },
    base_prefix="distilbert.",
    superfluous=r"(distilbert\.)?embeddings\.position_ids",
    masked_lm_class=keras_nlp.models.DistilBertMaskedLM,
)

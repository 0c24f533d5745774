"""BERT (Devlin et al. 2019), and what shares its shape: Chinese BERT-wwm, Chinese RoBERTa-wwm, MacBERT."""

import keras_nlp

from chemkd_tf.models.families import family
from chemkd_tf.models.families.family import Family, with_encoder_prefix

ARGUMENTS = {
    name: name
    for name in (
        "vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim", "dropout",
        "max_sequence_length", "num_segments",
    )
}  # fmt: skip
CONFIG_KEYS = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "dropout": "hidden_dropout_prob",
    "max_sequence_length": "max_position_embeddings",
    "num_segments": "type_vocab_size",
    "layer_norm_epsilon": "layer_norm_eps",
}
EMBEDDING_PARTS = {
    "token_embedding": "embeddings.word_embeddings",
    "position_embedding": "embeddings.position_embeddings",
    "segment_embedding": "embeddings.token_type_embeddings",
    "embeddings_layer_norm": "embeddings.LayerNorm",
}
LAYER_PATH = r"transformer_layer_(\d+)/"
LAYER_PARTS = {
    family.QUERY: "attention.self.query",
    family.KEY: "attention.self.key",
    family.VALUE: "attention.self.value",
    family.ATTENTION_OUTPUT: "attention.output.dense",
    family.ATTENTION_NORM: "attention.output.LayerNorm",
    family.INTERMEDIATE: "intermediate.dense",
    family.OUTPUT: "output.dense",
    family.OUTPUT_NORM: "output.LayerNorm",
}

BERT = Family(
    name="bert",
    backbone=keras_nlp.models.BertBackbone,
    arguments=ARGUMENTS,
    first_input=("embeddings_dropout",),
    layer_calls=lambda backbone: [[layer] for layer in backbone.transformer_layers],
    config_keys=CONFIG_KEYS,
    backbone_activation="gelu_tanh",
    activation_key="hidden_act",
    head_activation=None,
    parts={
        **with_encoder_prefix("bert.", EMBEDDING_PARTS),
        family.HEAD_DENSE: "cls.predictions.transform.dense",
        family.HEAD_NORM: "cls.predictions.transform.LayerNorm",
        family.HEAD_BIAS: "cls.predictions.bias",
        family.HEAD_KERNEL: "cls.predictions.decoder.weight",
    },
    layer_path=LAYER_PATH,
    layer_name="bert.encoder.layer.{}.",
    layer_parts=LAYER_PARTS,
    base_prefix="bert.",
    superfluous=r"(bert\.)?(pooler\.|embeddings\.position_ids)|cls\.seq_relationship\.|cls\.predictions\.decoder\.bias",
    masked_lm_class=keras_nlp.models.BertMaskedLM,
)

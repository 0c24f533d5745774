"""What stands on an encoder: the masked-LM head for the corpus, the downstream network for labels."""

import types

import keras
import keras_nlp

from chemkd_tf.models import states
from chemkd_tf.models.families.family import ACTIVATIONS

POOLING = ("last", "max", "mean", "cls")


def masked_lm_model(
    encoder: keras.Model, activation: str = "gelu", layer_norm_epsilon: float = 1e-12, tied_decoder: bool = True
) -> keras.Model:
    """Returns `encoder` with BERT's masked-LM head: its states and `logits [B, P, V]` at `mask_positions [B, P]`.

    Dense(width, gelu), LayerNorm, product with the vocabulary, bias. Teacher and student have the same head at their
    own widths; the student's serves distillation only.

    Args:
        encoder: teacher or student.
        activation: row of `families.family.ACTIVATIONS`.
        layer_norm_epsilon: of the head's LayerNorm.
        tied_decoder: the product is with the token embedding; otherwise with a matrix of its own.
    """
    token_embedding = next(layer for layer in encoder._flatten_layers() if layer.name == "token_embedding")
    head = MaskedLMHead(
        token_embedding=token_embedding if tied_decoder else None,
        vocabulary_size=token_embedding.input_dim,
        intermediate_activation=ACTIVATIONS[activation],
        layer_norm_epsilon=layer_norm_epsilon,
        kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        name="masked_lm_head",
    )
    mask_positions = keras.Input((None,), dtype="int32", name=states.MASK_POSITIONS)
    logits = head(last_hidden(encoder), mask_positions)
    return keras.Model(
        {**encoder.input, states.MASK_POSITIONS: mask_positions},
        {**encoder.output, states.LOGITS: logits},
        name=f"{encoder.name}_masked_lm",
    )


def classification_model(encoder: keras.Model, num_classes: int, pooling: str, dropout: float) -> keras.Model:
    """Returns the downstream network of paper section 3.4: pooled output sequence, dropout, logits `[B, C]`.

    Args:
        encoder: teacher or student.
        num_classes: C.
        pooling: see `Pooling`.
        dropout: share of the pooled vector dropped in training.
    """
    pooled = Pooling(pooling, name="pooling")(last_hidden(encoder), encoder.input["padding_mask"])
    pooled = keras.layers.Dropout(dropout, name="classifier_dropout")(pooled)
    logits = keras.layers.Dense(num_classes, dtype="float32", name="classifier")(pooled)
    classifier = keras.Model(encoder.input, logits, name=f"{encoder.name}_classifier")
    # Read-only, for `classification_states`; neither Keras nor TensorFlow tracks a mapping proxy.
    classifier.encoder_states = types.MappingProxyType(encoder.output)
    return classifier


def classification_states(classifier: keras.Model) -> keras.Model:
    """Returns a model over the same layers that returns every state of the encoder beside the logits.

    Args:
        classifier: made by `classification_model`.

    Returns:
        A model from the classifier's inputs to `embedding`, `hidden_1` ... `hidden_L`, `representation` [B, H] (the
        pooled vector, before dropout) and `logits` [B, C]. Its variables are the classifier's own.
    """
    outputs = {
        **classifier.encoder_states,
        states.REPRESENTATION: classifier.get_layer("pooling").output,
        states.LOGITS: classifier.output,
    }
    return keras.Model(classifier.input, outputs, name=f"{classifier.name}_states")


def last_hidden(encoder: keras.Model) -> keras.KerasTensor:
    """The output of the encoder's last layer `[B, T, H]`."""
    number = max(int(name.split("_")[1]) for name in encoder.output if name.startswith("hidden_"))
    return encoder.output[states.hidden(number)]


@keras.saving.register_keras_serializable(package="chemkd_tf")
class MaskedLMHead(keras_nlp.layers.MaskedLMHead):
    """keras-nlp's masked-LM head that knows it ends the padding mask: it reads masked positions, not the sequence."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.supports_masking = True

    def compute_mask(self, *args, **kwargs):
        """Returns None: the output has no padding mask."""
        return None


@keras.saving.register_keras_serializable(package="chemkd_tf")
class Pooling(keras.layers.Layer):
    """Makes one vector of a sequence; padding never counts.

    Args:
        how: "max" or "mean" over real tokens; "cls", the first token; "last", the last hidden state of a BiLSTM: its
            forward half at the last real token, its backward half at the first (paper section 4.3.1).
    """

    def __init__(self, how: str, **kwargs):
        super().__init__(**kwargs)
        if how not in POOLING:
            raise ValueError(f"how={how!r}: one of {POOLING}")
        self.how = how
        self.supports_masking = True  # the padding mask comes as an argument; the output has none

    def compute_mask(self, *args, **kwargs):
        """Returns None: one vector has no padding mask."""
        return None

    def call(self, sequence, padding_mask):
        """Maps `[B, T, H]` and int `[B, T]` to `[B, H]`."""
        if self.how == "cls":
            return sequence[:, 0]
        real = keras.ops.expand_dims(keras.ops.cast(padding_mask, sequence.dtype), -1)
        if self.how == "max":
            # LSTM outputs lie in [-1, 1], LayerNorm outputs near it: 1e4 below can never be the maximum.
            return keras.ops.max(sequence - (1.0 - real) * 1e4, axis=1)
        if self.how == "mean":
            return keras.ops.sum(sequence * real, axis=1) / keras.ops.maximum(keras.ops.sum(real, axis=1), 1.0)
        last = keras.ops.maximum(keras.ops.sum(keras.ops.cast(padding_mask, "int32"), axis=1) - 1, 0)
        at_last = keras.ops.take_along_axis(sequence, last[:, None, None], axis=1)[:, 0]
        half = sequence.shape[-1] // 2
        return keras.ops.concatenate([at_last[:, :half], sequence[:, 0, half:]], axis=-1)

    def compute_output_shape(self, sequence_shape, padding_mask_shape):
        """Returns `(B, H)`."""
        return (sequence_shape[0], sequence_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "how": self.how}

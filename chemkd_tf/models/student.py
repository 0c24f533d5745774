"""The student: the teacher's embedding operation at its own width, then stacked BiLSTMs (paper section 3.3)."""

import keras
import keras_nlp

from chemkd_tf.models import states
from chemkd_tf.models.architecture import StudentArchitecture
from chemkd_tf.models.bilstm import Bidirectional

# Layer that brings a factorised token embedding to the width of the student.
TOKEN_PROJECTION = "token_projection"


def build_student(architecture: StudentArchitecture) -> keras.Model:
    """Returns an encoder with fresh weights: dict of ids in, dict of states out (see `states`).

    A layer's output joins both directions, `units_per_direction` each. Where that differs from `hidden_dim` (the width
    of the embedding) the states differ in width and every objective's projection follows.
    Parameters at the paper's size: 4,974,000; with the token embedding alone 4,948,000; with it factorised to rank 64
    2,113,392.
    """
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in states.ENCODER_INPUTS}
    tokens = keras_nlp.layers.ReversibleEmbedding(
        architecture.vocabulary_size, architecture.embedding_rank or architecture.hidden_dim, name="token_embedding"
    )(inputs["token_ids"])
    if architecture.embedding_rank:
        tokens = keras.layers.Dense(architecture.hidden_dim, use_bias=False, name=TOKEN_PROJECTION)(tokens)
    x = tokens
    if architecture.embedding == "full":
        positions = keras_nlp.layers.PositionEmbedding(architecture.max_sequence_length, name="position_embedding")
        segments = keras.layers.Embedding(architecture.num_segments, architecture.hidden_dim, name="segment_embedding")
        x = keras.layers.Add(name="embeddings_add")([tokens, segments(inputs["segment_ids"]), positions(tokens)])
    outputs = {states.EMBEDDING: x}
    # The mask makes the backward direction begin at the last real token: padding changes nothing.
    is_token = keras.ops.cast(inputs["padding_mask"], "bool")
    for number in range(1, architecture.num_layers + 1):
        if architecture.dropout:
            x = keras.layers.Dropout(architecture.dropout, name=f"dropout_{number}")(x)
        x = _bilstm(architecture, number)(x, mask=is_token)
        outputs[states.hidden(number)] = x
    return keras.Model(inputs, outputs, name="student")


def _bilstm(architecture: StudentArchitecture, number: int) -> Bidirectional:
    units = architecture.units_per_direction or architecture.hidden_dim // 2
    # No recurrent dropout and no unrolling: either would lose the cuDNN kernel on a GPU.
    lstm = keras.layers.LSTM(units, return_sequences=True, name=f"lstm_{number}")
    return Bidirectional(lstm, name=f"bilstm_{number}")

"""Attention scores as states: what a transformer layer makes softmax of, for losses that compare it (TinyBERT).

A layer keeps its scores to itself, and with a fused kernel never holds them; they are computed a second time, from the
layer's own query and key and from the state that enters it. That costs two projections and a product for each layer
asked for, so no model returns them by itself:

    teacher = with_attention_scores(teacher, (3, 6))
    teacher(inputs)[states.attention_scores(6)]  # [B, heads, T, T]
"""

import math
from collections.abc import Callable, Iterable

import keras
import keras_nlp

from chemkd_tf.errors import InputError
from chemkd_tf.models import states


def with_attention_scores(model: keras.Model, layers: Iterable[int]) -> keras.Model:
    """Returns a model over the same layers and variables that returns attention scores beside its states.

    Scores are Q K^T / sqrt(width of a head), `[B, heads, T (of the query), T (of the key)]`, before the padding mask
    and softmax (Jiao et al. 2020, arXiv:1909.10351, eq. 1 and 7): at padding they are arbitrary finite numbers, so a
    loss has to weigh pairs of real tokens alone. (TinyBERT's own code adds the mask first and then puts 0 where a score
    is at most -100, in teacher and student alike: those pairs too count nothing in its sum.) Where several transformer
    layers count as one (ALBERT's inner repetitions) the scores are those of the last of them. dtype: the one that the
    model computes in.

    Args:
        model: encoder, masked-LM model or `heads.classification_states`, of a transformer.
        layers: whose scores, from 1, as in `states.hidden`.

    Raises:
        InputError: a layer doesn't exist or is no transformer's.
    """
    outputs = dict(model.output)
    for number in layers:
        outputs[states.attention_scores(number)] = _scores_of(model, number)
    return keras.Model(model.input, outputs, name=f"{model.name}_with_attention_scores")


def _scores_of(model: keras.Model, number: int) -> keras.KerasTensor:
    if states.hidden(number) not in model.output:
        raise InputError(f"attention scores of layer {number}: the {model.name} has {', '.join(model.output)} only")
    # The node that made this state, not the layer's first one: ALBERT calls a layer several times.
    transformer, node, _ = model.output[states.hidden(number)]._keras_history
    if not isinstance(transformer, keras_nlp.layers.TransformerEncoder):
        raise InputError(
            f"attention scores of layer {number}: the {model.name} has none, its layers are no transformer's"
        )
    state = transformer._inbound_nodes[node].arguments.args[0]
    # Post-norm (all families here): the attention reads the state itself.
    attention = transformer._self_attention_layer
    return AttentionScores(
        lambda: (attention.query_dense, attention.key_dense),
        dtype=transformer.dtype_policy,
        name=states.attention_scores(number),
    )(state)


class AttentionScores(keras.layers.Layer):
    """Scores from the projections of a layer that stands elsewhere in the model.

    Args:
        projections: returns the query's and the key's layer. A function, so that Keras doesn't find them here a second
            time: variables, their order and files of weights stay those of the model.
    """

    def __init__(self, projections: Callable[[], tuple[keras.layers.Layer, keras.layers.Layer]], **kwargs):
        super().__init__(**kwargs)
        self.projections = projections
        self.supports_masking = True
        self.built = True

    def call(self, state):
        """Maps `[B, T, H]` to `[B, heads, T, T]`."""
        query, key = (projection(state) for projection in self.projections())
        query = query * keras.ops.cast(1.0 / math.sqrt(query.shape[-1]), query.dtype)
        return keras.ops.einsum("btnh,bsnh->bnts", query, key)

    def compute_mask(self, *args, **kwargs):
        """Returns None: scores have no padding mask."""
        return None

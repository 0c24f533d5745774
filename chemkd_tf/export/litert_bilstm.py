"""The BiLSTM student as LiteRT runs it fastest: one text, both directions in one loop, four steps to a turn.

LiteRT's LSTM operation and the loop that Keras leaves are both slower (docs/litert.md). What makes the difference:

- Every shape follows from the input's, so that the XNNPACK kernels take all products; the number of turns alone
  depends on how many ids are no padding.
- The backward direction keeps its output in the order in which it reads: step s is token L - 1 - s. So both
  directions write at the same place, and whoever reads turns the index round.
- The gates are one sigmoid: tanh(x) = 2 sigmoid(2 x) - 1, the 2 within being part of the weights.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

from chemkd_tf.export.litert_tables import Lookup
from chemkd_tf.models.classifier import TextClassifier

# Each step more is another packed copy of the recurrent weights, which then no longer fit into a core's cache; each
# step less is another turn.
STEPS_A_TURN = 4
_BELOW_ALL = 1e4  # An LSTM's outputs lie in (-1, 1).


class _Sequence(NamedTuple):
    """One text on its way through the layers, S = T + STEPS_A_TURN - 1 rows: the last turn may overshoot the text.

    Attributes:
        forward: float32 `[S, W]`; row t belongs to token t.
        backward: float32 `[S, W]`; row s belongs to token L - 1 - s. None below the first layer.
        length: int32 scalar L, at least 1.
        is_token: float32 `[S, 1]`, 1 in the first L rows.
    """

    forward: tf.Tensor
    backward: tf.Tensor | None
    length: tf.Tensor
    is_token: tf.Tensor

    def rows(self, at: tf.Tensor) -> tf.Tensor:
        """Returns what the layer below says of the tokens `at` `[K]`: float32 `[K, H]`."""
        forward = tf.gather(self.forward, at)
        if self.backward is None:
            return forward
        return tf.concat([forward, tf.gather(self.backward, self.mirrored(at))], axis=1)

    def mirrored(self, at: tf.Tensor) -> tf.Tensor:
        """Token to step of the backward direction, and the other way round; behind the text: the first."""
        return tf.maximum(self.length - 1 - at, 0)


def build(classifier: TextClassifier, lookup: Lookup) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the function that LiteRT gets: `token_ids` int32 `[1, T]` to probabilities float32 `[1, C]`.

    Padding on the right changes nothing. A text of nothing but padding is taken for one [PAD].

    Args:
        classifier: on a BiLSTM student.
        lookup: reads the rows of an embedding.
    """
    description, network = classifier.description, classifier.network
    pad_id = classifier.vocabulary.pad_id
    pool = _POOLINGS[description.pooling]
    embed = _embedding(network, lookup)
    layers = [network.get_layer(f"bilstm_{number + 1}") for number in range(description.architecture.num_layers)]
    weights = [[_weights(one.cell) for one in (layer.forward_layer, layer.backward_layer)] for layer in layers]
    head = [variable.numpy() for variable in network.get_layer("classifier").weights]

    def probabilities_of(token_ids):
        ids = token_ids[0, : description.max_seq_length]
        length = tf.maximum(tf.reduce_sum(tf.cast(ids != pad_id, tf.int32)), 1)
        ids = tf.concat([ids, tf.constant(pad_id, tf.int32, [STEPS_A_TURN - 1])], axis=0)
        positions = tf.cumsum(tf.ones_like(ids)) - 1  # A range would have a shape that is known at run time only.
        is_token = tf.cast(positions < length, tf.float32)[:, None]
        sequence = _Sequence(embed(ids, positions), None, length, is_token)
        for layer in weights:
            sequence = sequence._replace(**_bilstm(layer, sequence))
        kernel, bias = head
        return tf.nn.softmax(tf.matmul(pool(sequence), kernel) + bias)

    return probabilities_of


def _embedding(network: keras.Model, lookup: Lookup) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns what maps ids and positions `[S]` to `[S, H]`; a text to classify has segment 0 throughout."""
    layers = {layer.name: [variable.numpy() for variable in layer.weights] for layer in network.layers}
    (tokens,) = layers["token_embedding"]
    projections = layers.get("token_projection", [])  # of a token embedding of low rank
    added = []
    if "position_embedding" in layers:
        added = [layers["position_embedding"][0] + layers["segment_embedding"][0][0]]

    def embed(ids, positions):
        embedded = lookup(tokens, ids)
        for projection in projections:
            embedded = tf.matmul(embedded, projection)
        for table in added:
            embedded += lookup(table, tf.minimum(positions, len(table) - 1))
        return embedded

    return embed


def _bilstm(weights: Sequence[tuple[np.ndarray, ...]], below: _Sequence) -> dict[str, tf.Tensor]:
    """Returns `forward` and `backward` of the layer's output; `weights` are those of either direction."""
    units = len(weights[0][1])
    turns = (below.length + STEPS_A_TURN - 1) // STEPS_A_TURN

    def turn(number, states, outputs):
        first = number * STEPS_A_TURN
        at = first + tf.range(STEPS_A_TURN)
        rows = [below.rows(tokens) for tokens in (at, below.mirrored(at))]
        steps = [_steps(*arguments) for arguments in zip(rows, weights, states, strict=True)]
        written = [
            xla.dynamic_update_slice(buffer, new, tf.stack([first, 0]))
            for buffer, (new, _) in zip(outputs, steps, strict=True)
        ]
        return number + 1, [state for _, state in steps], written

    state = (tf.zeros([1, units]), tf.zeros([1, units]))
    empty = tf.zeros_like(below.forward[:, :1]) * tf.zeros([1, units])
    start = (0, [state, state], [empty, empty])
    _, _, (forward, backward) = tf.while_loop(lambda number, *_: number < turns, turn, start)
    return {"forward": forward, "backward": backward}


def _weights(cell: keras.layers.LSTMCell) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kernel, recurrent kernel and bias, the candidate's columns (the third of Keras's four gates) doubled."""
    factors = np.repeat(np.array([1, 1, 2, 1], np.float32), cell.units)
    return tuple(variable.numpy() * factors for variable in (cell.kernel, cell.recurrent_kernel, cell.bias))


def _steps(
    rows: tf.Tensor, weights: tuple[np.ndarray, ...], state: tuple[tf.Tensor, tf.Tensor]
) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
    """Runs one direction over a turn's rows `[K, H]`; returns outputs `[K, units]` and the new state."""
    kernel, recurrent, bias = weights
    hidden, memory = state
    outputs = []
    for row in tf.split(tf.matmul(rows, kernel) + bias, STEPS_A_TURN):
        gates = tf.sigmoid(row + tf.matmul(hidden, recurrent))
        at_input, forget, candidate, output = tf.split(gates, 4, axis=1)
        memory = forget * memory + at_input * (candidate * 2.0 - 1.0)
        hidden = output * tf.tanh(memory)
        outputs.append(hidden)
    return tf.concat(outputs, axis=0), (hidden, memory)


def _max_pooling(sequence: _Sequence) -> tf.Tensor:
    below_all = (sequence.is_token - 1.0) * _BELOW_ALL
    halves = [tf.reduce_max(half + below_all, 0, keepdims=True) for half in (sequence.forward, sequence.backward)]
    return tf.concat(halves, axis=1)


def _mean_pooling(sequence: _Sequence) -> tf.Tensor:
    halves = (sequence.forward, sequence.backward)
    sums = [tf.reduce_sum(half * sequence.is_token, 0, keepdims=True) for half in halves]
    return tf.concat(sums, axis=1) / tf.cast(sequence.length, tf.float32)


def _cls_pooling(sequence: _Sequence) -> tf.Tensor:
    return sequence.rows(tf.constant([0]))


def _last_pooling(sequence: _Sequence) -> tf.Tensor:
    """Each direction behind its last step."""
    last = tf.reshape(sequence.length - 1, [1])
    return tf.concat([tf.gather(sequence.forward, last), tf.gather(sequence.backward, last)], axis=1)


_POOLINGS: dict[str, Callable[[_Sequence], tf.Tensor]] = {
    "max": _max_pooling,
    "mean": _mean_pooling,
    "cls": _cls_pooling,
    "last": _last_pooling,
}

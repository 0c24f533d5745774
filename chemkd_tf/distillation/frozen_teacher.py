"""The teacher as the distiller asks it: no more of it is computed than the objectives read, in the precision chosen."""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import keras
import keras_nlp
import tensorflow as tf

from chemkd_tf.models import states

PRECISIONS = {"float32": None, "bfloat16": "mixed_bfloat16"}


def frozen_teacher(
    model: keras.Model, needed_states: Iterable[str], precision: str = "float32"
) -> Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]:
    """Returns a function from a model's inputs to the states that are needed, in inference mode.

    Layers above the highest state that is needed are left out. Where the last layer serves the logits alone, its
    queries and its feed-forward half are computed at the masked positions alone: with 20 of 128 masked, 70 % of that
    layer's products are saved. No number changes but by the order of additions; where the last layer's state is needed
    itself, none does.

    Args:
        model: masked-LM model that returns states. It is not changed: its variables are read where they are, its
            precision is another one only while the function is traced.
        needed_states: names.
        precision: key of `PRECISIONS`, of the products; None there: as the model was built. Variables stay float32, and
            each is rounded as it is read.

    Returns:
        Function: the inputs of `model` to a dict of float32 tensors, shapes as in `models.states`.

    Raises:
        ValueError: `model` has no such state.
        KeyError: no such precision.
    """
    needed = tuple(dict.fromkeys(needed_states))
    unknown = [name for name in needed if name not in model.output]
    if unknown:
        raise ValueError(f"{model.name} has no state {', '.join(unknown)}; it has {', '.join(model.output)}")
    policy = PRECISIONS[precision]
    last_layer = _LastLayer.of(model, needed)
    read = {name: model.output[name] for name in needed if not (last_layer and name == states.LOGITS)}
    if last_layer:
        read[_LastLayer.INPUT] = last_layer.input
    below = keras.Model(model.input, read)

    def ask(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        with _computing_in(model, policy):
            found = below(inputs, training=False)
            if last_layer:
                found[states.LOGITS] = last_layer.logits(found.pop(_LastLayer.INPUT), inputs)
        return {name: tf.cast(found[name], tf.float32) for name in needed}

    return ask


class _LastLayer:
    """A transformer layer whose output goes into the masked-LM head and nowhere else.

    Args:
        layer: keras-nlp's encoder layer.
        layer_input: what enters it.
        head: the masked-LM head.
    """

    INPUT = "input_of_the_last_layer"

    def __init__(
        self, layer: keras_nlp.layers.TransformerEncoder, layer_input: keras.KerasTensor, head: keras.layers.Layer
    ):
        self._layer = layer
        self._head = head
        self.input = layer_input

    @classmethod
    def of(cls, model: keras.Model, needed: tuple[str, ...]) -> "_LastLayer | None":
        """Finds it behind the logits; None if they aren't needed, if its output is, or if it is of another kind."""
        if states.LOGITS not in needed:
            return None
        head, head_call = _made_by(model.output[states.LOGITS])
        hidden = head_call.arguments.args[0]
        layer, layer_call = _made_by(hidden)
        others = [_made_by(model.output[name])[1] for name in needed if name != states.LOGITS]
        if not isinstance(layer, keras_nlp.layers.TransformerEncoder) or layer.normalize_first or layer_call in others:
            return None
        return cls(layer, layer_call.arguments.args[0], head)

    def logits(self, layer_input: tf.Tensor, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns `[B, P, V]` from the layer's input `[B, T, H]` and the model's inputs."""
        positions = inputs[states.MASK_POSITIONS]
        layer, x = self._layer, tf.gather(layer_input, positions, batch_dims=1)
        attended = layer._self_attention_layer(
            query=x,
            value=layer_input,
            attention_mask=tf.cast(inputs["padding_mask"], tf.bool)[:, tf.newaxis],
            training=False,
        )
        x = layer._self_attention_layer_norm(x + attended)
        forward = layer._feedforward_output_dense(layer._feedforward_intermediate_dense(x))
        x = layer._feedforward_layer_norm(x + forward)
        return self._head(x, tf.broadcast_to(tf.range(tf.shape(positions)[1]), tf.shape(positions)))


def _made_by(tensor: keras.KerasTensor) -> tuple[keras.Operation, object]:
    """The layer that made a tensor of a functional model, and the call in which it did."""
    history = tensor._keras_history
    return history.operation, history.operation._inbound_nodes[history.node_index]


@contextlib.contextmanager
def _computing_in(model: keras.Model, policy: str | None) -> Iterator[None]:
    """Gives every layer of `model` another dtype policy for a while; None: nothing."""
    layers = [] if policy is None else list(model._flatten_layers())
    own = [layer.dtype_policy for layer in layers]
    try:
        for layer in layers:
            layer.dtype_policy = policy
        yield
    finally:
        for layer, before in zip(layers, own, strict=True):
            layer.dtype_policy = before

"""A BiLSTM student once more, in pieces: each direction of each layer by itself, so that two threads share a text.

A single text leaves ONNX Runtime little to share between threads: the products of the recurrence are of one row. But
the directions of a layer don't wait for each other. Run in two threads, with a wait at the end of each layer, they take
less time than with both threads inside each operator; docs/inference.md has by how much. ONNX Runtime's own ways to run
branches side by side (docs/onnx.md) lost more than they gained.

The pieces are a few kilobytes, in one zip file. Their weights are bytes of the whole model's file beside it, by offset
and length (ONNX's external data): nothing is stored twice.
"""

import os
import zipfile
from collections.abc import Callable

import keras
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from chemkd_tf.atomic import atomic_write
from chemkd_tf.export import client
from chemkd_tf.export.onnx_bilstm import (
    EMBEDDINGS,
    POOLINGS,
    TOKEN_IDS,
    TOKEN_IDS_INFO,
    Graph,
    add_head,
    lstm_weights,
    probabilities_info,
)
from chemkd_tf.models.classifier import TextClassifier

_SMALLEST_OUTSIDE = 256  # bytes; what is smaller stands in the piece itself
_OPERATOR_DIRECTIONS = {"forward": "forward", "backward": "reverse"}
_SAME_TIME = (1980, 1, 1, 0, 0, 0)  # of every member: the same classifier makes the same bytes


def write(classifier: TextClassifier, path: str, precision: Callable[[onnx.ModelProto], onnx.ModelProto]) -> None:
    """Writes the pieces beside the whole model, where `client.OnnxModel` finds them.

    Args:
        classifier: on a BiLSTM student.
        path: of the whole model, which is there already.
        precision: makes of a float32 graph what the whole model is.
    """
    with open(path, "rb") as file:
        whole = file.read()
    with atomic_write(client.pieces_of(path), "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as pieces:
        pieces.comment = client.checksum(path)
        for name, model in build(classifier).items():
            shared = _refer_to(precision(model), whole, os.path.basename(path))
            pieces.writestr(zipfile.ZipInfo(name, _SAME_TIME), shared.SerializeToString(deterministic=True))


def build(classifier: TextClassifier) -> dict[str, onnx.ModelProto]:
    """Returns the pieces by name, for one text without padding, at most `max_seq_length` long.

    `forward_1` and `backward_1` take `token_ids` int32 `[1, T]`, those of the layers above the `forward` and `backward`
    float32 `[T, 1, units]` of the layer below; all give `states` `[T, 1, units]`. `head` takes `forward` and `backward`
    of the last layer and gives `probabilities` `[1, C]`.

    Args:
        classifier: on a BiLSTM student.
    """
    network, architecture = classifier.network, classifier.description.architecture
    layers = [network.get_layer(f"bilstm_{number + 1}") for number in range(architecture.num_layers)]
    pieces = {}
    for number, layer in enumerate(layers):
        for direction in client.DIRECTIONS:
            graph = Graph()
            if number == 0:
                ids = graph.add("Transpose", [TOKEN_IDS], "ids", perm=[1, 0])
                below, inputs = EMBEDDINGS[architecture.embedding](graph, network, ids), [TOKEN_IDS_INFO]
            else:
                below, inputs = _both(graph), [_states_info(name, layers[number - 1]) for name in client.DIRECTIONS]
            _add_direction(graph, layer, direction, below)
            pieces[f"{direction}_{number + 1}"] = graph.model(inputs, [_states_info("states", layer)])
    pieces["head"] = _head(classifier, layers[-1])
    return pieces


def _add_direction(graph: Graph, layer: keras.layers.Bidirectional, direction: str, below: str) -> None:
    """Adds what makes `states` of the sequence below."""
    cell = {"forward": layer.forward_layer, "backward": layer.backward_layer}[direction].cell
    weights = [graph.constant(part, value) for part, value in lstm_weights(cell).items()]
    attributes = {"hidden_size": cell.units, "direction": _OPERATOR_DIRECTIONS[direction]}
    lstm = graph.add("LSTM", [below, *weights], "lstm", **attributes)
    graph.add("Squeeze", [lstm, graph.integers(1)], "states")  # from [T, 1 direction, 1, units]


def _head(classifier: TextClassifier, layer: keras.layers.Bidirectional) -> onnx.ModelProto:
    """From both directions of the last layer to probabilities."""
    graph = Graph()
    by_direction = [graph.add("Unsqueeze", [name, graph.integers(1)], f"{name}_states") for name in client.DIRECTIONS]
    states = graph.add("Concat", by_direction, "states", axis=1)
    # The forward direction ends at the last token, the backward one at the first.
    ends = [
        graph.add("Gather", [name, graph.integers(at)], f"{name}_end", axis=0)
        for name, at in zip(client.DIRECTIONS, (-1, 0), strict=True)
    ]
    length = graph.add("Shape", [states], "length", start=0, end=1)
    real = graph.constant("is_token", np.ones([1, 1], bool))
    pool = POOLINGS[classifier.description.pooling]
    pooled = pool(graph, states, graph.add("Concat", ends, "ends", axis=0), real, length)
    add_head(graph, classifier.network, pooled)
    return graph.model([_states_info(name, layer) for name in client.DIRECTIONS], [probabilities_info(classifier)])


def _both(graph: Graph) -> str:
    return graph.add("Concat", client.DIRECTIONS, "below", axis=2)


def _states_info(name: str, layer: keras.layers.Bidirectional) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["length", "batch", layer.forward_layer.cell.units])


def _refer_to(model: onnx.ModelProto, whole: bytes, location: str) -> onnx.ModelProto:
    """Returns the model with weights that are bytes of another file, wherever the same bytes are there.

    Args:
        model: it is not changed.
        whole: content of the other file.
        location: its name.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for tensor in result.graph.initializer:
        content = numpy_helper.to_array(tensor).tobytes()
        offset = whole.find(content)
        if len(content) >= _SMALLEST_OUTSIDE and offset >= 0:
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", location), ("offset", offset), ("length", len(content))):
                tensor.external_data.add(key=key, value=str(value))
    return result

"""The BiLSTM student as an ONNX graph, built operator by operator with the native LSTM.

A converter would leave Keras's loops of small operations, or TensorFlow's own kernel, which no other runtime has.
What the layout below is good for, measured, stands in docs/onnx.md.
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from chemkd_tf.models.classifier import TextClassifier
from chemkd_tf.models.student import TOKEN_PROJECTION

TOKEN_IDS, PROBABILITIES = "token_ids", "probabilities"
OPSET, IR_VERSION = 17, 8  # Recent enough for every operator here, old enough for the runtimes of the browser.
TOKEN_IDS_INFO = helper.make_tensor_value_info(TOKEN_IDS, TensorProto.INT32, ["batch", "length"])
_BELOW_ALL = -2.0  # An LSTM's states lie in (-1, 1), and are 0 at padding.


class Graph:
    """Collects nodes and constants; a tensor is known by its name."""

    def __init__(self):
        self.nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: np.ndarray) -> str:
        """Adds a constant once; returns `name`."""
        self._constants.setdefault(name, numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def integers(self, *values: int) -> str:
        """Adds an int64 constant `[len(values)]`: axes, bounds, shapes."""
        return self.constant("integers_" + "_".join(map(str, values)), np.array(values, np.int64))

    def add(self, operator: str, inputs: Sequence[str], name: str, outputs: Sequence[str] = (), **attributes) -> str:
        """Adds a node; returns its first output, which is called `name` unless `outputs` says otherwise."""
        outputs = outputs or [name]
        self.nodes.append(helper.make_node(operator, inputs, outputs, name=name, **attributes))
        return outputs[0]

    def model(self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]) -> onnx.ModelProto:
        """Returns the checked model of what was added."""
        graph = helper.make_graph(self.nodes, "bilstm_classifier", inputs, outputs, list(self._constants.values()))
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="chemkd_tf")
        onnx.checker.check_model(model, full_check=True)
        return model


def build(classifier: TextClassifier) -> onnx.ModelProto:
    """Returns the graph of a classifier on a BiLSTM student.

    Input: `token_ids` int32 `[B, T]`, B and T from 1 on, padded on the right; what stands behind `max_seq_length` is
    cut off. A row of nothing but padding is taken for a text of one [PAD]: an answer, if not a useful one. Output:
    `probabilities` float32 `[B, C]`.

    The time is the first axis throughout, as the LSTM wants it: of the inputs only the ids are transposed.
    """
    graph = Graph()
    network, architecture = classifier.network, classifier.description.architecture
    length_limit = classifier.description.max_seq_length
    cut = graph.add("Slice", [TOKEN_IDS, graph.integers(0), graph.integers(length_limit), graph.integers(1)], "cut_ids")
    ids = graph.add("Transpose", [cut], "ids", perm=[1, 0])
    pad_id = graph.constant("pad_id", np.array(classifier.vocabulary.pad_id, np.int32))
    is_token = graph.add("Not", [graph.add("Equal", [ids, pad_id], "is_padding")], "is_token")
    counted = graph.add("Cast", [is_token], "is_token_counted", to=TensorProto.INT32)
    lengths = graph.add("ReduceSum", [counted, graph.integers(0)], "real_lengths", keepdims=0)
    lengths = graph.add("Max", [lengths, graph.constant("one_token", np.array(1, np.int32))], "lengths")

    below = EMBEDDINGS[architecture.embedding](graph, network, ids)
    for number in range(1, architecture.num_layers + 1):
        layer = network.get_layer(f"bilstm_{number}")
        states, last = _bilstm(graph, layer, number, below, lengths)
        if number < architecture.num_layers:
            below = _side_by_side(graph, layer, states, f"hidden_{number}")
    add_head(graph, network, POOLINGS[classifier.description.pooling](graph, states, last, is_token, lengths))
    return graph.model([TOKEN_IDS_INFO], [probabilities_info(classifier)])


def add_head(graph: Graph, network: keras.Model, pooled: str) -> None:
    """Adds what makes `probabilities` of the pooled states `[directions, B, units]`."""
    by_row = graph.add("Transpose", [pooled], "pooled_by_row", perm=[1, 0, 2])
    side_by_side = graph.add("Reshape", [by_row, graph.integers(0, -1)], "pooled_side_by_side")
    head = network.get_layer("classifier")
    kernel, bias = (graph.constant(f"classifier_{name}", getattr(head, name).numpy()) for name in ("kernel", "bias"))
    graph.add("Softmax", [graph.add("Gemm", [side_by_side, kernel, bias], "logits")], PROBABILITIES, axis=-1)


def probabilities_info(classifier: TextClassifier) -> onnx.ValueInfoProto:
    """The output of a graph."""
    shape = ["batch", len(classifier.description.labels)]
    return helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, shape)


def _token_embedding(graph: Graph, network: keras.Model, ids: str) -> str:
    """One of low rank stays a product of two matrices, which is what makes it small."""
    table = graph.constant("token_embedding", network.get_layer("token_embedding").embeddings.numpy())
    tokens = graph.add("Gather", [table, ids], "tokens")
    for layer in network.layers:
        if layer.name == TOKEN_PROJECTION:
            tokens = graph.add("MatMul", [tokens, graph.constant(TOKEN_PROJECTION, layer.kernel.numpy())], "projected")
    return tokens


def _full_embedding(graph: Graph, network: keras.Model, ids: str) -> str:
    """Position and segment are one table: a text to classify has segment 0 throughout."""
    positions = network.get_layer("position_embedding").position_embeddings.numpy()
    segment = network.get_layer("segment_embedding").embeddings.numpy()[0]
    table = graph.constant("position_embedding", (positions + segment)[:, None])
    num_tokens = graph.add("Shape", [ids], "num_tokens", start=0, end=1)
    positions = graph.add("Slice", [table, graph.integers(0), num_tokens, graph.integers(0)], "positions")
    return graph.add("Add", [_token_embedding(graph, network, ids), positions], "embedding")


EMBEDDINGS: dict[str, Callable[[Graph, keras.Model, str], str]] = {"token": _token_embedding, "full": _full_embedding}


def _bilstm(graph: Graph, layer: keras.layers.Bidirectional, number: int, below: str, lengths: str) -> tuple[str, str]:
    """Adds a layer.

    Returns:
        Its states `[T, directions, B, units]`, zero at padding, and the last of them `[directions, B, units]`: the
        forward direction's at the last real token, the backward one's at the first.
    """
    name = f"bilstm_{number}"
    directions = [lstm_weights(lstm.cell) for lstm in (layer.forward_layer, layer.backward_layer)]
    weights = [
        graph.constant(f"{name}_{part}", np.concatenate([direction[part] for direction in directions]))
        for part in directions[0]
    ]
    outputs = [f"{name}_states", f"{name}_last"]
    units = layer.forward_layer.cell.units
    graph.add("LSTM", [below, *weights, lengths], name, outputs, hidden_size=units, direction="bidirectional")
    return outputs[0], outputs[1]


def _side_by_side(graph: Graph, layer: keras.layers.Bidirectional, states: str, name: str) -> str:
    """The states of both directions as what the next layer reads, `[T, B, 2 * units]`."""
    by_row = graph.add("Transpose", [states], f"{name}_by_row", perm=[0, 2, 1, 3])
    return graph.add("Reshape", [by_row, graph.integers(0, 0, 2 * layer.forward_layer.cell.units)], name)


def lstm_weights(cell: keras.layers.LSTMCell) -> dict[str, np.ndarray]:
    """Returns W `[1, 4 * units, H]`, R `[1, 4 * units, units]` and B `[1, 8 * units]` of ONNX's LSTM.

    Keras has its gates in the order input, forget, candidate, output; ONNX input, output, forget, candidate. ONNX
    adds a second bias to the recurrent product: zero.
    """
    kernel, recurrent, bias = (
        _reordered(variable.numpy()) for variable in (cell.kernel, cell.recurrent_kernel, cell.bias)
    )
    return {"W": kernel.T[None], "R": recurrent.T[None], "B": np.concatenate([bias, np.zeros_like(bias)])[None]}


def _reordered(gates: np.ndarray) -> np.ndarray:
    at_input, forget, candidate, output = np.split(gates, 4, axis=-1)
    return np.concatenate([at_input, output, forget, candidate], axis=-1)


def _max_pooling(graph: Graph, states: str, last: str, is_token: str, lengths: str) -> str:
    """By GlobalMaxPool, to which the time is the last axis: ReduceMax over the first takes longer."""
    below = graph.constant("below_all", np.array(_BELOW_ALL, np.float32))
    lowered = graph.add("Where", [is_token, graph.constant("as_it_is", np.array(0, np.float32)), below], "lowered")
    lowered = graph.add("Unsqueeze", [lowered, graph.integers(1, 3)], "lowered_of_all")
    real = graph.add("Add", [states, lowered], "real_states")
    flat = graph.add("Reshape", [real, graph.integers(0, -1)], "real_states_of_a_token")
    by_state = graph.add("Transpose", [flat], "real_states_by_state", perm=[1, 0])
    image = graph.add("Unsqueeze", [by_state, graph.integers(0)], "real_states_of_an_image")
    largest = graph.add("GlobalMaxPool", [image], "largest")
    shape = graph.add("Shape", [states], "shape_of_pooled", start=1)
    return graph.add("Reshape", [largest, shape], "pooled")


def _mean_pooling(graph: Graph, states: str, last: str, is_token: str, lengths: str) -> str:
    """The LSTM's states at padding are zero: the sum needs no mask."""
    total = graph.add("ReduceSum", [states, graph.integers(0)], "total", keepdims=0)
    count = graph.add("Cast", [lengths], "count", to=TensorProto.FLOAT)
    return graph.add("Div", [total, graph.add("Unsqueeze", [count, graph.integers(1)], "count_of_all")], "pooled")


def _cls_pooling(graph: Graph, states: str, last: str, is_token: str, lengths: str) -> str:
    return graph.add("Gather", [states, graph.constant("first", np.array(0, np.int64))], "pooled", axis=0)


def _last_pooling(graph: Graph, states: str, last: str, is_token: str, lengths: str) -> str:
    return last


# From all states of the last layer to one of each direction: poolings need no other order of the axes, and the few that
# are left are put side by side sooner.
POOLINGS: dict[str, Callable[..., str]] = {
    "max": _max_pooling,
    "mean": _mean_pooling,
    "cls": _cls_pooling,
    "last": _last_pooling,
}

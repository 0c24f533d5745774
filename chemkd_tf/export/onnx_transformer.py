"""A transformer classifier as an ONNX graph, converted from TensorFlow's."""

import os
import tempfile

import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx
from onnx import numpy_helper

from chemkd_tf.export.onnx_bilstm import IR_VERSION, OPSET, PROBABILITIES, TOKEN_IDS
from chemkd_tf.models.classifier import TextClassifier


def build(classifier: TextClassifier) -> onnx.ModelProto:
    """Returns the graph of a classifier on a BERT, ALBERT, ELECTRA or DistilBERT.

    Input: `token_ids` int32 `[B, T]`, padded on the right; what stands behind `max_seq_length` is cut off. Output:
    `probabilities` float32 `[B, C]`.
    """
    limit, pad_id = classifier.description.max_seq_length, classifier.vocabulary.pad_id

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, name=TOKEN_IDS)], autograph=False)
    def probabilities(token_ids):
        token_ids = token_ids[:, :limit]
        batch = {
            "token_ids": token_ids,
            "segment_ids": tf.zeros_like(token_ids),
            "padding_mask": tf.cast(token_ids != pad_id, tf.int32),
        }
        return {PROBABILITIES: tf.nn.softmax(classifier.network(batch, training=False))}

    model, _ = tf2onnx.convert.from_function(probabilities, probabilities.input_signature, opset=OPSET)
    model = _with_constants_folded(model)
    model.ir_version = IR_VERSION
    named = {TOKEN_IDS: ["batch", "length"], PROBABILITIES: ["batch"]}
    for tensor in [*model.graph.input, *model.graph.output]:
        for dimension, name in zip(tensor.type.tensor_type.shape.dim, named[tensor.name], strict=False):
            dimension.dim_param = name
    _plain_products(model.graph)
    return model


def _with_constants_folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Works out what depends on weights alone: Keras reshapes the kernels of attention in every call.

    A product whose kernel is not a constant can't be quantised.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = os.path.join(folder, "folded.onnx")
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def _plain_products(graph: onnx.GraphProto) -> None:
    """Makes MatMul of every Gemm without summand.

    The quantisation leaves out those of the converter, which scale the absent summand by 0, and it transposes a kernel
    for each of its products anew: ALBERT's, which many layers share, would be wrong after the second.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    transposed = set()
    for node in graph.node:
        turned = {attribute.name: attribute.i for attribute in node.attribute if attribute.name.startswith("trans")}
        kernel = constants.get(node.input[1]) if node.op_type == "Gemm" and len(node.input) == 2 else None
        if kernel is not None and not turned.get("transA"):
            if turned.get("transB"):
                name = f"{kernel.name}_transposed"
                if name not in transposed:
                    values = np.ascontiguousarray(numpy_helper.to_array(kernel).T)
                    graph.initializer.append(numpy_helper.from_array(values, name))
                    transposed.add(name)
                node.input[1] = name
            node.op_type = "MatMul"
            del node.attribute[:]
    used = {name for node in graph.node for name in node.input}
    for name in constants.keys() - used:
        graph.initializer.remove(constants[name])

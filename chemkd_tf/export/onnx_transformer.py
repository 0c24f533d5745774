"""A transformer classifier as an ONNX graph, converted from TensorFlow's."""

import onnx
import tensorflow as tf
import tf2onnx

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
    model.ir_version = IR_VERSION
    named = {TOKEN_IDS: ["batch", "length"], PROBABILITIES: ["batch"]}
    for tensor in [*model.graph.input, *model.graph.output]:
        for dimension, name in zip(tensor.type.tensor_type.shape.dim, named[tensor.name], strict=False):
            dimension.dim_param = name
    for node in model.graph.node:
        # The converter scales an absent summand by 0; without that, the product can be quantised.
        if node.op_type == "Gemm" and len(node.input) == 2:
            kept = [attribute for attribute in node.attribute if attribute.name != "beta"]
            del node.attribute[:]
            node.attribute.extend(kept)
    return model

"""An ONNX classifier in 8 bits, by ONNX Runtime's dynamic quantisation."""

import os
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

_OPERATORS = ["LSTM", "MatMul", "Gather"]  # Gemm becomes MatMul on the way; Gather is the token embedding
_LARGEST = 127
_PREPARED = ("onnx.quant.pre_process", "onnxruntime.quant")  # said of a model that needs no further preparation


def quantize(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the model with int8 weights; inputs of products are quantised as they come, which needs no sample data.

    Weights of products have a scale for each output channel and 7 bits: where a processor has no instruction for
    products of 8-bit numbers, ONNX Runtime adds pairs of them in 16 bits, which 8-bit weights overflow. A table of
    embeddings has one scale. docs/onnx.md has what each choice is worth.

    Args:
        model: in float32; it is not changed.
    """
    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    prepared.metadata_props.add(key=_PREPARED[0], value=_PREPARED[1])
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "int8.onnx")
        quantize_dynamic(
            prepared,
            path,
            op_types_to_quantize=_OPERATORS,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
        quantized = onnx.load(path)
    _quantize_sliced_tables(quantized.graph)
    del quantized.metadata_props[:]
    quantized.metadata_props.extend(model.metadata_props)
    return quantized


def _quantize_sliced_tables(graph: onnx.GraphProto) -> None:
    """Puts int8 in the place of float32 tables that `Slice` cuts, such as the positions: ONNX Runtime leaves them."""
    tables = {table.name: table for table in graph.initializer if table.data_type == TensorProto.FLOAT}
    for index, node in reversed(list(enumerate(graph.node))):
        table = tables.get(node.input[0]) if node.op_type == "Slice" else None
        if table is not None:
            values = numpy_helper.to_array(table)
            scale = np.float32(max(np.abs(values).max(), np.finfo(np.float32).tiny) / _LARGEST)
            whole, scale_name = f"{table.name}_quantized", f"{table.name}_scale"
            graph.initializer.append(numpy_helper.from_array(np.rint(values / scale).astype(np.int8), whole))
            graph.initializer.append(numpy_helper.from_array(np.array(scale), scale_name))
            output, node.input[0], node.output[0] = node.output[0], whole, f"{node.name}_quantized"
            dequantize = helper.make_node(
                "DequantizeLinear", [node.output[0], scale_name], [output], name=f"{node.name}_dequantized"
            )
            graph.node.insert(index + 1, dequantize)
            graph.initializer.remove(table)

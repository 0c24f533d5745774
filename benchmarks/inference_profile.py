"""Where the time goes: operators by ONNX Runtime's own profile, and the tokeniser."""

import glob
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np

PARTS = ("matrix products", "attention", "recurrence", "embedding", "other operators")
_PART_OF_OPERATOR = {
    **dict.fromkeys(
        ("MatMul", "Gemm", "FusedMatMul", "FusedGemm", "MatMulInteger", "MatMulIntegerToFloat",
         "DynamicQuantizeMatMul", "QGemm", "QLinearMatMul"),
        "matrix products",
    ),
    **dict.fromkeys(("Attention", "QAttention", "MultiHeadAttention"), "attention"),
    **dict.fromkeys(("LSTM", "DynamicQuantizeLSTM"), "recurrence"),
    **dict.fromkeys(
        ("Gather", "EmbedLayerNormalization", "QEmbedLayerNormalization", "DequantizeLinear"), "embedding"
    ),
}  # fmt: skip
BATCH_SIZES = (1, 32)
_CALLS = {1: 30, 32: 3}


def profile(
    paths: dict[str, str], token_ids: Sequence[int], threads: int, batch_sizes: Sequence[int]
) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds of a call by part.

    Attention is counted with its own products. ONNX Runtime's LSTM multiplies its inputs by their weights for all
    tokens at once before it steps through them: in fp32 those products are timed alone, in a graph of nothing else,
    and taken from the recurrence to the matrix products; in int8 they stay in the recurrence. Sessions have ONNX
    Runtime's own settings, one operator after the other, so that the parts add up; our client runs two at once.

    Args:
        paths: .onnx by side.
        token_ids: of one text.
        threads: of the session.
        batch_sizes: of `BATCH_SIZES`.

    Returns:
        By side, then by batch size ("1", "32"): milliseconds by `PARTS`.
    """
    return {
        side: {str(size): parts_of(path, np.array([token_ids] * size, np.int32), threads) for size in batch_sizes}
        for side, path in paths.items()
    }


def parts_of(path: str, token_ids: np.ndarray, threads: int) -> dict[str, float]:
    """Milliseconds of a call by part; see `profile`."""
    from benchmarks.inference_runtimes import onnx_inputs, onnx_session

    calls = _CALLS[len(token_ids)]
    with tempfile.TemporaryDirectory() as folder:
        session = onnx_session(path, threads, enable_profiling=True, profile_file_prefix=os.path.join(folder, "p"))
        inputs = onnx_inputs(session, token_ids)
        for _ in range(calls):
            session.run(None, inputs)
        session.end_profiling()
        (file,) = glob.glob(os.path.join(folder, "*.json"))
        with open(file, encoding="utf-8") as opened:
            found = sums_by_part(json.load(opened), calls)
    products = min(input_product_milliseconds(path, token_ids.size, threads), found["recurrence"])
    found["matrix products"] += products
    found["recurrence"] -= products
    return found


def sums_by_part(events: Sequence[dict], calls: int) -> dict[str, float]:
    """Milliseconds of a call by part.

    Args:
        events: of ONNX Runtime's profile.
        calls: as many as were profiled.
    """
    found = dict.fromkeys(PARTS, 0.0)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            part = _PART_OF_OPERATOR.get(event["args"]["op_name"], "other operators")
            found[part] += event["dur"] / 1000 / calls
    return found


def input_product_milliseconds(path: str, rows: int, threads: int) -> float:
    """Median time of the products of all LSTMs' inputs with their weights, alone; 0 where there are none in fp32.

    Args:
        path: a model.
        rows: tokens of the batch.
        threads: of the session.
    """
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    model = onnx.load(path)
    weights = {each.name: each for each in model.graph.initializer}
    lstms = [node for node in model.graph.node if node.op_type == "LSTM"]
    if not lstms:
        return 0.0
    nodes, inputs, constants, outputs = [], {}, [], []
    for number, node in enumerate(lstms):
        kernel = numpy_helper.to_array(weights[node.input[1]])  # [directions, 4 * units, H]
        flat = np.ascontiguousarray(kernel.reshape(-1, kernel.shape[2]).T)
        inputs[f"x{number}"] = np.ones((rows, kernel.shape[2]), np.float32)
        constants.append(numpy_helper.from_array(flat, f"w{number}"))
        nodes.append(helper.make_node("MatMul", [f"x{number}", f"w{number}"], [f"y{number}"]))
        outputs.append(helper.make_tensor_value_info(f"y{number}", 1, [rows, flat.shape[1]]))
    declared = [helper.make_tensor_value_info(name, 1, array.shape) for name, array in inputs.items()]
    graph = helper.make_graph(nodes, "products", declared, outputs, constants)
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(built.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return 1000 * median_seconds(lambda: session.run(None, inputs), 20)


def tokeniser_speeds(vocab_file: str, batches: Sequence[Sequence[str]], encode: Callable) -> dict[str, float]:
    """Microseconds a text of 128 tokens takes: in ours, on texts it hasn't met, and in Hugging Face's tokenizers.

    Args:
        vocab_file: of both.
        batches: texts of 128 tokens.
        encode: ours: text and most tokens to ids.
    """
    from tokenizers import BertWordPieceTokenizer

    theirs = BertWordPieceTokenizer(vocab_file, lowercase=True)
    theirs.enable_truncation(128)
    texts = [text for batch in batches for text in batch]
    return {
        "ours_microseconds": microseconds(lambda text: encode(text, 128), texts),
        "tokenizers_microseconds": microseconds(lambda text: theirs.encode(text).ids, texts),
    }


def microseconds(call: Callable[[str], object], texts: Sequence[str]) -> float:
    """Median time of a text."""
    found = []
    for text in texts:
        started = time.perf_counter()
        call(text)
        found.append(time.perf_counter() - started)
    return 1e6 * statistics.median(found)


def median_seconds(call: Callable[[], object], calls: int) -> float:
    """Median time of a call, after one that doesn't count."""
    call()
    found = []
    for _ in range(calls):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return statistics.median(found)

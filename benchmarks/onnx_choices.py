"""What the choices behind chemkd_tf/export/onnx*.py and client.py are worth, on a trained classifier and real texts.

python -m benchmarks.onnx_choices --classifier=runs/labels --texts=data/dev.tsv --output_json=onnx.json

Quantisation: agreement with float32. Ways to run: one text, and 32, as long as the classifier takes them, one call
after the other and with a pause before each; wall time says something only where nothing else runs, CPU time of all
threads always.
"""

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic

from benchmarks.choices import conditions, read_command_line
from chemkd_tf.atomic import write_json
from chemkd_tf.export import client
from chemkd_tf.export import onnx as onnx_export

_SECONDS = 4.0  # of each way to run
_PAUSES = (0.0, 0.01)  # seconds before a call


def quantisations(folder: str, texts: list[str]) -> Iterator[dict[str, Any]]:
    """Yields a row for each way to quantise: share of equal labels, mean difference of probabilities, bytes.

    Args:
        folder: an exported one.
        texts: to compare on.
    """
    reference = client.Classifier(os.path.join(folder, onnx_export.FLOAT_FILE), num_threads=1)
    expected = reference(texts)
    path = os.path.join(folder, "tried.onnx")
    for table, per_channel, reduce_range in itertools.product((True, False), repeat=3):
        operators = ["LSTM", "MatMul", *(["Gather"] if table else [])]
        quantize_dynamic(
            onnx.load(os.path.join(folder, onnx_export.FLOAT_FILE)),
            path,
            op_types_to_quantize=operators,
            per_channel=per_channel,
            reduce_range=reduce_range,
            weight_type=QuantType.QInt8,
        )
        found = client.Classifier(path, num_threads=1)(texts)
        yield {
            "int8_table": table,
            "per_channel": per_channel,
            "seven_bits": reduce_range,
            "same_label": float(np.mean(found.argmax(axis=1) == expected.argmax(axis=1))),
            "mean_difference": float(np.abs(found - expected).mean()),
            "bytes": os.path.getsize(path),
        }


def ways_to_run(path: str) -> dict[str, Callable[[np.ndarray], Any]]:
    """Sessions by name; two threads each but the first."""

    def one_stream(num_threads: int, spinning: str) -> Callable[[np.ndarray], Any]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda token_ids: session.run(None, {"token_ids": token_ids})

    model = client.OnnxModel(path, 2)

    def by_rows(token_ids: np.ndarray) -> Any:
        size = model.rows_at_once(len(token_ids))
        batches = [token_ids[start : start + size] for start in range(0, len(token_ids), size)]
        return model(batches, list)

    return {
        "one thread": one_stream(1, "0"),
        "together": one_stream(2, "0"),
        "together, spinning": one_stream(2, "1"),
        "as the client does": by_rows,
    }


def timed(answer: Callable[[np.ndarray], Any], token_ids: np.ndarray, pause: float) -> dict[str, float]:
    """Milliseconds of calls, `pause` seconds before each: least and median wall time, least CPU time of all threads."""
    walls, cpus, until = [], [], time.monotonic() + _SECONDS
    answer(token_ids)
    while time.monotonic() < until:
        if pause:
            time.sleep(pause)
        cpu, wall = time.process_time(), time.perf_counter()
        answer(token_ids)
        walls.append(1000 * (time.perf_counter() - wall))
        cpus.append(1000 * (time.process_time() - cpu))
    return {"least_ms": min(walls), "median_ms": float(np.median(walls)), "cpu_ms": min(cpus), "calls": len(walls)}


def main() -> None:
    """Writes everything to --output_json."""
    given = read_command_line()
    classifier, texts = given.classifier, given.texts
    with tempfile.TemporaryDirectory() as parent:
        paths = onnx_export.export(classifier, os.path.join(parent, "onnx"))
        quantised = list(quantisations(os.path.dirname(paths[0]), texts))
        runs = []
        rng = np.random.default_rng(1)
        shape = classifier.description.max_seq_length
        for path, rows in itertools.product(paths, (1, 32)):
            token_ids = rng.integers(1, classifier.vocabulary.size, (rows, shape)).astype(np.int32)
            for (name, answer), pause in itertools.product(ways_to_run(path).items(), _PAUSES):
                run = {"file": os.path.basename(path), "rows": rows, "way": name, "pause_ms": 1000 * pause}
                runs.append(run | timed(answer, token_ids, pause))
                print(runs[-1], flush=True)
        sizes = {os.path.basename(path): os.path.getsize(path) for path in paths}
    write_json(given.output_json, {**conditions(given), "bytes": sizes, "quantisation": quantised, "runs": runs})


if __name__ == "__main__":
    main()

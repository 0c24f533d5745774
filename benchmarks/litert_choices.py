"""What the LiteRT graph of chemkd_tf/export/litert_bilstm.py is worth, on a trained student and real texts.

python -m benchmarks.litert_choices --classifier=runs/labels --texts=data/dev.tsv --output_json=litert.json

Each precision twice: the exported graph, and Keras's own loop as the converter takes it. Agreement with the Keras
model on --texts; then 60 calls of each with rows of 16, 64 and 128 tokens, one thread, all taking turns.
"""

import itertools
import os
import tempfile
import time
from typing import Any
from unittest import mock

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from benchmarks.choices import conditions, read_command_line
from chemkd_tf.atomic import write_json
from chemkd_tf.export import litert, litert_transformer
from chemkd_tf.models import bilstm
from chemkd_tf.models.classifier import TextClassifier

_LENGTHS = (16, 64, 128)
_TURNS = 60


def convert_keras_loop(classifier: TextClassifier, precision: litert.Precision) -> bytes:
    """Returns a .tflite of the Keras network as it is: Keras's loop, as there is no kernel of a fused LSTM."""
    graphs = dict.fromkeys(("student", "teacher"), litert_transformer.build)
    with (
        mock.patch.object(bilstm, "_fused_kernel_serves", lambda dtype: False),
        mock.patch.object(litert, "_GRAPHS", graphs),
    ):
        return litert.convert(classifier, precision)


def agreement(found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Share of equal labels, mean and largest difference of probabilities `[N, C]`."""
    difference = np.abs(found - expected)
    return {
        "same_label": float(np.mean(found.argmax(axis=1) == expected.argmax(axis=1))),
        "mean_difference": float(difference.mean()),
        "largest_difference": float(difference.max()),
    }


def table(files: list[dict[str, Any]]) -> str:
    """The rows of a results file as Markdown."""
    header = [
        *("file", "graph", "MB", *(f"{length} tokens, CPU ms" for length in _LENGTHS)),
        *("same label", "mean difference", "largest"),
    ]
    lines = [header, ["---"] * len(header)]
    for row in files:
        lines.append(
            [
                *(row["precision"], row["graph"], f"{row['bytes'] / 1e6:.2f}"),
                *(f"{row['lengths'][str(length)]['cpu_ms']:.2f}" for length in _LENGTHS),
                f"{100 * row['same_label']:.1f} %",
                *(f"{row[key]:.1e}" for key in ("mean_difference", "largest_difference")),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class _Call:
    """One row of token ids, again and again."""

    def __init__(self, path: str, token_ids: np.ndarray):
        self._interpreter = Interpreter(path, num_threads=1)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._interpreter.resize_tensor_input(self._input, token_ids.shape)
        self._interpreter.allocate_tensors()
        self._token_ids = token_ids
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def __call__(self) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self._interpreter.set_tensor(self._input, self._token_ids)
        self._interpreter.invoke()
        self._interpreter.get_tensor(self._output)
        self.wall.append(1000 * (time.perf_counter() - wall))
        self.cpu.append(1000 * (time.process_time() - cpu))

    def figures(self) -> dict[str, float]:
        """Milliseconds; the first call, which plans the memory, is left out."""
        wall, cpu = self.wall[1:], self.cpu[1:]
        return {"least_ms": min(wall), "median_ms": float(np.median(wall)), "cpu_ms": float(np.percentile(cpu, 25))}


def main() -> None:
    """Writes everything to --output_json."""
    given = read_command_line()
    classifier, texts = given.classifier, given.texts
    expected = classifier(texts)
    rng = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    calls: list[dict[int, _Call]] = []
    with tempfile.TemporaryDirectory() as parent:
        folder = os.path.join(parent, "litert")
        litert.export(classifier, folder)
        for name, precision in litert.PRECISIONS.items():
            with open(os.path.join(folder, f"{name}_keras_loop.tflite"), "wb") as file:
                file.write(convert_keras_loop(classifier, precision))
        token_ids = {t: rng.integers(1, classifier.vocabulary.size, (1, t)).astype(np.int32) for t in _LENGTHS}
        for name, way in itertools.product(litert.PRECISIONS, ("", "_keras_loop")):
            path = os.path.join(folder, f"{name}{way}.tflite")
            rows.append(
                {
                    "precision": name,
                    "graph": "Keras's loop" if way else "exported",
                    "bytes": os.path.getsize(path),
                    **agreement(litert.load(path)(texts), expected),
                }
            )
            calls.append({length: _Call(path, ids) for length, ids in token_ids.items()})
            print(rows[-1], flush=True)
        for _ in range(_TURNS + 1):
            for by_length in calls:
                for call in by_length.values():
                    call()
        for row, by_length in zip(rows, calls, strict=True):
            row["lengths"] = {str(length): call.figures() for length, call in by_length.items()}
            print(row["precision"], row["graph"], row["lengths"], flush=True)
    write_json(given.output_json, {**conditions(given), "files": rows})


if __name__ == "__main__":
    main()

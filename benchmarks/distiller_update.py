"""One side of benchmarks/distiller.py: makes an update of the student each time it is told to.

    python -m benchmarks.distiller_update --side=ours --folder=FOLDER

Reads a line of JSON for each update, {"batch": NAME}, and answers with a line: seconds, CPU seconds of all threads,
loss, real tokens, peak memory. The batch is NAME.npz in the folder; it is read, and made into the framework's tensors,
before the clock starts. Our side writes weights.npz there, from which the others take the same teacher, student and
projections.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
SEED, LEARNING_RATE = 12345, 2e-3
WEIGHTS_FILE = "weights.npz"
# Of the command line and of every side alike.
SHAPE_FLAGS = ("precision", "vocab_size", "num_layers", "hidden_size", "student_width", "layer_map")


class Work(NamedTuple):
    """What a side can do.

    Attributes:
        prepare: arrays of a batch to what `update` takes.
        update: makes one update and returns its loss.
        said: what the side says when it is ready.
    """

    prepare: Callable[[dict[str, np.ndarray]], Any]
    update: Callable[[Any], float]
    said: dict = {}


def define_shape_flags() -> None:
    """What all sides have in common."""
    flags.DEFINE_enum(
        "precision", "float32", ["float32", "bfloat16"], "Of the products of our side and of keras_same_terms."
    )
    flags.DEFINE_integer("vocab_size", 21128, "Vocabulary.")
    flags.DEFINE_integer("num_layers", 6, "Layers of the teacher.")
    flags.DEFINE_integer("hidden_size", 768, "Its width; a head is 64 wide, the feed-forward layer 4 times as wide.")
    flags.DEFINE_integer("student_width", 200, "Width of the student, both directions together.")
    flags.DEFINE_list("layer_map", ["1", "3", "5"], "Teacher's layer for each of the student's.")


def define_flags() -> None:
    """Only for the command line."""
    define_shape_flags()
    flags.DEFINE_enum("side", "ours", list(SIDES), "Who updates.")
    flags.DEFINE_string("folder", "", "Batches and weights.")
    flags.DEFINE_string("textbrewer_source", "", "Folder that holds the package textbrewer.")


def main(_: list[str]) -> None:
    """Answers until the input ends."""
    work = SIDES[FLAGS.side]()
    print(json.dumps({"ready": True, **work.said}), flush=True)
    for line in sys.stdin:
        arrays = read_batch(json.loads(line)["batch"])
        batch = work.prepare(arrays)
        started, cpu_started = time.perf_counter(), time.process_time()
        loss = work.update(batch)
        answer = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu_started}
        answer |= {"loss": loss, "tokens": int(arrays["padding_mask"].sum())}
        answer["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps(answer), flush=True)


def read_batch(name: str) -> dict[str, np.ndarray]:
    """The arrays of a batch, padded to the longest row there can be."""
    with np.load(os.path.join(FLAGS.folder, f"{name}.npz")) as file:
        return dict(file)


def trimmed(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The batch without the columns that are padding in every row, as our data sets give it."""
    tokens = int(arrays["padding_mask"].sum(axis=1).max())
    masked = max(int((arrays["mask_weights"] > 0).sum(axis=1).max()), 1)
    widths = {name: masked if name.startswith("mask_") else tokens for name in arrays if arrays[name].ndim == 2}
    return {name: array[:, : widths[name]] if name in widths else array for name, array in arrays.items()}


def ours() -> Work:
    """Our `Distiller` and its train step, as run_distill.py trains it."""
    from benchmarks import distiller_models as models

    return models.ours()


def keras_as_documented() -> Work:
    """`keras.distillation.Distiller` with logits of every position."""
    from benchmarks import distiller_models as models

    return models.keras_distiller(same_terms=False)


def keras_same_terms() -> Work:
    """`keras.distillation.Distiller` with our batches."""
    from benchmarks import distiller_models as models

    return models.keras_distiller(same_terms=True)


def textbrewer() -> Work:
    """TextBrewer's `GeneralDistiller` with logits of every position, of which it selects the masked ones."""
    from benchmarks import distiller_textbrewer

    return distiller_textbrewer.general_distiller(gathered=False)


def textbrewer_gathered() -> Work:
    """TextBrewer's `GeneralDistiller` with models that are given the masked positions alone, and trimmed batches."""
    from benchmarks import distiller_textbrewer

    return distiller_textbrewer.general_distiller(gathered=True)


SIDES: dict[str, Callable[[], Work]] = {
    side.__name__: side for side in (ours, keras_as_documented, keras_same_terms, textbrewer, textbrewer_gathered)
}


if __name__ == "__main__":
    define_flags()
    app.run(main)

"""LiteRT (TensorFlow Lite): the classifier in float32, float16 and int8 for phones and small computers.

The graph takes token ids; `client.py` beside it has the tokeniser, and needs nothing but numpy and ai-edge-litert.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from chemkd_tf.atomic import atomic_folder, atomic_write
from chemkd_tf.errors import InputError
from chemkd_tf.export import client, litert_bilstm, litert_tables, litert_transformer
from chemkd_tf.export.artefact import write_companions
from chemkd_tf.export.loading import load_client
from chemkd_tf.models.classifier import TextClassifier

FLOAT_FILE = "fp32.tflite"


class Precision(NamedTuple):
    """How weights are kept; a row of `PRECISIONS`.

    Attributes:
        lookup: reads rows of a table that it keeps in this precision.
        optimizations: of the converter.
        types: the converter's `supported_types`.
    """

    lookup: litert_tables.Lookup
    optimizations: tuple[tf.lite.Optimize, ...] = ()
    types: tuple[tf.DType, ...] = ()


PRECISIONS: dict[str, Precision] = {
    "fp32": Precision(litert_tables.float32_rows),
    "fp16": Precision(litert_tables.float16_rows, (tf.lite.Optimize.DEFAULT,), (tf.float16,)),
    # Weights in int8; what they are multiplied with is quantised as it comes.
    "int8": Precision(litert_tables.int8_rows, (tf.lite.Optimize.DEFAULT,)),
}

# Architecture's kind to what makes a function of it: token_ids int32 [1, T] to probabilities float32 [1, C].
_GRAPHS: dict[str, Callable[[TextClassifier, litert_tables.Lookup], Callable[[tf.Tensor], tf.Tensor]]] = {
    "student": litert_bilstm.build,
    "teacher": litert_transformer.build,
}


def is_model(path: str) -> bool:
    """Whether this is the path of a LiteRT file."""
    return path.endswith(".tflite") and os.path.isfile(path)


def load(path: str) -> client.Classifier:
    """Returns the client on the model at `path`; see `load_client`."""
    return load_client(path, "litert")


def export(classifier: TextClassifier, folder: str) -> list[str]:
    """Writes fp32.tflite, fp16.tflite and int8.tflite with what a client needs beside them.

    Input of each: `token_ids` int32 `[1, T]`, [CLS] ... [SEP], padded on the right with [PAD] or not at all; T from 1
    on, what stands behind `max_seq_length` is cut off. Output: `probabilities` float32 `[1, C]`. The signature
    `serving_default` has them by these names.

    Args:
        classifier: a trained classifier.
        folder: the folder to write; an older export is replaced once the new one is complete.

    Returns:
        Paths of the three models.

    Raises:
        InputError: something else is there, or the network has an operation that LiteRT lacks.
    """
    names = [f"{name}.tflite" for name in PRECISIONS]
    with atomic_folder(folder, FLOAT_FILE) as partial:
        for name, precision in zip(names, PRECISIONS.values(), strict=True):
            with atomic_write(os.path.join(partial, name), "wb") as file:
                file.write(convert(classifier, precision))
        write_companions(partial, classifier, files=names)
        shutil.copyfile(client.__file__, os.path.join(partial, "client.py"))
    return [os.path.join(folder, name) for name in names]


def convert(classifier: TextClassifier, precision: Precision) -> bytes:
    """Returns a .tflite's content.

    Raises:
        InputError: the network has an operation that LiteRT lacks.
    """
    probabilities_of = _GRAPHS[classifier.description.architecture.kind](classifier, precision.lookup)
    module = tf.Module()
    module.weights = [variable.value for variable in classifier.network.weights]

    @tf.function(input_signature=[tf.TensorSpec([1, None], tf.int32, name="token_ids")], autograph=False)
    def serve(token_ids):
        return {"probabilities": probabilities_of(token_ids)}

    # Only what is converted from a SavedModel keeps the names of input and output.
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"serving_default": serve})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = list(precision.optimizations)
        converter.target_spec.supported_types = list(precision.types)
        try:
            return converter.convert()
        except tf.errors.OpError as error:
            reason = str(error)
        except Exception as error:  # The converter's own class has no public name.
            if type(error).__name__ != "ConverterError":
                raise
            reason = str(error)
    raise InputError(f"--export_formats=litert: LiteRT can't run this network ({reason.strip().splitlines()[0]})")

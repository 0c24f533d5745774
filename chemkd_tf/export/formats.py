"""--export_formats, a line each: what writes it, and what answers with it. A new format is a new file and a line."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from chemkd_tf.errors import InputError
from chemkd_tf.export import litert, onnx, saved_model
from chemkd_tf.models.classifier import TextClassifier


class Predictor(Protocol):
    """An exported model that answers.

    Attributes:
        labels: name of each class, in the order of the probabilities.
    """

    labels: Sequence[str]

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Returns the probabilities of any number of texts, float32 `[N, C]`."""


class Format(NamedTuple):
    """A way to leave Keras.

    Attributes:
        export: writes a classifier into a folder (a new one, or one of this format, which is replaced) and returns the
            paths of the models in it, one for each precision.
        is_model: whether a path is one of those.
        load: makes a predictor of such a path.
        require_packages: raises InputError where a package that `export` needs is missing.
    """

    export: Callable[[TextClassifier, str], list[str]]
    is_model: Callable[[str], bool]
    load: Callable[[str], Predictor]
    require_packages: Callable[[], None] = lambda: None


FORMATS: dict[str, Format] = {
    "saved_model": Format(saved_model.export, saved_model.is_model, saved_model.SavedModelClassifier),
    "litert": Format(litert.export, litert.is_model, litert.load),
    "onnx": Format(onnx.export, onnx.is_model, onnx.load, onnx.require_packages),
}


def require_packages(names: Iterable[str]) -> None:
    """Checks that the packages of these formats are there, before hours go into what can't be exported.

    Raises:
        InputError: one is missing.
    """
    for name in names:
        FORMATS[name].require_packages()


def load_predictor(path: str) -> Predictor:
    """Loads an exported model of any format.

    Args:
        path: a SavedModel's folder, a .tflite, an .onnx.

    Raises:
        InputError: nothing there, or nothing that a format knows.
    """
    if not os.path.exists(path):
        raise InputError(f"--predict_with={path}: no such file or folder")
    for name in FORMATS:
        if FORMATS[name].is_model(path):
            return FORMATS[name].load(path)
    raise InputError(f"--predict_with={path}: neither a SavedModel's folder (with its version) nor a .tflite or .onnx")

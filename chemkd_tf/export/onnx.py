"""ONNX: the classifier in float32 and in int8, for ONNX Runtime on a server, a phone or in a browser.

The graph takes token ids; `client.py` beside it has the tokeniser, and needs nothing but numpy and onnxruntime.
"""

import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from typing import Any

from chemkd_tf.atomic import atomic_folder
from chemkd_tf.errors import InputError
from chemkd_tf.export import client
from chemkd_tf.export.artefact import describe, write_companions
from chemkd_tf.export.loading import load_client
from chemkd_tf.models.classifier import TextClassifier

FLOAT_FILE, INT8_FILE = "fp32.onnx", "int8.onnx"
_PACKAGES = ("onnx", "onnxruntime", "tf2onnx")


def require_packages() -> None:
    """Checks that what `export` needs is installed.

    Raises:
        InputError: a package is missing.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"--export_formats=onnx needs {', '.join(missing)}: pip install 'chemkd_tf[onnx]'")


def is_model(path: str) -> bool:
    """Whether this is the path of an ONNX file."""
    return path.endswith(".onnx") and os.path.isfile(path)


def load(path: str) -> client.Classifier:
    """Returns the client on the model at `path`; see `load_client`."""
    return load_client(path, "onnx")


def export(classifier: TextClassifier, folder: str) -> list[str]:
    """Writes fp32.onnx and int8.onnx with what a client needs beside them.

    Input of both: `token_ids` int32 `[B, T]`, [CLS] ... [SEP], padded on the right with [PAD]. Output: `probabilities`
    float32 `[B, C]`. The metadata of the files hold `run_id`, `labels` (JSON), `max_seq_length` and `do_lower_case`.

    Args:
        classifier: a trained classifier.
        folder: the folder to write; an older export is replaced once the new one is complete.

    Returns:
        Paths of the two models.

    Raises:
        InputError: something else is there, or a package is missing.
    """
    require_packages()
    import onnx

    from chemkd_tf.export.onnx_quantization import quantize

    build, write_pieces = _graph_builders(classifier.description.architecture.kind)
    with atomic_folder(folder, FLOAT_FILE) as partial:
        model = build(classifier)
        for key, value in _metadata(describe(classifier)).items():
            model.metadata_props.add(key=key, value=value)
        for name, precision in ((FLOAT_FILE, _as_it_is), (INT8_FILE, quantize)):
            path = os.path.join(partial, name)
            onnx.save(precision(model), path)
            if write_pieces:
                write_pieces(classifier, path, precision)
        write_companions(partial, classifier, files=[FLOAT_FILE, INT8_FILE])
        shutil.copyfile(client.__file__, os.path.join(partial, "client.py"))
    return [os.path.join(folder, name) for name in (FLOAT_FILE, INT8_FILE)]


def _as_it_is(model: Any) -> Any:
    return model


def _metadata(description: dict[str, Any]) -> dict[str, str]:
    keys = ("labels", "max_seq_length", "do_lower_case")
    return {"run_id": description["run_id"], **{key: json.dumps(description[key], ensure_ascii=False) for key in keys}}


def _graph_builders(kind: str) -> tuple[Callable[..., Any], Callable[..., None] | None]:
    """What makes the graph of an architecture, and what its pieces; imported now, as their packages are optional."""
    from chemkd_tf.export import onnx_bilstm, onnx_transformer, onnx_two_threads

    return {"student": (onnx_bilstm.build, onnx_two_threads.write), "teacher": (onnx_transformer.build, None)}[kind]

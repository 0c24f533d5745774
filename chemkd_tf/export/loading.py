"""The stand-alone client on an exported model, with one line for everything that may be wrong with it."""

from chemkd_tf.errors import InputError
from chemkd_tf.export import client


def load_client(path: str, extra: str) -> client.Classifier:
    """Returns the client on the model at `path`.

    Args:
        path: an .onnx or a .tflite.
        extra: the extra of setup.py that installs its runtime.

    Raises:
        InputError: the runtime is missing, or a file that belongs beside the model, or the model is damaged.
    """
    try:
        return client.Classifier(path)
    except ModuleNotFoundError as error:
        raise InputError(f"--predict_with={path} needs {error.name}: pip install 'chemkd_tf[{extra}]'") from None
    except FileNotFoundError as error:
        raise InputError(
            f"--predict_with={path}: {error.filename} is missing; keep the exported folder together"
        ) from None
    except Exception as error:  # each runtime has exceptions of its own for a file that it can't read
        reason = str(error).partition("\n")[0]
        raise InputError(f"--predict_with={path}: can't be read ({reason}); export it again") from None

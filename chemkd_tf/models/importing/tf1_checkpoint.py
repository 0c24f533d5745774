"""google-research/bert's own format: bert_model.ckpt with bert_config.json and vocab.txt beside it."""

import glob
import os
import re
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from chemkd_tf.errors import InputError
from chemkd_tf.models.architecture import TeacherArchitecture
from chemkd_tf.models.families.bert import BERT, CONFIG_KEYS
from chemkd_tf.models.families.family import HEAD_DENSE
from chemkd_tf.models.importing.source import require_shape, require_vocabulary_size
from chemkd_tf.workdir import read_json

CONFIG_FILE = "bert_config.json"
# google-research/bert's modeling.py computes "gelu" by the tanh approximation, in the layers and in the head alike.
_ACTIVATIONS = {"gelu": "gelu_tanh", "relu": "relu"}
_SUPERFLUOUS = re.compile(
    r"bert/pooler/|cls/seq_relationship/|global_step$|.*/adam_[mv]$|.*(/|^)(AdamWeightDecayOptimizer|beta[12]_power)"
)


class Tf1Checkpoint:
    """See `Source`.

    Args:
        given: the prefix, as google-research/bert's --init_checkpoint has it (.../bert_model.ckpt), or its folder.

    Raises:
        InputError: no such checkpoint can be read here (see the messages).
    """

    def __init__(self, given: str):
        self.name = prefix = checkpoint_prefix(given)
        folder = os.path.dirname(prefix)
        config_file = os.path.join(folder, CONFIG_FILE)
        self.architecture = architecture_of_bert_config(config_file)
        self._config_file = config_file
        try:
            self._reader = tf.train.load_checkpoint(prefix)
        except (tf.errors.OpError, ValueError) as error:
            raise InputError(
                f"{prefix}: can't be read ({str(error).splitlines()[0][:200]}): copy its files again, .index and .data"
            ) from None
        self._shapes = self._reader.get_variable_to_shape_map()
        self.has_head = self.original_name(HEAD_DENSE + "/kernel") in self._shapes
        self.vocabulary_file = os.path.join(folder, "vocab.txt")
        if not os.path.isfile(self.vocabulary_file):
            self.vocabulary_file = None
        else:
            require_vocabulary_size(self.vocabulary_file, self.architecture.vocabulary_size, config_file)
        self.do_lower_case = None

    def original_name(self, path: str) -> str:
        """See `Source`: google-research/bert's name, of which Hugging Face's was made."""
        name = BERT.hugging_face_name(path)
        name = re.sub(r"LayerNorm\.weight$", "LayerNorm.gamma", re.sub(r"LayerNorm\.bias$", "LayerNorm.beta", name))
        name = re.sub(r"embeddings\.(\w+)\.weight$", r"embeddings.\1", name)
        name = re.sub(r"\.weight$", ".kernel", name).replace("cls.predictions.bias", "cls.predictions.output_bias")
        return re.sub(r"layer\.(\d+)\.", r"layer_\1/", name).replace(".", "/")

    def read(self, path: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """See `Source`."""
        name = self.original_name(path)
        if name not in self._shapes:
            return None
        stored = _stored_shape(path, shape)
        require_shape(self.name, name, self._shapes[name], stored, self._config_file)
        try:
            return np.reshape(self._reader.get_tensor(name), shape).astype(np.float32)
        except (tf.errors.OpError, ValueError, IndexError) as error:  # IndexError: the file is too short
            reason = str(error).splitlines()[0][:200]
            raise InputError(f"{self.name}: {name} can't be read ({reason}): copy its files again") from None

    def left_over(self, paths: Iterable[str]) -> list[str]:
        """See `Source`."""
        used = {self.original_name(path) for path in paths}
        return sorted(name for name in set(self._shapes) - used if not _SUPERFLUOUS.match(name))


def checkpoint_prefix(given: str) -> str:
    """Returns the prefix of the checkpoint that `given` names: itself, or the one in that folder.

    Raises:
        InputError: none, or several, lie there.
    """
    if os.path.isfile(given + ".index"):
        return given
    found = sorted(path.removesuffix(".index") for path in glob.glob(os.path.join(glob.escape(given), "*.index")))
    if len(found) != 1:
        raise InputError(
            f"{given}: {len(found)} TensorFlow checkpoints (*.index) there; name the one to read by its prefix, such "
            "as .../bert_model.ckpt"
        )
    return found[0]


def architecture_of_bert_config(path: str) -> TeacherArchitecture:
    """Reads Google's bert_config.json.

    Raises:
        InputError: no such file, or not Google's.
    """
    values = read_json(path)
    try:
        shape = {field: values[key] for field, key in CONFIG_KEYS.items() if field != "layer_norm_epsilon"}
        activation = values["hidden_act"]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: no {error}; expected Google's bert_config.json") from None
    if activation not in _ACTIVATIONS:
        raise InputError(f"{path}: hidden_act {activation!r} is not known here; one of {', '.join(_ACTIVATIONS)}")
    return TeacherArchitecture(activation=_ACTIVATIONS[activation], head_activation=_ACTIVATIONS[activation], **shape)


def _stored_shape(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in the checkpoint: heads joined, kernels [in, out] as in Keras."""
    if path.endswith("attention_output/kernel"):
        return shape[0] * shape[1], shape[2]
    if path.endswith("/kernel"):
        return shape[0], int(np.prod(shape[1:]))
    if path.endswith("/bias"):
        return (int(np.prod(shape)),)
    return tuple(shape)

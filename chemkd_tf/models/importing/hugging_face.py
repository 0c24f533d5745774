"""A folder that Hugging Face transformers wrote: config.json, model.safetensors, vocab.txt."""

import json
import os
import re
from collections.abc import Iterable

import numpy as np
import safetensors

from chemkd_tf.errors import InputError
from chemkd_tf.models.architecture import TeacherArchitecture
from chemkd_tf.models.families.family import HEAD_BIAS, HEAD_DENSE, HEAD_KERNEL, Family
from chemkd_tf.models.families.table import FAMILIES
from chemkd_tf.models.importing.source import require_shape, require_vocabulary_size
from chemkd_tf.workdir import read_json

CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE = "config.json", "model.safetensors", "tokenizer_config.json"
_INDEX_FILE = "model.safetensors.index.json"
# transformers' names of activations to ours; the last three differ only in how they are computed.
ACTIVATION_NAMES = {
    "gelu": "gelu", "relu": "relu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh",
}  # fmt: skip
# Not transformers': written by `export.hugging_face` where the head's activation is not the layers'.
HEAD_ACTIVATION_KEY = "chemkd_tf_head_act"
_HOW_TO_CONVERT = (
    'with transformers and PyTorch installed, python -c "from transformers import AutoModelForMaskedLM as M; '
    "M.from_pretrained('{0}').save_pretrained('{0}')\" writes model.safetensors"
)


class HuggingFaceFolder:
    """See `Source`.

    Raises:
        InputError: no such model can be read here (see the messages).
    """

    def __init__(self, folder: str):
        self.name = folder
        config_file = os.path.join(folder, CONFIG_FILE)
        config = read_json(config_file)
        self._family = _family_of(config_file, config)
        self._tensors = _Tensors(folder)
        self._config_file = config_file
        self.has_head = self._find(self._family.hugging_face_name(HEAD_DENSE + "/kernel")) is not None
        self.architecture = self._architecture(config)
        self.vocabulary_file = os.path.join(folder, "vocab.txt")
        if not os.path.isfile(self.vocabulary_file):
            self.vocabulary_file = None
        else:
            require_vocabulary_size(self.vocabulary_file, self.architecture.vocabulary_size, config_file)
        self.do_lower_case = _lower_cases(folder)

    def original_name(self, path: str) -> str:
        """See `Source`."""
        return self._family.hugging_face_name(path)

    def read(self, path: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """See `Source`."""
        name = self._find(self.original_name(path))
        if path == HEAD_BIAS:  # two names of one tensor; where both are stored, transformers computes with this one
            name = self._find(self.original_name(HEAD_KERNEL).replace(".weight", ".bias")) or name
        if name is None:
            return None
        foreign = _foreign_shape(path, shape)
        require_shape(self._tensors.file_of(name), name, self._tensors.shape(name), foreign, self._config_file)
        value = self._tensors.read(name)
        return np.reshape(value.T if is_transposed(path) else value, shape)

    def left_over(self, paths: Iterable[str]) -> list[str]:
        """See `Source`."""
        used = {self._find(self.original_name(path)) for path in (*paths, HEAD_KERNEL)}
        return sorted(
            name for name in self._tensors.names - used if not re.match(self._family.superfluous, _modern(name))
        )

    def _find(self, name: str) -> str | None:
        """The stored name: without the base's prefix where the encoder was saved alone, or with the older spelling."""
        for candidate in (name, name.removeprefix(self._family.base_prefix)):
            if candidate in self._tensors.stored:
                return self._tensors.stored[candidate]
        return None

    def _architecture(self, config: dict) -> TeacherArchitecture:
        family, values = self._family, {}
        for field, key in family.config_keys.items():
            if key not in config and field in ("num_groups", "num_inner_repetitions"):
                continue
            values[field] = _required(self._config_file, config, key)
        activation = self._activation(_required(self._config_file, config, family.activation_key))
        head_activation = family.head_activation or activation
        if HEAD_ACTIVATION_KEY in config:
            head_activation = self._activation(config[HEAD_ACTIVATION_KEY])
        if values.get("embedding_dim") == values["hidden_dim"]:
            values["embedding_dim"] = 0
        values.setdefault("num_segments", 0)
        return TeacherArchitecture(
            family=family.name,
            activation=activation,
            head_activation=head_activation,
            tied_decoder=self._is_tied(config, bool(values.get("embedding_dim"))),
            **values,
        )

    def _activation(self, name: str) -> str:
        if name not in ACTIVATION_NAMES:
            raise InputError(
                f"{self._config_file}: the activation {name!r} is not known here; one of {', '.join(ACTIVATION_NAMES)}"
            )
        return ACTIVATION_NAMES[name]

    def _is_tied(self, config: dict, narrow: bool) -> bool:
        """Whether the head's matrix is the token embedding: said so, or not stored, or the same numbers."""
        matrix = self._find(self._family.hugging_face_name(HEAD_KERNEL))
        if matrix is None or not self.has_head or config.get("tie_word_embeddings", True):
            return True
        part = next(part for part in self._family.parts if part.endswith("token_embedding"))
        embedding = self._find(self._family.hugging_face_name(part + "/embeddings"))
        if np.array_equal(self._tensors.read(matrix), self._tensors.read(embedding)):
            return True
        if narrow:
            raise InputError(
                f"{self._config_file}: tie_word_embeddings is false and the embedding has another width than the "
                "layers: such a head can't be imported"
            )
        return False


def is_transposed(path: str) -> bool:
    """Whether the variable with this path is stored as PyTorch stores it, [out, in]."""
    return path.endswith("kernel")


def _foreign_shape(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the PyTorch tensor of a Keras variable: heads joined, [out, in]."""
    if path.endswith("attention_output/kernel"):
        return shape[2], shape[0] * shape[1]
    if is_transposed(path):
        return int(np.prod(shape[1:])), shape[0]
    if path.endswith("/bias") and len(shape) == 2:
        return (shape[0] * shape[1],)
    return tuple(shape)


def foreign_value(path: str, value: np.ndarray) -> np.ndarray:
    """Returns the PyTorch tensor of a Keras variable: the inverse of what `HuggingFaceFolder.read` does."""
    shape = _foreign_shape(path, value.shape)
    return np.ascontiguousarray(np.reshape(value, shape[::-1]).T if is_transposed(path) else np.reshape(value, shape))


class _Tensors:
    """The tensors of one or several safetensors files, by name; read one at a time."""

    def __init__(self, folder: str):
        self._files: dict[str, safetensors.safe_open] = {}
        self._file_of: dict[str, str] = {}
        for path in _weight_files(folder):
            try:
                self._files[path] = safetensors.safe_open(path, framework="numpy")
                self._file_of.update(dict.fromkeys(self._files[path].keys(), path))
            except (safetensors.SafetensorError, OSError) as error:
                raise InputError(
                    f"{path}: can't be read ({str(error).splitlines()[0][:200]}): copy the file again, it is cut short "
                    "or damaged"
                ) from None
        self.names = set(self._file_of)
        self.stored = {_modern(name): name for name in self.names}

    def file_of(self, name: str) -> str:
        return self._file_of[name]

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._files[self._file_of[name]].get_slice(name).get_shape())

    def read(self, name: str) -> np.ndarray:
        """Returns the tensor as float32."""
        try:
            return np.asarray(self._files[self._file_of[name]].get_tensor(name)).astype(np.float32)
        except (safetensors.SafetensorError, TypeError, ValueError) as error:
            raise InputError(f"{self._file_of[name]}: {name} can't be read ({str(error)[:200]})") from None


def _modern(name: str) -> str:
    """LayerNorm's parameters were called gamma and beta, as in TensorFlow."""
    return re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name))


def _weight_files(folder: str) -> list[str]:
    index = os.path.join(folder, _INDEX_FILE)
    if os.path.isfile(index):
        files = sorted(set(_required(index, read_json(index), "weight_map").values()))
    else:
        files = [WEIGHTS_FILE]
    paths = [os.path.join(folder, file) for file in files]
    missing = next((path for path in paths if not os.path.isfile(path)), None)
    if missing is None:
        return paths
    pickled = os.path.join(folder, "pytorch_model.bin")
    if os.path.isfile(pickled):
        raise InputError(
            f"{pickled}: a pickle, which can run any code when it is loaded, is not read; "
            + _HOW_TO_CONVERT.format(folder)
        )
    raise InputError(f"{missing}: no such file; " + _HOW_TO_CONVERT.format(folder))


def _family_of(config_file: str, config: dict) -> Family:
    name = _required(config_file, config, "model_type")
    if name not in FAMILIES:
        raise InputError(
            f"{config_file}: model_type {name!r} can't teach here; one of {', '.join(FAMILIES)} can (a Chinese "
            "RoBERTa-wwm and a MacBERT are of model_type bert)"
        )
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(
            f"{config_file}: position_embedding_type {config['position_embedding_type']!r}; only absolute positions "
            "are known here"
        )
    return FAMILIES[name]


def _required(path: str, values: dict, key: str):
    if not isinstance(values, dict) or key not in values:
        raise InputError(f"{path}: no {json.dumps(key)}; expected what transformers' save_pretrained writes")
    return values[key]


def _lower_cases(folder: str) -> bool | None:
    """What the tokeniser's settings say; None without any."""
    path = os.path.join(folder, TOKENIZER_FILE)
    if os.path.isfile(path):
        value = read_json(path).get("do_lower_case")
        if value is not None:
            return bool(value)
    path = os.path.join(folder, "tokenizer.json")
    if os.path.isfile(path):
        value = (read_json(path).get("normalizer") or {}).get("lowercase")
        if value is not None:
            return bool(value)
    return None

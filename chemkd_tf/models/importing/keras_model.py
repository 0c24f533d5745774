"""Checkpoints that Keras itself loads: a keras-nlp preset, and the working directory of an earlier run."""

import json
import os
from collections.abc import Iterable

import keras
import keras_nlp
import numpy as np

from chemkd_tf.errors import InputError
from chemkd_tf.models.architecture import TeacherArchitecture
from chemkd_tf.models.families.table import FAMILIES
from chemkd_tf.models.importing.source import require_shape, require_vocabulary_size
from chemkd_tf.workdir import read_json

PRESET_VOCABULARY = os.path.join("assets", "tokenizer", "vocabulary.txt")
_POOLER = "pooled_dense/"


class KerasModelSource:
    """See `Source`: the variables of a Keras model.

    Args:
        name: where it was loaded from.
        architecture: its shape.
        weights: its variables by their paths.
        vocabulary_file: path of its vocabulary, if there is one.
        do_lower_case: what it says of its tokeniser.
    """

    def __init__(
        self,
        name: str,
        architecture: TeacherArchitecture,
        weights: dict[str, keras.Variable],
        vocabulary_file: str | None,
        do_lower_case: bool | None,
    ):
        self.name = name
        self.architecture = architecture
        self.vocabulary_file = vocabulary_file
        self.do_lower_case = do_lower_case
        self.has_head = any(path.startswith("masked_lm_head/") for path in weights)
        self._weights = weights

    def original_name(self, path: str) -> str:
        """See `Source`."""
        return path

    def read(self, path: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """See `Source`."""
        if path not in self._weights:
            return None
        require_shape(self.name, path, self._weights[path].shape, shape, "its architecture")
        return self._weights[path].numpy()

    def left_over(self, paths: Iterable[str]) -> list[str]:
        """See `Source`."""
        return sorted(path for path in set(self._weights) - set(paths) if not path.startswith(_POOLER))


def is_preset_name(given: str) -> bool:
    """Whether keras-nlp would look for `given` elsewhere than on this machine: a name of its own, or an address."""
    return "://" in given or any(given in family.backbone.presets for family in FAMILIES.values())


def open_preset(given: str) -> KerasModelSource:
    """Loads a keras-nlp preset: a folder, or a name or address that keras-nlp knows how to fetch.

    The masked-LM head is read from a folder that a masked-LM task was saved to.

    Raises:
        InputError: it can't be loaded, or is of no family known here.
    """
    is_folder = os.path.isdir(given)
    if is_folder:
        _require_family(given)
    try:
        backbone = keras_nlp.models.Backbone.from_preset(given)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(f"--init_checkpoint={given}: the preset can't be loaded ({reason})") from None
    family = next((family for family in FAMILIES.values() if type(backbone) is family.backbone), None)
    if family is None:
        raise InputError(_not_a_family(given, type(backbone).__name__))
    weights = {variable.path: variable for variable in backbone.weights}
    if is_folder and family.masked_lm_class and _holds_masked_lm(given):
        head = family.masked_lm_class.from_preset(given).get_layer("mlm_head")
        weights.update(head_variables(head))
    architecture = family.architecture_of(backbone)
    vocabulary_file = os.path.join(given, PRESET_VOCABULARY)
    if not os.path.isfile(vocabulary_file):
        vocabulary_file = None
    else:
        require_vocabulary_size(vocabulary_file, architecture.vocabulary_size, f"--init_checkpoint={given}")
    return KerasModelSource(given, architecture, weights, vocabulary_file, _lower_cases(given))


def head_variables(head: keras.layers.Layer) -> dict[str, keras.Variable]:
    """Variables of the `mlm_head` of a keras-nlp task by the paths they have in a teacher."""
    named = ((variable.path.partition("mlm_head/"), variable) for variable in head.weights)
    return {"masked_lm_head/" + rest: variable for (_, found, rest), variable in named if found}


def _require_family(folder: str) -> None:
    """Refuses a preset of no known family before its weights are loaded."""
    config_file = os.path.join(folder, "config.json")
    try:
        class_name = read_json(config_file)["class_name"]
    except (KeyError, TypeError):
        raise InputError(f"{config_file}: not a keras-nlp preset's config.json") from None
    if class_name not in {family.backbone.__name__ for family in FAMILIES.values()}:
        raise InputError(_not_a_family(config_file, class_name))


def _not_a_family(name: str, class_name: str) -> str:
    known = ", ".join(family.backbone.__name__ for family in FAMILIES.values())
    return f"{name}: holds a {class_name}, which can't teach here; one of {known} can"


def _holds_masked_lm(folder: str) -> bool:
    path = os.path.join(folder, "task.json")
    return os.path.isfile(path) and "MaskedLM" in str(read_json(path).get("class_name"))


def _lower_cases(folder: str) -> bool | None:
    """What the preset's tokeniser says; None without any."""
    path = os.path.join(folder, "tokenizer.json")
    if not os.path.isfile(path):
        return None
    with open(path, encoding="utf-8") as file:
        value = json.load(file).get("config", {}).get("lowercase")
    return None if value is None else bool(value)

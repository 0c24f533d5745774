"""An encoder with its masked-LM head on disk: architecture.json, model.weights.h5, vocab.txt."""

import os
import shutil
import warnings
from typing import NamedTuple

import h5py
import keras

from chemkd_tf.errors import InputError
from chemkd_tf.models.architecture import Architecture, load_architecture, save_architecture
from chemkd_tf.models.heads import masked_lm_model
from chemkd_tf.models.student import build_student
from chemkd_tf.models.teacher import build_teacher

ARCHITECTURE_FILE = "architecture.json"
WEIGHTS_FILE = "model.weights.h5"
VOCABULARY_FILE = "vocab.txt"

_BUILDERS = {"teacher": build_teacher, "student": build_student}


class Pretrained(NamedTuple):
    """An encoder and what belongs to it.

    Attributes:
        architecture: its shape.
        do_lower_case: whether text is lower-cased before tokenisation.
        encoder: ids to states.
        masked_lm: the same layers with the masked-LM head.
        vocabulary_file: path of its vocabulary.
    """

    architecture: Architecture
    do_lower_case: bool
    encoder: keras.Model
    masked_lm: keras.Model
    vocabulary_file: str


def build_encoder(architecture: Architecture) -> keras.Model:
    """Returns an encoder of this shape with fresh weights."""
    return _BUILDERS[architecture.kind](architecture)


def build_masked_lm(architecture: Architecture) -> keras.Model:
    """Returns an encoder of this shape under its masked-LM head, with fresh weights."""
    return with_head(build_encoder(architecture), architecture)


def with_head(encoder: keras.Model, architecture: Architecture) -> keras.Model:
    """Returns `encoder` with the masked-LM head that its architecture describes."""
    if architecture.kind == "student":
        return masked_lm_model(encoder)
    return masked_lm_model(
        encoder, architecture.head_activation, architecture.layer_norm_epsilon, architecture.tied_decoder
    )


def save_pretrained(
    directory: str, architecture: Architecture, do_lower_case: bool, masked_lm: keras.Model, vocabulary_file: str
) -> None:
    """Writes the three files; the weights appear under their name only when complete."""
    vocabulary_copy = os.path.join(directory, VOCABULARY_FILE)
    if os.path.abspath(vocabulary_file) != os.path.abspath(vocabulary_copy):
        shutil.copyfile(vocabulary_file, vocabulary_copy)
    save_architecture(os.path.join(directory, ARCHITECTURE_FILE), architecture, do_lower_case)
    save_weights(masked_lm, os.path.join(directory, WEIGHTS_FILE))


def load_pretrained(directory: str, flag: str, random_init: bool = False) -> Pretrained:
    """Loads what `save_pretrained` wrote.

    Args:
        directory: working directory of a pretraining or a distillation.
        flag: name of the flag that gave it, for messages.
        random_init: build the same shape with fresh weights instead of loading them.

    Raises:
        InputError: something is missing or doesn't fit.
    """
    architecture_file = os.path.join(directory, ARCHITECTURE_FILE)
    if not os.path.isfile(architecture_file):
        raise InputError(
            f"--{flag}={directory}: no {ARCHITECTURE_FILE} there; name the --output_dir of a finished "
            "run_pretraining.py or run_distill.py"
        )
    architecture, do_lower_case = load_architecture(architecture_file)
    encoder = build_encoder(architecture)
    masked_lm = with_head(encoder, architecture)
    if not random_init:
        load_weights(masked_lm, os.path.join(directory, WEIGHTS_FILE))
    return Pretrained(architecture, do_lower_case, encoder, masked_lm, os.path.join(directory, VOCABULARY_FILE))


def save_weights(model: keras.Model, path: str) -> None:
    """Saves Keras weights under a neighbouring name, then renames."""
    partial = path.replace(".weights.h5", ".partial.weights.h5")
    model.save_weights(partial)
    os.replace(partial, path)


def load_weights(model: keras.Model, path: str) -> None:
    """Loads Keras weights.

    Raises:
        InputError: missing, damaged, or of another model.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file; the run that should have written it did not finish")
    try:
        stored = _count_arrays(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras says which containers it skips, then raises
            model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: can't be loaded ({str(error).splitlines()[0][:200]})") from None
    if stored != len(model.weights):  # Keras passes over what the model has no place for
        raise InputError(
            f"{path}: holds {stored} arrays, the model has {len(model.weights)}: it belongs to another model"
        )


def _count_arrays(path: str) -> int:
    """Arrays in a Keras weights file."""
    names = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return len(names)

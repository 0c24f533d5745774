"""The teacher: a keras-nlp BERT, its states named, cut to its lower layers (paper section 3.2)."""

import json
import math
import os

import keras
import keras_nlp
import numpy as np

from chemkd_tf.errors import InputError
from chemkd_tf.models import states
from chemkd_tf.models.architecture import TeacherArchitecture

# The standard deviation that keras-nlp draws BERT's kernels and embeddings with (google-research/bert's default).
_INITIALIZER_RANGE = 0.02


def build_teacher(
    architecture: TeacherArchitecture,
    initializer_range: float = _INITIALIZER_RANGE,
    position_initializer: str = "normal",
) -> keras.Model:
    """Returns an encoder with fresh weights: dict of ids in, dict of states out (see `states`).

    Args:
        architecture: its shape.
        initializer_range: standard deviation of the truncated normal distribution of kernels and embeddings. With
            BERT's 0.02 a narrow teacher begins with attention that is all but uniform and stays at the unigram
            entropy for long; 0.02 · sqrt(768 / width) gives it the scale that BERT-base begins with.
        position_initializer: "normal"; "sinusoidal" (trained) or "fixed_sinusoidal" (not trained): Vaswani et al.
            2017, section 3.5, scaled to the same standard deviation. A head can then attend to a neighbour by one
            linear map for all positions, where normal ones have it learn each position for itself.
    """
    backbone = build_backbone(architecture)
    for variable in backbone.trainable_variables:
        if variable.name not in ("bias", "gamma", "beta"):
            variable.assign(variable * (initializer_range / _INITIALIZER_RANGE))
    if position_initializer != "normal":
        positions = backbone.position_embedding.position_embeddings
        positions.assign(_sinusoids(*positions.shape) * (initializer_range * math.sqrt(2.0)))
        backbone.position_embedding.trainable = position_initializer == "sinusoidal"
    return name_states(backbone)


def _sinusoids(num_positions: int, width: int) -> np.ndarray:
    """Sines in the even columns, cosines in the odd ones, of wavelengths from 2 pi to 20,000 pi; float32."""
    angles = np.arange(num_positions)[:, None] / 10_000 ** (2 * (np.arange(width) // 2) / width)
    return np.where(np.arange(width) % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32)


def build_backbone(architecture: TeacherArchitecture) -> keras_nlp.models.BertBackbone:
    """Returns keras-nlp's BERT of this shape with fresh weights."""
    return keras_nlp.models.BertBackbone(
        vocabulary_size=architecture.vocabulary_size,
        num_layers=architecture.num_layers,
        num_heads=architecture.num_heads,
        hidden_dim=architecture.hidden_dim,
        intermediate_dim=architecture.intermediate_dim,
        dropout=architecture.dropout,
        max_sequence_length=architecture.max_sequence_length,
        num_segments=architecture.num_segments,
    )


def name_states(backbone: keras_nlp.models.BertBackbone) -> keras.Model:
    """Returns a model over the same layers that returns `embedding` and `hidden_1` ... `hidden_L`.

    `embedding` is what enters the first layer: token + segment + position, normalised. The pooler, which only
    next-sentence prediction trains, is left out.
    """
    outputs = {states.EMBEDDING: backbone.embeddings_dropout.output}
    for number, layer in enumerate(backbone.transformer_layers, start=1):
        outputs[states.hidden(number)] = layer.output
    return keras.Model({name: backbone.input[name] for name in states.ENCODER_INPUTS}, outputs, name="teacher")


def architecture_of(backbone: keras_nlp.models.BertBackbone) -> TeacherArchitecture:
    """Reads the shape off a backbone."""
    return TeacherArchitecture(
        vocabulary_size=backbone.vocabulary_size,
        num_layers=backbone.num_layers,
        num_heads=backbone.num_heads,
        hidden_dim=backbone.hidden_dim,
        intermediate_dim=backbone.intermediate_dim,
        dropout=backbone.dropout,
        max_sequence_length=backbone.max_sequence_length,
        num_segments=backbone.num_segments,
    )


def load_preset(folder: str) -> keras_nlp.models.BertBackbone:
    """Loads a keras-nlp preset folder.

    Raises:
        InputError: no such folder, no preset in it, or one of another family than BERT.
    """
    config_file = os.path.join(folder, "config.json")
    if not os.path.isfile(config_file):
        raise InputError(
            f"--init_checkpoint={folder}: no config.json there; expected a keras-nlp preset folder of a BERT"
        )
    with open(config_file, encoding="utf-8") as file:
        try:
            class_name = json.load(file)["class_name"]
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{config_file}: not a keras-nlp preset's config.json") from None
    if class_name != "BertBackbone":
        raise InputError(f"{config_file}: holds a {class_name}, not a BertBackbone; only BERT presets can be loaded")
    try:
        return keras_nlp.models.BertBackbone.from_preset(folder)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(f"--init_checkpoint={folder}: the preset can't be loaded ({reason})") from None


def keep_first_layers(backbone: keras_nlp.models.BertBackbone, num_layers: int) -> keras_nlp.models.BertBackbone:
    """Returns a BERT of the first `num_layers` layers whose kept weights are bit-identical (paper: 6 of 12).

    Raises:
        InputError: the checkpoint has fewer layers.
    """
    if num_layers > backbone.num_layers:
        raise InputError(f"--num_layers={num_layers}: the checkpoint has only {backbone.num_layers} layers")
    config = {**backbone.get_config(), "num_layers": num_layers}
    shorter = keras_nlp.models.BertBackbone.from_config(config)
    kept = {variable.path: variable for variable in backbone.weights}
    for variable in shorter.weights:
        variable.assign(kept[variable.path])
    return shorter

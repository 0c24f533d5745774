"""The teacher: a transformer of keras-nlp, its states named (paper section 3.2)."""

import math

import keras
import keras_nlp
import numpy as np

from chemkd_tf.models import states
from chemkd_tf.models.architecture import TeacherArchitecture
from chemkd_tf.models.families.family import Family
from chemkd_tf.models.families.table import FAMILIES

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
    encoder = name_states(build_backbone(architecture), FAMILIES[architecture.family])
    for variable in encoder.trainable_variables:
        if variable.name not in ("bias", "gamma", "beta"):
            variable.assign(variable * (initializer_range / _INITIALIZER_RANGE))
    if position_initializer != "normal":
        layer = encoder.get_layer("position_embedding")
        layer.position_embeddings.assign(
            _sinusoids(*layer.position_embeddings.shape) * (initializer_range * math.sqrt(2.0))
        )
        layer.trainable = position_initializer == "sinusoidal"
    return encoder


def _sinusoids(num_positions: int, width: int) -> np.ndarray:
    """Sines in the even columns, cosines in the odd ones, of wavelengths from 2 pi to 20,000 pi; float32."""
    angles = np.arange(num_positions)[:, None] / 10_000 ** (2 * (np.arange(width) // 2) / width)
    return np.where(np.arange(width) % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32)


def build_backbone(architecture: TeacherArchitecture) -> keras_nlp.models.Backbone:
    """Returns keras-nlp's backbone of this family and shape with fresh weights."""
    return FAMILIES[architecture.family].build_backbone(architecture)


def name_states(backbone: keras_nlp.models.Backbone, family: Family) -> keras.Model:
    """Returns a model over the same layers that returns `embedding` and `hidden_1` ... `hidden_L`.

    `embedding` is what enters the first layer: token + segment + position, normalised (ALBERT, ELECTRA: projected to
    the layers' width). The pooler, which only next-sentence prediction trains, is left out. The layers are called
    anew: ALBERT's shared one has as many outputs as calls, and its `output` is the first of them.
    """
    first = next(getattr(backbone, name) for name in family.first_input if hasattr(backbone, name))
    inputs = {name: backbone.input[name] for name in states.ENCODER_INPUTS if name in backbone.input}
    state = first.output
    outputs = {states.EMBEDDING: state}
    for number, layers in enumerate(family.layer_calls(backbone), start=1):
        for layer in layers:
            state = layer(state, padding_mask=inputs["padding_mask"])
        outputs[states.hidden(number)] = state
    for name in states.ENCODER_INPUTS:  # DistilBERT has no segments: every teacher takes them all the same
        inputs.setdefault(name, keras.Input((None,), dtype="int32", name=name))
    return keras.Model({name: inputs[name] for name in states.ENCODER_INPUTS}, outputs, name="teacher")

"""The teacher: a keras-nlp BERT, its states named, cut to its lower layers (paper section 3.2)."""

import json
import os

import keras
import keras_nlp

from chemkd_tf.errors import InputError
from chemkd_tf.models import states
from chemkd_tf.models.architecture import TeacherArchitecture


def build_teacher(architecture: TeacherArchitecture) -> keras.Model:
    """Returns an encoder with fresh weights: dict of ids in, dict of states out (see `states`)."""
    return name_states(build_backbone(architecture))


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
            class_name = json.load(file).get("class_name")
        except ValueError:
            raise InputError(f"{config_file}: not JSON; expected a keras-nlp preset's config.json") from None
    if class_name != "BertBackbone":
        raise InputError(f"{config_file}: holds a {class_name}, not a BertBackbone; only BERT presets can be loaded")
    return keras_nlp.models.BertBackbone.from_preset(folder)


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

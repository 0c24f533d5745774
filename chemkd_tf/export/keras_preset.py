"""A teacher as keras-nlp reads it: a preset of its backbone, with tokeniser and, where it can be said, head."""

import keras
import keras_nlp

from chemkd_tf.atomic import atomic_folder
from chemkd_tf.models.architecture import TeacherArchitecture
from chemkd_tf.models.families.family import Family
from chemkd_tf.models.families.table import FAMILIES
from chemkd_tf.models.importing.keras_model import head_variables
from chemkd_tf.text.vocabulary import load_vocabulary


def export_keras_preset(
    architecture: TeacherArchitecture, masked_lm: keras.Model, vocabulary_file: str, do_lower_case: bool, folder: str
) -> str:
    """Writes a preset that `keras_nlp.models.Backbone.from_preset` loads.

    A preset's pooler is fresh: masked-LM training has none. Its head is there (`MaskedLM.from_preset`) where keras-nlp
    has a masked-LM task of the family and the head is tied. What a preset can't say is printed (see `unsaid`).

    Args:
        architecture: the teacher's.
        masked_lm: its masked-LM model.
        vocabulary_file: its vocabulary.
        do_lower_case: whether its text is lower-cased.
        folder: written under a neighbouring name, then renamed; an older preset is replaced.

    Returns:
        `folder`.

    Raises:
        InputError: something else than a preset is there.
    """
    family = FAMILIES[architecture.family]
    values = {variable.path: variable for variable in masked_lm.weights}
    backbone = family.build_backbone(architecture)
    for variable in backbone.weights:
        if variable.path in values:
            variable.assign(values[variable.path])
    saved = backbone
    if family.masked_lm_class and architecture.tied_decoder:
        saved = family.masked_lm_class(backbone, preprocessor=None)
        for path, variable in head_variables(saved.get_layer("mlm_head")).items():
            variable.assign(values[path])
    vocabulary = list(load_vocabulary(vocabulary_file).tokens)
    with atomic_folder(folder, holds="metadata.json") as partial:
        saved.save_to_preset(partial)
        keras_nlp.models.BertTokenizer(vocabulary=vocabulary, lowercase=do_lower_case).save_to_preset(partial)
    for line in unsaid(architecture, family):
        print(f"{folder}: {line}", flush=True)
    return folder


def unsaid(architecture: TeacherArchitecture, family: Family) -> list[str]:
    """Returns what of this teacher a preset can't hold, one sentence each."""
    lines = []
    if architecture.activation != family.backbone_activation:
        lines.append(
            f"a preset of this family always computes {family.backbone_activation}, this teacher "
            f"{architecture.activation}: its states differ a little there"
        )
    if architecture.layer_norm_epsilon != 1e-12:
        lines.append(f"a preset's LayerNorm has epsilon 1e-12, this teacher's {architecture.layer_norm_epsilon}")
    if not family.masked_lm_class:
        lines.append("keras-nlp has no masked-LM task of this family: the head is left out")
    elif not architecture.tied_decoder:
        lines.append("keras-nlp's masked-LM head is tied to the token embedding, this one is not: it is left out")
    return lines

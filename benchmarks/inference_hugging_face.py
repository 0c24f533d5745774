"""A transformer classifier of ours as Hugging Face transformers reads it: encoder folder and the last layer."""

import os

import numpy as np

from chemkd_tf.atomic import atomic_folder, write_json

ENCODER_FILE = "model.safetensors"
HEAD_FILE = "head.npz"


def write_hugging_face(classifier_dir: str, folder: str) -> str:
    """Writes config.json and model.safetensors of the encoder, and head.npz (`kernel` [H, C], `bias` [C]).

    Args:
        classifier_dir: of a transformer classifier that pools by [CLS].
        folder: written when complete.

    Returns:
        `folder`.
    """
    import safetensors.numpy

    from chemkd_tf.export.hugging_face import config_of
    from chemkd_tf.models.classifier import TextClassifier
    from chemkd_tf.models.families.table import FAMILIES
    from chemkd_tf.models.importing.hugging_face import foreign_value

    classifier = TextClassifier(classifier_dir)
    architecture = classifier.description.architecture
    family = FAMILIES[architecture.family]
    head = classifier.network.get_layer("classifier")
    tensors = {
        family.hugging_face_name(variable.path).removeprefix(family.base_prefix): foreign_value(
            variable.path, variable.numpy()
        )
        for variable in classifier.network.weights
        if not variable.path.startswith("classifier/")
    }
    config = config_of(architecture, classifier.vocabulary.pad_id) | {"architectures": ["BertModel"]}
    with atomic_folder(folder, holds=ENCODER_FILE) as partial:
        safetensors.numpy.save_file(tensors, os.path.join(partial, ENCODER_FILE), metadata={"format": "pt"})
        write_json(os.path.join(partial, "config.json"), config)
        np.savez(os.path.join(partial, HEAD_FILE), kernel=head.kernel.numpy(), bias=head.bias.numpy())
    return folder

"""A teacher as Hugging Face transformers reads it: the inverse of `importing.hugging_face`, by the same table."""

import os
import shutil

import keras
import safetensors.numpy

from chemkd_tf.atomic import atomic_folder, write_json
from chemkd_tf.models.architecture import TeacherArchitecture
from chemkd_tf.models.families.family import HEAD_BIAS, HEAD_KERNEL
from chemkd_tf.models.families.table import FAMILIES
from chemkd_tf.models.importing.hugging_face import (
    CONFIG_FILE,
    HEAD_ACTIVATION_KEY,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    foreign_value,
)
from chemkd_tf.text.vocabulary import END, MASK, PAD, START, UNKNOWN, load_vocabulary

_CLASSES = {
    "bert": "BertForMaskedLM",
    "albert": "AlbertForMaskedLM",
    "electra": "ElectraForMaskedLM",
    "distilbert": "DistilBertForMaskedLM",
}
_ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu"}


def export_hugging_face(
    architecture: TeacherArchitecture, masked_lm: keras.Model, vocabulary_file: str, do_lower_case: bool, folder: str
) -> str:
    """Writes config.json, model.safetensors (float32), vocab.txt and tokenizer_config.json.

    Where the head's activation is not the layers', transformers has no word for it: `AutoModelForMaskedLM` computes the
    head with the layers' one (the encoder's states are not concerned). A key of our own says it to our import.

    Args:
        architecture: the teacher's.
        masked_lm: its masked-LM model.
        vocabulary_file: its vocabulary.
        do_lower_case: whether its text is lower-cased.
        folder: written under a neighbouring name, then renamed; an older export is replaced.

    Returns:
        `folder`.

    Raises:
        InputError: something else than an export is there.
    """
    family = FAMILIES[architecture.family]
    tensors = {
        family.hugging_face_name(variable.path): foreign_value(variable.path, variable.numpy())
        for variable in masked_lm.weights
    }
    if not architecture.tied_decoder:  # two names of one tensor in transformers: the bias inside the matrix's layer
        inner = family.hugging_face_name(HEAD_KERNEL).replace(".weight", ".bias")
        tensors[inner] = tensors[family.hugging_face_name(HEAD_BIAS)].copy()
    with atomic_folder(folder, holds=WEIGHTS_FILE) as partial:
        safetensors.numpy.save_file(tensors, os.path.join(partial, WEIGHTS_FILE), metadata={"format": "pt"})
        write_json(os.path.join(partial, CONFIG_FILE), config_of(architecture, load_vocabulary(vocabulary_file).pad_id))
        shutil.copyfile(vocabulary_file, os.path.join(partial, "vocab.txt"))
        write_json(
            os.path.join(partial, TOKENIZER_FILE),
            {
                "tokenizer_class": "BertTokenizer",
                "do_lower_case": do_lower_case,
                "model_max_length": architecture.max_sequence_length,
                "pad_token": PAD,
                "unk_token": UNKNOWN,
                "cls_token": START,
                "sep_token": END,
                "mask_token": MASK,
            },
        )
    return folder


def config_of(architecture: TeacherArchitecture, pad_id: int) -> dict:
    """Returns the config.json of this shape."""
    family = FAMILIES[architecture.family]
    values = {key: getattr(architecture, field) for field, key in family.config_keys.items()}
    if "embedding_dim" in family.config_keys:
        values[family.config_keys["embedding_dim"]] = architecture.embedding_dim or architecture.hidden_dim
    dropout_key = family.config_keys["dropout"]
    attention_dropout_key = "attention_probs_dropout_prob" if "hidden" in dropout_key else "attention_dropout"
    if architecture.head_activation != (family.head_activation or architecture.activation):
        values[HEAD_ACTIVATION_KEY] = _ACTIVATIONS[architecture.head_activation]
    return {
        "architectures": [_CLASSES[family.name]],
        "model_type": family.name,
        **values,
        attention_dropout_key: architecture.dropout,
        family.activation_key: _ACTIVATIONS[architecture.activation],
        "pad_token_id": pad_id,
        "tie_word_embeddings": architecture.tied_decoder,
    }

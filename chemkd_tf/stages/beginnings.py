"""What the training of a classifier begins with: --model, a line each. A new kind is a new function and a line."""

import os
from collections.abc import Callable, Sequence

from chemkd_tf.config import ClassificationConfig
from chemkd_tf.errors import InputError
from chemkd_tf.models.architecture import StudentArchitecture, load_architecture
from chemkd_tf.models.checkpoints import ARCHITECTURE_FILE
from chemkd_tf.models.classifier import (
    DESCRIPTION_FILE,
    ClassifierDescription,
    ClassifierParts,
    load_classifier,
    read_description,
)
from chemkd_tf.models.importing.load import load_encoder
from chemkd_tf.models.longer_encoder import lengthen
from chemkd_tf.text.vocabulary import load_vocabulary
from chemkd_tf.text.word_tokenization import WordSplitter, word_vocabulary

Begin = Callable[[ClassificationConfig, Sequence[str], Sequence[str]], ClassifierParts]


def pretrained(config: ClassificationConfig, labels: Sequence[str], texts: Sequence[str]) -> ClassifierParts:
    """The encoder of --init_checkpoint under a fresh classification layer; or a trained classifier, layer and all."""
    if os.path.isfile(os.path.join(config.init_checkpoint, DESCRIPTION_FILE)):
        return _trained(config, labels)
    found = load_encoder(config.init_checkpoint, "init_checkpoint", config.random_init)
    longest = found.architecture.max_sequence_length
    if config.max_seq_length > longest:
        print(
            f"The encoder in {config.init_checkpoint} takes {longest} tokens; it is made to read on to "
            f"{config.max_seq_length} (--max_seq_length={longest} leaves it as it is).",
            flush=True,
        )
        found = lengthen(found, config.max_seq_length)
    if config.freeze_encoder:
        found.encoder.trainable = False
    description = ClassifierDescription(
        found.architecture, tuple(labels), _pooling(config, "max"), config.max_seq_length, found.do_lower_case
    )
    network = description.build(found.encoder, config.classifier_dropout)
    return ClassifierParts(description, load_vocabulary(found.vocabulary_file), network)


def word_bilstm(config: ClassificationConfig, labels: Sequence[str], texts: Sequence[str]) -> ClassifierParts:
    """The student without distillation: BiLSTMs over the words of the training texts (paper section 4.3.1)."""
    rows = WordSplitter(user_dictionary=config.user_dictionary)(texts)
    vocabulary = word_vocabulary(rows, config.min_word_count, config.max_words)
    architecture = StudentArchitecture(
        vocabulary_size=vocabulary.size,
        num_layers=config.num_student_layers,
        hidden_dim=config.student_width,
        units_per_direction=config.units_per_direction,
        embedding="token",
        max_sequence_length=config.max_seq_length,
    )
    description = ClassifierDescription(
        architecture,
        tuple(labels),
        _pooling(config, "last"),
        config.max_seq_length,
        do_lower_case=True,
        tokenizer="words",
    )
    network = description.build(dropout=config.classifier_dropout)
    return ClassifierParts(description, vocabulary, network, config.user_dictionary)


MODELS: dict[str, Begin] = {"pretrained": pretrained, "word_bilstm": word_bilstm}


def is_recurrent(config: ClassificationConfig) -> bool:
    """Whether a BiLSTM will be trained, as far as files say it; nothing is built.

    Raises:
        InputError: a damaged file.
    """
    if config.model == "word_bilstm":
        return True
    if os.path.isfile(os.path.join(config.init_checkpoint, DESCRIPTION_FILE)):
        return read_description(config.init_checkpoint, "init_checkpoint").architecture.kind == "student"
    architecture_file = os.path.join(config.init_checkpoint, ARCHITECTURE_FILE)
    return os.path.isfile(architecture_file) and load_architecture(architecture_file)[0].kind == "student"


def _trained(config: ClassificationConfig, labels: Sequence[str]) -> ClassifierParts:
    """A classifier that is trained on, such as one that was shrunk."""
    parts = load_classifier(config.init_checkpoint, config.classifier_dropout, config.random_init)
    if parts.description.labels != tuple(labels):
        raise InputError(
            f"--init_checkpoint={config.init_checkpoint}: its labels are {', '.join(parts.description.labels)}, those "
            f"of --data_dir are {', '.join(labels)}: train on the same labels"
        )
    if config.freeze_encoder:
        for layer in parts.network.layers:
            layer.trainable = layer.name == "classifier"
    return parts


def _pooling(config: ClassificationConfig, default: str) -> str:
    return default if config.pooling == "auto" else config.pooling

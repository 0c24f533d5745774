"""A trained classifier on disk (classifier.json, classifier.weights.h5, vocab.txt), and what answers with it."""

import dataclasses
import os
import shutil
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from chemkd_tf.atomic import write_json
from chemkd_tf.errors import InputError
from chemkd_tf.models.architecture import Architecture, architecture_from_dict
from chemkd_tf.models.checkpoints import VOCABULARY_FILE, build_encoder, load_weights
from chemkd_tf.models.heads import classification_model
from chemkd_tf.text.tokenization import BertTokenizer
from chemkd_tf.text.vocabulary import load_vocabulary
from chemkd_tf.workdir import read_json

DESCRIPTION_FILE = "classifier.json"
WEIGHTS_FILE = "classifier.weights.h5"


@dataclasses.dataclass(frozen=True)
class ClassifierDescription:
    """What is needed to build the network and to read its answers.

    Attributes:
        architecture: of the encoder.
        labels: name of each class, in the order of the logits.
        pooling: see `heads.Pooling`.
        max_seq_length: longer texts are cut at the end.
        do_lower_case: of the tokeniser.
    """

    architecture: Architecture
    labels: tuple[str, ...]
    pooling: str
    max_seq_length: int
    do_lower_case: bool

    def save(self, directory: str, vocabulary_file: str) -> None:
        """Writes classifier.json and a copy of the vocabulary."""
        write_json(os.path.join(directory, DESCRIPTION_FILE), dataclasses.asdict(self))
        shutil.copyfile(vocabulary_file, os.path.join(directory, VOCABULARY_FILE))

    def build(self, encoder: keras.Model | None = None, dropout: float = 0.0) -> keras.Model:
        """Returns the network on `encoder`, or on one with fresh weights."""
        encoder = encoder if encoder is not None else build_encoder(self.architecture)
        return classification_model(encoder, len(self.labels), self.pooling, dropout)


def read_description(directory: str) -> ClassifierDescription:
    """Reads classifier.json.

    Raises:
        InputError: no trained classifier there.
    """
    path = os.path.join(directory, DESCRIPTION_FILE)
    if not os.path.isfile(path):
        raise InputError(f"--output_dir={directory}: no trained classifier there; give --do_train first")
    values = read_json(path)
    try:
        return ClassifierDescription(
            architecture_from_dict(values["architecture"]),
            tuple(values["labels"]),
            values["pooling"],
            values["max_seq_length"],
            values["do_lower_case"],
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not a classifier this version can read ({error})") from None


_TEXTS_AT_ONCE = 64


class TextClassifier:
    """A trained classifier: strings in, probabilities out.

    Args:
        directory: working directory of run_classifier.py.

    Raises:
        InputError: no trained classifier there, or a damaged one.
    """

    def __init__(self, directory: str):
        self.description = read_description(directory)
        self.labels = self.description.labels
        self.vocabulary_file = os.path.join(directory, VOCABULARY_FILE)
        self.vocabulary = load_vocabulary(self.vocabulary_file)
        self.tokenizer = BertTokenizer(self.vocabulary, self.description.do_lower_case)
        self.network = self.description.build()
        load_weights(self.network, os.path.join(directory, WEIGHTS_FILE))
        self._from_strings = tf.function(self.probabilities_of, input_signature=[tf.TensorSpec([None], tf.string)])

    def probabilities_of(self, texts: tf.Tensor) -> tf.Tensor:
        """Maps string `[B]` to float32 `[B, C]`; TensorFlow ops only."""
        batch = self.tokenizer.encode(texts, self.description.max_seq_length)
        return tf.nn.softmax(self.network(batch, training=False))

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Returns the probabilities of any number of texts, float32 `[N, C]`; short ones don't wait for long ones."""
        answers = np.zeros((len(texts), len(self.description.labels)), np.float32)
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(order), _TEXTS_AT_ONCE):
            chosen = order[start : start + _TEXTS_AT_ONCE]
            answers[chosen] = self._from_strings(tf.constant([texts[index] for index in chosen])).numpy()
        return answers

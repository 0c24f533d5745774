"""A trained classifier on disk (classifier.json, classifier.weights.h5, vocab.txt), and what answers with it.

One that reads words may have a user_dictionary.txt as well.
"""

import dataclasses
import os
import shutil
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from chemkd_tf.atomic import write_json
from chemkd_tf.errors import InputError
from chemkd_tf.models.architecture import Architecture, architecture_from_dict
from chemkd_tf.models.checkpoints import VOCABULARY_FILE, build_encoder, load_weights, save_weights
from chemkd_tf.models.heads import classification_model
from chemkd_tf.text.tokenization import Tokenizer
from chemkd_tf.text.tokenizers import TOKENIZERS
from chemkd_tf.text.vocabulary import Vocabulary, load_vocabulary, save_vocabulary
from chemkd_tf.workdir import read_json

DESCRIPTION_FILE = "classifier.json"
WEIGHTS_FILE = "classifier.weights.h5"
USER_DICTIONARY_FILE = "user_dictionary.txt"


@dataclasses.dataclass(frozen=True)
class ClassifierDescription:
    """What is needed to build the network and to read its answers.

    Attributes:
        architecture: of the encoder.
        labels: name of each class, in the order of the logits.
        pooling: see `heads.Pooling`.
        max_seq_length: longer texts are cut at the end.
        do_lower_case: of the tokeniser.
        tokenizer: row of `tokenizers.TOKENIZERS`.
    """

    architecture: Architecture
    labels: tuple[str, ...]
    pooling: str
    max_seq_length: int
    do_lower_case: bool
    tokenizer: str = "wordpiece"

    def build(self, encoder: keras.Model | None = None, dropout: float = 0.0) -> keras.Model:
        """Returns the network on `encoder`, or on one with fresh weights."""
        encoder = encoder if encoder is not None else build_encoder(self.architecture)
        return classification_model(encoder, len(self.labels), self.pooling, dropout)


def read_description(directory: str, flag: str = "output_dir") -> ClassifierDescription:
    """Reads classifier.json.

    Args:
        directory: working directory of run_classifier.py.
        flag: name of the flag that gave it, for messages.

    Raises:
        InputError: no trained classifier there.
    """
    path = os.path.join(directory, DESCRIPTION_FILE)
    if not os.path.isfile(path):
        raise InputError(f"--{flag}={directory}: no trained classifier there; give --do_train first")
    values = read_json(path)
    try:
        return ClassifierDescription(
            architecture_from_dict(values["architecture"]),
            tuple(values["labels"]),
            values["pooling"],
            values["max_seq_length"],
            values["do_lower_case"],
            _known_tokenizer(values.get("tokenizer", "wordpiece")),
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not a classifier this version can read ({error})") from None


def _known_tokenizer(name: str) -> str:
    return name if name in TOKENIZERS else TOKENIZERS[name]  # a KeyError that names it


class ClassifierParts(NamedTuple):
    """A classifier in memory: what a training begins with, or what became of one.

    Attributes:
        description: see there.
        vocabulary: what its tokeniser reads.
        network: built from the description.
        user_dictionary: path of more words for a tokeniser of words; "" for none.
    """

    description: ClassifierDescription
    vocabulary: Vocabulary
    network: keras.Model
    user_dictionary: str = ""

    def make_tokenizer(self) -> Tokenizer:
        """Returns the tokeniser that the description names."""
        kind = TOKENIZERS[self.description.tokenizer]
        return kind.make(self.vocabulary, self.description.do_lower_case, self.user_dictionary)

    def save_description(self, directory: str) -> None:
        """Writes everything but the weights; classifier.json comes last."""
        kept_dictionary = os.path.join(directory, USER_DICTIONARY_FILE)
        if self.user_dictionary and os.path.abspath(self.user_dictionary) != os.path.abspath(kept_dictionary):
            shutil.copyfile(self.user_dictionary, kept_dictionary)
        save_vocabulary(self.vocabulary, os.path.join(directory, VOCABULARY_FILE))
        write_json(os.path.join(directory, DESCRIPTION_FILE), dataclasses.asdict(self.description))

    def save(self, directory: str) -> None:
        """Writes a folder that `TextClassifier` and every later stage reads; classifier.json comes last."""
        save_weights(self.network, os.path.join(directory, WEIGHTS_FILE))
        self.save_description(directory)


def load_classifier(
    directory: str, dropout: float = 0.0, random_init: bool = False, flag: str = "output_dir"
) -> ClassifierParts:
    """Reads the folder of a trained classifier.

    Args:
        directory: working directory of run_classifier.py.
        dropout: before the classification layer, for who trains it on.
        random_init: the same shape with fresh weights.
        flag: name of the flag that gave it, for messages.

    Raises:
        InputError: no trained classifier there, or a damaged one.
    """
    description = read_description(directory, flag)
    network = description.build(dropout=dropout)
    if not random_init:
        load_weights(network, os.path.join(directory, WEIGHTS_FILE))
    dictionary = os.path.join(directory, USER_DICTIONARY_FILE)
    return ClassifierParts(
        description,
        load_vocabulary(os.path.join(directory, VOCABULARY_FILE)),
        network,
        dictionary if os.path.isfile(dictionary) else "",
    )


_TEXTS_AT_ONCE = 64


class TextClassifier:
    """A trained classifier: strings in, probabilities out.

    Args:
        directory: working directory of run_classifier.py.

    Raises:
        InputError: no trained classifier there, or a damaged one.
    """

    def __init__(self, directory: str):
        self.parts = load_classifier(directory)
        self.directory = directory
        self.description, self.vocabulary, self.network, _ = self.parts
        self.labels = self.description.labels
        self.vocabulary_file = os.path.join(directory, VOCABULARY_FILE)
        self.tokenizer = self.parts.make_tokenizer()
        signature = [tf.TensorSpec([None], tf.string)]
        # To look for Python's own loops in it, of which it has none, would take longer than to trace it.
        self._from_strings = tf.function(self.probabilities_of, input_signature=signature, autograph=False)

    def probabilities_of(self, texts: tf.Tensor) -> tf.Tensor:
        """Maps string `[B]` to float32 `[B, C]`, in a graph."""
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

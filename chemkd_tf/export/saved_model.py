"""A SavedModel that takes raw strings: tokenisation, encoder and classification in one graph.

It loads wherever tensorflow and tensorflow_text are installed; neither keras-nlp nor chemkd_tf is needed:

    import tensorflow as tf, tensorflow_text
    classify = tf.saved_model.load(path).signatures["serving_default"]
    classify(texts=tf.constant(["负责反应釜的检修"]))
"""

import os
import tempfile
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from chemkd_tf.atomic import atomic_folder
from chemkd_tf.export.artefact import LABELS_FILE, write_companions
from chemkd_tf.models.bilstm import Bidirectional
from chemkd_tf.models.classifier import TextClassifier

_GRAPH_FILE = "saved_model.pb"
_TEXTS_AT_ONCE = 64


def is_model(path: str) -> bool:
    """Whether a SavedModel lies in this folder."""
    return os.path.isfile(os.path.join(path, _GRAPH_FILE))


def export(classifier: TextClassifier, folder: str) -> list[str]:
    """Writes the SavedModel; an older one of the same name is replaced once the new one is complete.

    Signatures:
        serving_default: `texts` string `[B]` to `label` string `[B]`, `label_id` int32 `[B]`, `probabilities` float32
            `[B, C]`.
        token_ids: `token_ids` int32 `[B, T]` with [CLS] and [SEP], padded with [PAD] (0) on the right; same outputs.

    Assets: what `artefact.write_companions` writes.

    Args:
        classifier: a trained classifier.
        folder: the folder to write; TensorFlow Serving wants it to be named after a number.

    Returns:
        `[folder]`.

    Raises:
        InputError: something else than a SavedModel is there.
    """
    with atomic_folder(folder, _GRAPH_FILE) as partial, tempfile.TemporaryDirectory() as companions:
        write_companions(companions, classifier)
        module = _ServedClassifier(classifier, [os.path.join(companions, name) for name in os.listdir(companions)])
        tf.saved_model.save(
            module,
            partial,
            signatures={
                "serving_default": module.classify_texts.get_concrete_function(),
                "token_ids": module.classify_token_ids.get_concrete_function(),
            },
        )
    return [folder]


class SavedModelClassifier:
    """A SavedModel that answers.

    Args:
        folder: where `export` wrote it.
    """

    def __init__(self, folder: str):
        self._loaded = tf.saved_model.load(folder)
        self._classify = self._loaded.signatures["serving_default"]
        with open(os.path.join(folder, "assets", LABELS_FILE), encoding="utf-8") as file:
            self.labels = file.read().splitlines()

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Returns the probabilities of any number of texts, float32 `[N, C]`; short ones don't wait for long ones."""
        texts = list(texts)
        answers = np.zeros((len(texts), len(self.labels)), np.float32)
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(order), _TEXTS_AT_ONCE):
            chosen = order[start : start + _TEXTS_AT_ONCE]
            batch = tf.constant([texts[index] for index in chosen])
            answers[chosen] = self._classify(texts=batch)["probabilities"].numpy()
        return answers


class _ServedClassifier(tf.Module):
    """What the SavedModel holds: variables, tokeniser tables, labels. No projection, no masked-LM head, no dropout."""

    def __init__(self, classifier: TextClassifier, companions: Sequence[str]):
        super().__init__()
        self.tokenizer = classifier.tokenizer
        self.weights = [variable.value for variable in classifier.network.weights]
        self.companions = [tf.saved_model.Asset(path) for path in companions]
        self._labels = tf.constant(classifier.description.labels)
        self._network = _inference(classifier.network)
        self._pad_id = classifier.vocabulary.pad_id
        self._max_seq_length = classifier.description.max_seq_length

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="texts")], autograph=False)
    def classify_texts(self, texts):
        return self._answer(self.tokenizer.encode(texts, self._max_seq_length))

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, name="token_ids")], autograph=False)
    def classify_token_ids(self, token_ids):
        token_ids = token_ids[:, : self._max_seq_length]
        return self._answer(
            {
                "token_ids": token_ids,
                "segment_ids": tf.zeros_like(token_ids),
                "padding_mask": tf.cast(token_ids != self._pad_id, tf.int32),
            }
        )

    def _answer(self, batch):
        probabilities = tf.nn.softmax(self._network(batch))
        label_id = tf.argmax(probabilities, -1, output_type=tf.int32)
        return {"label": tf.gather(self._labels, label_id), "label_id": label_id, "probabilities": probabilities}


def _inference(network):
    """The network as a plain function that is the same wherever it is traced.

    A model exported on a GPU host must run on a CPU, and as fast as one that was exported there: no cuDNN, and one
    operation for each direction of a BiLSTM instead of Keras's loop.
    """
    for layer in network._flatten_layers():
        if hasattr(layer, "use_cudnn"):
            layer.use_cudnn = False
        if isinstance(layer, Bidirectional):
            layer.always_fused = True
    return lambda batch: network(batch, training=False)

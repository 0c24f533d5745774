"""A SavedModel that takes raw strings: tokenisation, encoder and classification in one graph.

It loads wherever tensorflow and tensorflow_text are installed; neither keras-nlp nor chemkd_tf is needed:

    import tensorflow as tf, tensorflow_text
    classify = tf.saved_model.load(path).signatures["serving_default"]
    classify(texts=tf.constant(["负责反应釜的检修"]))
"""

import os
import shutil

import tensorflow as tf

from chemkd_tf.atomic import atomic_write
from chemkd_tf.errors import InputError
from chemkd_tf.models.classifier import TextClassifier


def export_saved_model(classifier: TextClassifier, export_dir: str) -> str:
    """Writes the SavedModel; an older one of the same name is replaced once the new one is complete.

    Signatures:
        serving_default: `texts` string `[B]` to `label` string `[B]`, `label_id` int32 `[B]`, `probabilities` float32
            `[B, C]`.
        token_ids: `token_ids` int32 `[B, T]` with [CLS] and [SEP], padded with [PAD] (0) on the right; same outputs.

    Assets: labels.txt (one class a line, in the order of the probabilities), vocab.txt.

    Args:
        classifier: a trained classifier.
        export_dir: the folder to write.

    Returns:
        `export_dir`.

    Raises:
        InputError: something else than a SavedModel is there.
    """
    _refuse_to_replace(export_dir)
    partial = export_dir.rstrip("/") + ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    labels_file = os.path.join(partial, "labels.txt")
    with atomic_write(labels_file) as file:
        file.writelines(label + "\n" for label in classifier.description.labels)
    module = _ServedClassifier(classifier, labels_file)
    tf.saved_model.save(
        module,
        partial,
        signatures={
            "serving_default": module.classify_texts.get_concrete_function(),
            "token_ids": module.classify_token_ids.get_concrete_function(),
        },
    )
    os.remove(labels_file)  # its copy stands in assets/
    shutil.rmtree(export_dir, ignore_errors=True)
    os.replace(partial, export_dir)
    return export_dir


def _refuse_to_replace(export_dir: str) -> None:
    """Only a SavedModel or an empty folder may be replaced: what is there is deleted."""
    if not os.path.lexists(export_dir) or os.path.isfile(os.path.join(export_dir, "saved_model.pb")):
        return
    if not os.path.isdir(export_dir) or os.listdir(export_dir):
        raise InputError(f"--export_dir={export_dir}: something else than a SavedModel is there; name a new folder")


class _ServedClassifier(tf.Module):
    """What the SavedModel holds: variables, tokeniser tables, labels. No projection, no masked-LM head, no dropout."""

    def __init__(self, classifier: TextClassifier, labels_file: str):
        super().__init__()
        self.tokenizer = classifier.tokenizer
        self.weights = [variable.value for variable in classifier.network.weights]
        self.labels_file = tf.saved_model.Asset(labels_file)
        self.vocabulary_file = tf.saved_model.Asset(classifier.vocabulary_file)
        self._labels = tf.constant(classifier.description.labels)
        self._network = tf.autograph.experimental.do_not_convert(_inference(classifier.network))
        self._pad_id = classifier.vocabulary.pad_id
        self._max_seq_length = classifier.description.max_seq_length

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="texts")])
    def classify_texts(self, texts):
        return self._answer(self.tokenizer.encode(texts, self._max_seq_length))

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, name="token_ids")])
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
    """The network as a plain function, its LSTMs kept off cuDNN: a model exported on a GPU host must run on a CPU."""
    for layer in network._flatten_layers():
        if hasattr(layer, "use_cudnn"):
            layer.use_cudnn = False
    return lambda batch: network(batch, training=False)

"""What lies beside every exported model, so that it answers in names of classes without this project.

artefact.json    labels, length, tokeniser's settings, shape, versions, id of the training run
labels.txt       one class a line, in the order of the probabilities
vocab.txt        the vocabulary, as BERT's
"""

import dataclasses
import hashlib
import os
import shutil
from typing import Any

from chemkd_tf.atomic import atomic_write, write_json
from chemkd_tf.models.classifier import TextClassifier
from chemkd_tf.workdir import versions

DESCRIPTION_FILE = "artefact.json"
LABELS_FILE = "labels.txt"
VOCABULARY_FILE = "vocab.txt"


def describe(classifier: TextClassifier) -> dict[str, Any]:
    """Returns what artefact.json says; the same for every format of one classifier.

    Keys: `labels`, `max_seq_length` (tokens with [CLS] and [SEP]), `do_lower_case`, `vocabulary_file`, `pad_id`,
    `unknown_id`, `start_id`, `end_id`, `pooling`, `architecture`, `run_id` (the first 12 digits of the SHA-256 of the
    weights), `versions`.
    """
    description, vocabulary = classifier.description, classifier.vocabulary
    return {
        "labels": list(description.labels),
        "max_seq_length": description.max_seq_length,
        "do_lower_case": description.do_lower_case,
        "vocabulary_file": VOCABULARY_FILE,
        "pad_id": vocabulary.pad_id,
        "unknown_id": vocabulary.unknown_id,
        "start_id": vocabulary.start_id,
        "end_id": vocabulary.end_id,
        "pooling": description.pooling,
        "architecture": dataclasses.asdict(description.architecture),
        "run_id": run_id(classifier),
        "versions": versions(),
    }


def run_id(classifier: TextClassifier) -> str:
    """Names the training run by what came of it: the same weights have the same id, wherever they were trained."""
    digest = hashlib.sha256()
    for variable in classifier.network.weights:
        digest.update(f"{variable.path} {variable.shape}\n".encode())
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()[:12]


def write_companions(folder: str, classifier: TextClassifier, **more: Any) -> None:
    """Writes artefact.json, labels.txt and vocab.txt into `folder`.

    Args:
        folder: where the model lies.
        classifier: what was exported.
        **more: further keys of artefact.json, such as the files of the format.
    """
    write_json(os.path.join(folder, DESCRIPTION_FILE), {**describe(classifier), **more})
    with atomic_write(os.path.join(folder, LABELS_FILE)) as file:
        file.writelines(label + "\n" for label in classifier.description.labels)
    shutil.copyfile(classifier.vocabulary_file, os.path.join(folder, VOCABULARY_FILE))

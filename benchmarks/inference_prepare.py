"""Makes the models of benchmarks/inference.py, in a process of its own: whoever times must not hold TensorFlow.

    python -m benchmarks.inference_prepare JOBS_JSON ANSWERS_JSON

What is there is left as it is, so that an interrupted preparation goes on where it was.
"""

import json
import os
import sys

from benchmarks.inference_models import MODELS, TINY_MODELS, write_classifier
from benchmarks.inference_runtimes import RUNTIMES, Job
from benchmarks.inference_side import encoder, padded
from chemkd_tf import startup
from chemkd_tf.atomic import write_json
from chemkd_tf.export.client import pieces_of
from chemkd_tf.progress import Progress


def main(jobs_file: str, answers_file: str) -> None:
    """Makes every model; writes {"sides": {"model/runtime": {"path", "size_bytes"}}, "expected": {model: [[p]]}}."""
    startup.import_tensorflow_quietly()
    import keras

    with open(jobs_file, encoding="utf-8") as file:
        given = json.load(file)
    networks = TINY_MODELS if given["tiny"] else MODELS
    progress = Progress("making models", len(given["sides"]), "models")
    answers = {"sides": {}, "expected": {}}
    for number, side in enumerate(given["sides"]):
        model, runtime = side.split("/")
        classifier_dir = os.path.join(given["cache_dir"], "classifiers", model)
        write_classifier(networks[model], given["vocab_file"], classifier_dir)
        path = RUNTIMES[runtime].make(Job(model, classifier_dir, given["cache_dir"], given["peer_python"]))
        beside = pieces_of(path)
        size = size_of(path) + (size_of(beside) if os.path.exists(beside) else 0)
        answers["sides"][side] = {"path": path, "size_bytes": size}
        if model not in answers["expected"]:
            answers["expected"][model] = keras_probabilities(classifier_dir, given["check"], given["max_tokens"])
        keras.utils.clear_session(free_memory=True)
        progress.update(number + 1)
    progress.close()
    write_json(answers_file, answers)


def keras_probabilities(classifier_dir: str, texts: list[str], max_tokens: int) -> list[list[float]]:
    """What Keras answers, without a graph: what all others are held against."""
    import numpy as np
    import tensorflow as tf

    from chemkd_tf.models.classifier import TextClassifier

    classifier = TextClassifier(classifier_dir)
    encode = encoder(classifier.vocabulary_file)
    token_ids = padded([encode(text, max_tokens) for text in texts])
    batch = {
        "token_ids": token_ids,
        "segment_ids": np.zeros_like(token_ids),
        "padding_mask": (token_ids != 0).astype(np.int32),
    }
    return tf.nn.softmax(classifier.network(batch, training=False)).numpy().tolist()


def size_of(path: str) -> int:
    """Bytes of a file, or of all files below a folder."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names)


if __name__ == "__main__":
    main(*sys.argv[1:])

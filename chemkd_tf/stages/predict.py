"""A trained or exported classifier answers: one sentence on the terminal, or a file of any size into a table."""

from collections.abc import Iterator

import numpy as np

from chemkd_tf.atomic import atomic_write
from chemkd_tf.config.export import ExportConfig
from chemkd_tf.data import labelled
from chemkd_tf.export.formats import Predictor
from chemkd_tf.progress import Progress

_TEXTS_AT_ONCE = 256


def predict(config: ExportConfig, predictor: Predictor, output_file: str) -> None:
    """Answers --text on the terminal; classifies --predict_file into a table of labels and probabilities.

    Args:
        config: settings, checked.
        predictor: what answers.
        output_file: where predictions go unless --predict_output_file says otherwise; a line for each text.
    """
    if config.text:
        probabilities = predictor([config.text])[0]
        for index in np.argsort(-probabilities, kind="stable")[:5]:
            print(f"{probabilities[index]:.4f}  {predictor.labels[index]}")
    if config.predict_file:
        _predict_file(config.predict_file, predictor, config.predict_output_file or output_file)


def _predict_file(predict_file: str, predictor: Predictor, path: str) -> None:
    labels = predictor.labels
    progress = Progress("predicting", sum(1 for _ in labelled.read_texts(predict_file)), "texts")
    done = 0
    with atomic_write(path) as file:
        file.write("\t".join(["label", *(f"p({label})" for label in labels)]) + "\n")
        for chunk in _chunks(labelled.read_texts(predict_file)):
            for row in predictor(chunk):
                file.write("\t".join([labels[row.argmax()], *(f"{value:.6f}" for value in row)]) + "\n")
            done += len(chunk)
            progress.update(done)
    progress.close()
    print(f"predictions: {path}", flush=True)


def _chunks(texts: Iterator[str]) -> Iterator[list[str]]:
    chunk = []
    for text in texts:
        chunk.append(text)
        if len(chunk) == _TEXTS_AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk

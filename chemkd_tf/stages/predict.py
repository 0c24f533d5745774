"""A trained or exported classifier answers: one sentence on the terminal, or a file of any size into a table."""

import itertools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from chemkd_tf.atomic import write_json
from chemkd_tf.config.export import ExportConfig
from chemkd_tf.data import labelled
from chemkd_tf.errors import InputError
from chemkd_tf.export.formats import Predictor
from chemkd_tf.progress import Progress
from chemkd_tf.workdir import read_json

_TEXTS_AT_ONCE = 1024


def predict(config: ExportConfig, predictor: Predictor, model: str, output_file: str) -> None:
    """Answers --text on the terminal; classifies --predict_file into a table of labels and probabilities.

    The file is read as a stream. What is done stands in `<output>.partial`; killed and started again, it goes on there.

    Args:
        config: settings, checked.
        predictor: what answers.
        model: path of what answers: another one begins the table anew.
        output_file: where predictions go unless --predict_output_file says otherwise; a line for each text.

    Raises:
        InputError: texts that can't be read, or a table that can't be written.
    """
    if config.text:
        probabilities = predictor([config.text])[0]
        for index in np.argsort(-probabilities, kind="stable")[:5]:
            print(f"{probabilities[index]:.4f}  {predictor.labels[index]}")
    if config.predict_file:
        path = config.predict_output_file or output_file
        total = sum(1 for _ in labelled.read_texts(config.predict_file))
        header = "\t".join(["label", *(f"p({label})" for label in predictor.labels)])
        plan = {"predict_file": _state_of(config.predict_file), "model": _state_of(model), "header": header}
        try:
            _predict_file(config.predict_file, total, predictor, path, plan)
        except OSError as error:
            raise InputError(
                f"--predict_output_file={path}: can't be written ({error.strerror or error}); check the folder, its "
                "rights and the space that is left"
            ) from None
        print(f"predictions: {path}", flush=True)


def _predict_file(predict_file: str, total: int, predictor: Predictor, path: str, plan: dict[str, Any]) -> None:
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    partial = f"{path}.partial"
    done = _begin(partial, plan)
    progress = Progress("predicting", total, "texts", done)
    texts = itertools.islice(labelled.read_texts(predict_file), done, None)
    with open(partial, "a", encoding="utf-8", newline="") as file:
        for chunk in _chunks(texts):
            file.writelines(_line(row, predictor.labels) for row in predictor(chunk))
            file.flush()
            done += len(chunk)
            progress.update(done)
        os.fsync(file.fileno())
    progress.close()
    os.replace(partial, path)
    os.remove(f"{partial}.json")


def _line(row: np.ndarray, labels: Any) -> str:
    return "\t".join([labels[row.argmax()], *(f"{value:.6f}" for value in row)]) + "\n"


def _begin(partial: str, plan: dict[str, Any]) -> int:
    """Leaves `partial` with its header and whole lines only; returns the number of texts that are done."""
    if os.path.exists(partial) and os.path.exists(f"{partial}.json") and read_json(f"{partial}.json") == plan:
        whole = lines = 0
        with open(partial, "rb") as file:
            for line in file:
                if line.endswith(b"\n"):  # a kill may have cut the last one in two
                    whole += len(line)
                    lines += 1
        os.truncate(partial, whole)
        if lines:
            return lines - 1
    with open(partial, "w", encoding="utf-8", newline="") as file:
        file.write(plan["header"] + "\n")
    write_json(f"{partial}.json", plan)
    return 0


def _state_of(path: str) -> list[Any]:
    """What tells whether a file is still the same: its full name, size and time of change (of a folder the time)."""
    status = os.stat(path)
    return [os.path.realpath(path), status.st_size, status.st_mtime_ns]


def _chunks(texts: Iterator[str]) -> Iterator[list[str]]:
    while chunk := list(itertools.islice(texts, _TEXTS_AT_ONCE)):
        yield chunk

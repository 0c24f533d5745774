"""What the folder of a trained classifier tells of how it came about, for the model card."""

import os
import shlex
from typing import Any, NamedTuple

from chemkd_tf.workdir import DATA_FILE, ORIGIN_FOLDER, read_json


class RunHistory(NamedTuple):
    """Everything is empty where the run left nothing.

    Attributes:
        settings: config.json of the training.
        command: its command line.
        versions: of what it ran on.
        data: data.json: split to file, texts, per_class.
        encoder: config.json of the run that made the encoder.
        shrinking: config.json of each time that the classifier was made smaller, the last first.
        reports: split to its report (see `stages.evaluate`).
    """

    settings: dict[str, Any]
    command: str
    versions: dict[str, str]
    data: dict[str, Any]
    encoder: dict[str, Any]
    shrinking: list[dict[str, Any]]
    reports: dict[str, Any]


def read_history(directory: str) -> RunHistory:
    """Reads the working directory of run_classifier.py."""
    reports = {split: _read(directory, f"{split}_report.json") for split in ("dev", "test")}
    folder, shrinking = directory, []
    settings = _read(folder, "config.json")
    while settings.get("stage") == "shrink":
        shrinking.append(settings)
        folder = os.path.join(folder, ORIGIN_FOLDER)
        settings = _read(folder, "config.json")
    run = _read(folder, "run.json")
    return RunHistory(
        settings,
        shlex.join(run.get("argv", [])),
        run.get("versions", {}),
        _read(folder, DATA_FILE),
        _read(settings.get("init_checkpoint") or os.devnull, "config.json"),
        shrinking,
        {split: report for split, report in reports.items() if report},
    )


def _read(folder: str, name: str) -> dict[str, Any]:
    path = os.path.join(folder, name)
    return read_json(path) if os.path.isfile(path) else {}

"""Notices when a teacher, records or texts have changed under their name, so that old runs are not mixed with new."""

import glob
import hashlib
import os

from benchmarks.experiment import Experiment
from chemkd_tf.atomic import write_json
from chemkd_tf.errors import InputError
from chemkd_tf.workdir import read_json

_PIECE = 1 << 20
_WEIGHTS = "model.weights.h5"  # a run's folder holds logs, too, which may grow


def refuse_changed(experiment: Experiment, path: str) -> None:
    """Compares what the experiment names with what it was at the first run, and notes what is new.

    Tasks are not among it: a run's folder is named after its texts.

    Args:
        experiment: names a teacher, records and unlabelled texts.
        path: JSON file of what was seen.

    Raises:
        InputError: something is missing, or has changed.
    """
    named = {experiment.teacher_dir, experiment.records, experiment.heldout}
    named |= {task.unlabelled for task in experiment.tasks}
    before = read_json(path) if os.path.exists(path) else {}
    now = {name: _fingerprint(name) for name in sorted(named - {""})}
    for name, found in now.items():
        if before.get(name, found) != found:
            raise InputError(
                f"{name} has changed since the first run in {os.path.dirname(path)}: choose another --output_dir, or "
                f"delete {path} if all its runs may be kept"
            )
    if now.keys() - before.keys():
        write_json(path, before | now)


def _fingerprint(name: str) -> str:
    """Of sizes, and of the first and the last MiB: corpora may be large."""
    digest = hashlib.sha256()
    files = _files(name)
    for file in files:
        size = os.path.getsize(file)
        digest.update(f"{len(files)} {size} ".encode())
        with open(file, "rb") as opened:
            digest.update(opened.read(_PIECE))
            opened.seek(max(size - _PIECE, 0))
            digest.update(opened.read(_PIECE))
    return digest.hexdigest()


def _files(name: str) -> list[str]:
    found: list[str] = []
    for part in name.split(","):
        part = part.strip()
        if os.path.isdir(part):
            weights = os.path.join(part, _WEIGHTS)
            matches = [weights] if os.path.isfile(weights) else [e.path for e in os.scandir(part) if e.is_file()]
        elif os.path.isfile(f"{part}.manifest.json"):
            matches = [f"{part}.manifest.json"]
        else:
            matches = glob.glob(part)
        if not matches:
            raise InputError(f"{name}: no such file or folder; the experiment names it")
        found += sorted(matches)
    return found

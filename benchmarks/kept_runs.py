"""What completed runs answered and cost, in one small file: for version control, or to go on on another machine.

Gzipped JSON lines: what the experiment named (`inputs`), then a line per run. A run that is restored from it counts as
done, but has no weights: what starts from them makes it anew.
"""

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.experiment import BASELINE, BASELINES
from benchmarks.experiment_runs import ExperimentRun
from benchmarks.run_records import count_parameters, last_evaluation, training_cost
from chemkd_tf.atomic import atomic_write, write_json
from chemkd_tf.errors import InputError
from chemkd_tf.workdir import read_json

_SUMMARY = "kept.json"
_HEADER = "label"


def keep(path: str, inputs: str, runs: Iterable[ExperimentRun]) -> int:
    """Adds completed runs to a file; the same runs make the same bytes.

    Args:
        path: of the file. Lines of runs that aren't among `runs` stay.
        inputs: file of the fingerprints of what the experiment names.
        runs: of the experiment, done or not.

    Returns:
        How many runs the file holds now.

    Raises:
        InputError: there is a file, and it is not of this kind.
    """
    _, lines = _read(path)
    for run in runs:
        if is_known(run) and not (is_restored(run) and run.folder in lines):
            lines[run.folder] = _what_is_kept(run)
    with atomic_write(path, "wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        for line in ({"inputs": read_json(inputs)}, *(lines[folder] for folder in sorted(lines))):
            packed.write((json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n").encode())
    return len(lines)


def restore_inputs(path: str, inputs: str) -> None:
    """Takes over the fingerprints of the file, so that another teacher or corpus is noticed.

    Raises:
        InputError: the file is not one of `keep`, or others are there.
    """
    kept, _ = _read(path)
    here = read_json(inputs) if os.path.exists(inputs) else {}
    for name in sorted(kept.keys() & here.keys()):
        if kept[name] != here[name]:
            raise InputError(f"--kept_runs={path}: its runs were made with another {name}: name another file")
    if kept.keys() - here.keys():
        write_json(inputs, kept | here)


def restore(path: str, runs: Iterable[ExperimentRun]) -> int:
    """Puts into place what is not done yet and stands in the file.

    Returns:
        How many runs those were.

    Raises:
        InputError: the file is not one of `keep`.
    """
    _, lines = _read(path)
    restored = [run for run in runs if run.folder in lines and not run.is_done and not is_restored(run)]
    for run in restored:
        _put_into_place(run, lines[run.folder])
    return len(restored)


def is_restored(run: ExperimentRun) -> bool:
    """Whether this comes from a file, and nothing else was made here since."""
    made_here = run.has_weights and run.script != BASELINE
    return not made_here and os.path.exists(f"{run.output_dir}/{_SUMMARY}")


def is_known(run: ExperimentRun) -> bool:
    """Whether it was completed, here or where the file came from."""
    return run.is_done or is_restored(run)


def summary(run: ExperimentRun) -> dict[str, Any]:
    """What a completed run cost (`cost`), its weights' `parameters` and `size_bytes`, a distillation's `held_out`."""
    if is_restored(run):
        return read_json(f"{run.output_dir}/{_SUMMARY}")
    found: dict[str, Any] = {"cost": training_cost(run)}
    if run.script == "run_distill.py":
        found["held_out"] = last_evaluation(run)
    elif run.script != BASELINE:
        found |= {"parameters": count_parameters(run.weights), "size_bytes": os.path.getsize(run.weights)}
    return found


def read_answers(path: str) -> list[str]:
    """Labels of a run's texts: the first column of a file with a header."""
    with open(path, encoding="utf-8", newline="\n") as file:
        return [line.rstrip("\n").split("\t")[0] for line in file][1:]


def _what_is_kept(run: ExperimentRun) -> dict[str, Any]:
    answers = {name: read_answers(f"{run.output_dir}/{name}") for name in _answers_of(run)}
    files = {name: read_json(f"{run.output_dir}/{name}") for name in _small_files_of(run)}
    return {"folder": run.folder, "summary": summary(run), "files": files, "answers": answers}


def _put_into_place(run: ExperimentRun, line: dict[str, Any]) -> None:
    """Writes a run's folder; the file that makes it complete comes last."""
    contents = {_SUMMARY: json.dumps(line["summary"])}
    contents |= {name: json.dumps(value, ensure_ascii=False) for name, value in line["files"].items()}
    contents |= {name: "".join(f"{each}\n" for each in [_HEADER, *labels]) for name, labels in line["answers"].items()}
    for name in sorted(contents, key=lambda name: f"{run.output_dir}/{name}" == run.done):
        with atomic_write(f"{run.output_dir}/{name}") as file:
            file.write(contents[name])


def _answers_of(run: ExperimentRun) -> Sequence[str]:
    if run.script == BASELINE:
        return [f"{name}.tsv" for name in BASELINES]
    return [] if run.cell is None or run.script == "run_distill.py" else [os.path.basename(run.done)]


def _small_files_of(run: ExperimentRun) -> Sequence[str]:
    if run.script == BASELINE:
        return [os.path.basename(run.done)]
    return [] if run.script == "run_distill.py" else ["classifier.json"]


def _read(path: str) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """Fingerprints by name, and lines by folder; neither, where there is no file yet."""
    if not os.path.exists(path):
        return {}, {}
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            first, *lines = [json.loads(line) for line in file]
        return first["inputs"], {line["folder"]: line for line in lines}
    except OSError as error:
        raise InputError(f"--kept_runs={path}: can't be read ({error.strerror or error})") from None
    except (EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise InputError(f"--kept_runs={path}: no file of kept runs ({error!r}); name another one") from None

"""From the completed runs of a comparison to its figures: scores, spread, intervals, tests, costs; nothing guessed."""

import contextlib
import hashlib
import json
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, f1_score

from benchmarks.experiment import BASELINE, TEACHER, Experiment
from benchmarks.experiment_runs import ExperimentRun, ExperimentRuns
from benchmarks.kept_runs import is_known, read_answers, summary
from benchmarks.run_records import mean_cost
from benchmarks.scores import NUM_EXCHANGES, NUM_RESAMPLES, approximate_randomisation, bootstrap, holm, interval
from benchmarks.serving import serving_key
from chemkd_tf.atomic import write_json


class Cache:
    """What was computed before, by a digest of what it was computed from; resampling takes a second each.

    Args:
        path: JSON file it is kept in.
    """

    def __init__(self, path: str):
        self._path = path
        self._values: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError, ValueError), open(path, encoding="utf-8") as file:
            self._values = json.load(file)
        self._changed = False

    def get(self, arrays: list[np.ndarray], name: str, compute: Callable[[], Any]) -> Any:
        """Returns what `compute` returned for these arrays, a JSON value."""
        digest = hashlib.sha256(f"{name} {NUM_RESAMPLES} {NUM_EXCHANGES}".encode())
        for array in arrays:
            digest.update(str(array.shape).encode() + np.ascontiguousarray(array, np.int64).tobytes())
        key = digest.hexdigest()
        if key not in self._values:
            self._values[key], self._changed = compute(), True
        return self._values[key]

    def save(self) -> None:
        """Writes the file, if there is anything new."""
        if self._changed:
            write_json(self._path, self._values)
            self._changed = False


def summarise(runs: ExperimentRuns, cache: Cache, latency: dict[str, float]) -> list[dict[str, Any]]:
    """Figures of every method on every task and size.

    Args:
        runs: of the experiment, done or not.
        cache: of intervals and tests.
        latency: milliseconds by `serving_key`.

    Returns:
        One dict per row of a table: method, tables, task, num_train, seeds (complete ones), seeds_wanted, runs_done,
        runs_wanted, encoders (distilled ones that it stands on); student, parameters, size_bytes, latency_ms;
        scores (per seed), accuracy, macro_f1 (mean, deviation; macro_f1 also its 95 % interval over the texts),
        share_of_teacher (share, seeds), against (the method compared with: difference, interval, p, p_holm, seeds),
        and costs (distillation, fine_tuning). What can't be known yet is None.
    """
    rows = []
    for task in runs.experiment.tasks:
        for size in task.sizes:
            rows += _of_task(runs, task.name, size, cache, latency)
    cache.save()
    return rows


def _of_task(
    runs: ExperimentRuns, task: str, size: int, cache: Cache, latency: dict[str, float]
) -> list[dict[str, Any]]:
    experiment = runs.experiment
    answers = {name: _answers(runs, name, task, size) for name, _ in _names(experiment, task, size)}
    true = _truth(runs, task, size)
    labels = sorted(
        {*true, *(label for of_seed in answers.values() for answer in of_seed.values() for label in answer)}
    )
    number = {label: index for index, label in enumerate(labels)}
    true_ids = np.array([number[label] for label in true])
    ids = {
        name: {seed: np.array([number[label] for label in answer]) for seed, answer in of_seed.items()}
        for name, of_seed in answers.items()
    }
    rows = []
    for name, tables in _names(experiment, task, size):
        row = {"method": name, "tables": tables, "task": task, "num_train": size}
        row |= _progress(runs, name, task, size, answers[name]) | _serving(runs, name, task, size, latency)
        row |= _scores(true, true_ids, answers[name], ids[name], len(labels), cache)
        row["share_of_teacher"] = _share(row, next((other for other in rows if other["method"] == TEACHER), row))
        other = ids.get(experiment.compare_with, {})
        row["against"] = (
            None if name == experiment.compare_with else _against(true_ids, ids[name], other, len(labels), cache)
        )
        row["costs"] = _costs(runs, name, task, size)
        rows.append(row)
    tested = [row["against"] for row in rows if row["against"]]
    for against, adjusted in zip(tested, holm([against["p"] for against in tested]), strict=True):
        against["p_holm"] = adjusted
    return rows


def _names(experiment: Experiment, task: str, size: int) -> list[tuple[str, tuple[int, ...]]]:
    """Rows in order, with the tables they stand in; the teacher comes first, for the others are compared with it."""
    methods = [(method.name, method.tables) for method in experiment.methods if method.applies_to(task, size)]
    return methods + [(name, (2,)) for name in experiment.baselines]


def _runs_of(runs: ExperimentRuns, name: str, task: str, size: int, seed: int) -> list[ExperimentRun]:
    method = BASELINE if name in runs.experiment.baselines else name
    return [runs.of(method, cell) for cell in runs.cells(task, size, seed)]


def _done(runs: ExperimentRuns, name: str, task: str, size: int) -> Iterator[ExperimentRun]:
    for seed in runs.experiment.seeds:
        yield from (run for run in _runs_of(runs, name, task, size, seed) if run.is_done)


def _truth(runs: ExperimentRuns, task: str, size: int) -> list[str]:
    """Labels of all reported texts: the same ones in the same order for every seed."""
    cells = runs.cells(task, size, runs.experiment.seeds[0])
    return [str(label) for cell in cells for label in runs.split(cell)["test"][1]]


def _answers(runs: ExperimentRuns, name: str, task: str, size: int) -> dict[int, list[str]]:
    """Predicted labels of all reported texts by seed, of seeds whose folds are all done."""
    found = {}
    for seed in runs.experiment.seeds:
        folds = _runs_of(runs, name, task, size, seed)
        if all(run.is_done for run in folds):
            found[seed] = [label for run in folds for label in _predictions(runs, run, name)]
    return found


def _predictions(runs: ExperimentRuns, run: ExperimentRun, name: str) -> list[str]:
    path = f"{run.output_dir}/{name}.tsv" if run.method == BASELINE else run.done
    labels = read_answers(path)
    assert len(labels) == len(runs.split(run.cell)["test"][1]), path
    return labels


def _progress(runs: ExperimentRuns, name: str, task: str, size: int, answers: dict) -> dict[str, Any]:
    seeds = runs.experiment.seeds
    wanted = [run for seed in seeds for run in _runs_of(runs, name, task, size, seed)]
    encoders = {needed for run in wanted for needed in _encoders(run)}
    return {
        "seeds": sorted(answers), "seeds_wanted": len(seeds), "runs_done": sum(run.is_done for run in wanted),
        "runs_wanted": len(wanted), "encoders": len(encoders),
    }  # fmt: skip


def _encoders(run: ExperimentRun) -> list[ExperimentRun]:
    """Distillations whose weights the run starts from; fresh weights only take the shape."""
    if "--random_init" in run.arguments:
        return []
    return [needed for needed in run.needs if needed.script == "run_distill.py"]


def _scores(
    true: list[str], true_ids: np.ndarray, answers: dict, ids: dict, num_classes: int, cache: Cache
) -> dict[str, Any]:
    if not answers:
        return {"scores": [], "accuracy": None, "macro_f1": None}
    scores = [
        {
            "seed": seed,
            "accuracy": float(accuracy_score(true, answer)),
            "macro_f1": float(f1_score(true, answer, average="macro", zero_division=0)),
        }
        for seed, answer in sorted(answers.items())
    ]
    found: dict[str, Any] = {"scores": scores}
    for key in ("accuracy", "macro_f1"):
        values = [score[key] for score in scores]
        deviation = statistics.stdev(values) if len(values) > 1 else None
        found[key] = {"mean": statistics.mean(values), "deviation": deviation}
    arrays = [ids[seed] for seed in sorted(ids)]
    found["macro_f1"]["interval"] = cache.get(
        [true_ids, *arrays], "interval", lambda: interval(bootstrap(true_ids, arrays, num_classes, NUM_RESAMPLES))
    )
    return found


def _share(row: dict[str, Any], teacher: dict[str, Any]) -> dict[str, Any] | None:
    """Macro-F1 over the teacher's, of the seeds that both have."""
    scores = [{score["seed"]: score["macro_f1"] for score in one["scores"]} for one in (row, teacher)]
    common = scores[0].keys() & scores[1].keys()
    if not common or teacher["method"] != TEACHER:
        return None
    share = sum(scores[0][seed] for seed in common) / sum(scores[1][seed] for seed in common)
    return {"share": share, "seeds": sorted(common)}


def _against(true: np.ndarray, ours: dict, theirs: dict, num_classes: int, cache: Cache) -> dict[str, Any] | None:
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    first, second = [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]

    def compute() -> dict[str, Any]:
        observed = [
            statistics.mean(f1_score(true, answer, average="macro", zero_division=0) for answer in answers)
            for answers in (first, second)
        ]
        resampled = [bootstrap(true, answers, num_classes, NUM_RESAMPLES) for answers in (first, second)]
        return {
            "difference": float(observed[0] - observed[1]),
            "interval": interval(resampled[0] - resampled[1]),
            "p": approximate_randomisation(true, first, second, num_classes),
        }

    return {"seeds": seeds, **cache.get([true, *first, *second], "against", compute)}


def _costs(runs: ExperimentRuns, name: str, task: str, size: int) -> dict[str, Any]:
    done = list(_done(runs, name, task, size))
    encoders = list(dict.fromkeys(needed for run in done for needed in _encoders(run) if is_known(needed)))
    costs = {"distillation": encoders, "fine_tuning": done}
    return {what: mean_cost([summary(run)["cost"] for run in made]) if made else None for what, made in costs.items()}


def _serving(runs: ExperimentRuns, name: str, task: str, size: int, latency: dict[str, float]) -> dict[str, Any]:
    """What the first completed classifier of a row costs to serve."""
    run = next(_done(runs, name, task, size), None)
    found: dict[str, Any] = {"student": None, "parameters": None, "size_bytes": None, "latency_ms": None}
    if run is None:
        return found
    found["latency_ms"] = latency.get(serving_key(run, name))
    if run.method == BASELINE:
        with open(run.done, encoding="utf-8") as file:
            scores = json.load(file)[name]
        found |= {"student": "TF-IDF, logistic regression"}
        found |= {key: scores[key] for key in ("parameters", "size_bytes")}
    else:
        found["student"] = student_of(run.output_dir)
        found |= {key: summary(run)[key] for key in ("parameters", "size_bytes")}
    return found


def student_of(output_dir: str) -> str:
    """An encoder's shape in words."""
    with open(f"{output_dir}/classifier.json", encoding="utf-8") as file:
        shape = json.load(file)["architecture"]
    return f"{shape['kind']}, {shape['num_layers']} layers, width {shape['hidden_dim']}"

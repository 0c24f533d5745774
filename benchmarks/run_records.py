"""What a run leaves about itself: how often it was tried, how long it took, how many updates and tokens it saw."""

import contextlib
import json
import os
import shutil
import statistics
import time
from collections.abc import Iterable, Sequence
from typing import Any

import h5py

from benchmarks.experiment_runs import ExperimentRun
from benchmarks.locks import this_machine
from benchmarks.worker_pool import Outcome
from chemkd_tf.atomic import write_json


def record_attempt(base: str, run: ExperimentRun, outcome: Outcome, parallel: int) -> None:
    """Adds an attempt to `base`.run.json.

    Args:
        base: path of the run's folder.
        run: what was tried.
        outcome: what became of it.
        parallel: runs that shared the machine.
    """
    record = read_record(base)
    attempt = {
        "status": outcome.status,
        "seconds": round(outcome.seconds, 2),
        "cpu_seconds": round(outcome.cpu_seconds, 2),
        "ended": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": this_machine().split("/")[0],
        "cores": os.cpu_count(),
        "parallel": parallel,
    }
    attempts = [*record.get("attempts", []), attempt]
    write_json(f"{base}.run.json", {"script": run.script, "arguments": run.arguments, "attempts": attempts})


def read_record(base: str) -> dict[str, Any]:
    """What `record_attempt` wrote; empty if nothing."""
    with contextlib.suppress(FileNotFoundError, ValueError), open(f"{base}.run.json", encoding="utf-8") as file:
        return json.load(file)
    return {}


def drop_what_only_resumes(output_dir: str) -> None:
    """Removes what a completed run needs no more: checkpoints are six times its weights, a teacher's states more."""
    for name in ("checkpoints", "taught"):
        shutil.rmtree(f"{output_dir}/{name}", ignore_errors=True)


def training_cost(run: ExperimentRun) -> dict[str, float | None]:
    """What a completed run cost.

    Returns:
        seconds (of the clock: of the updates that count, from metrics.jsonl, which a kill doesn't falsify; else of all
        attempts), cpu_seconds (of all attempts that ended, starting up and evaluating included), updates and tokens.
        None for what nobody noted.
    """
    attempts = read_record(run.output_dir).get("attempts", [])
    updates, seconds, tokens = 0, 0.0, 0.0
    timed = False
    with contextlib.suppress(FileNotFoundError), open(f"{run.output_dir}/metrics.jsonl", encoding="utf-8") as file:
        for line in file:
            point = json.loads(line)
            if point.get("split") != "train":
                continue
            updates = max(updates, point["step"])
            if "seconds" in point:
                timed = True
                seconds += point["seconds"]
                tokens += point.get("tokens_per_second", 0.0) * point["seconds"]
    return {
        "seconds": seconds if timed else sum(attempt["seconds"] for attempt in attempts) or None,
        "cpu_seconds": sum(attempt["cpu_seconds"] for attempt in attempts) or None,
        "updates": updates or None,
        "tokens": round(tokens) or None,
    }


def last_evaluation(run: ExperimentRun) -> dict[str, float] | None:
    """The last line of metrics.jsonl that is not of training; None without one."""
    last = None
    with contextlib.suppress(FileNotFoundError), open(f"{run.output_dir}/metrics.jsonl", encoding="utf-8") as file:
        for line in file:
            point = json.loads(line)
            last = last if point.get("split") == "train" else point
    return last


def count_parameters(path: str) -> int:
    """Numbers in a file of weights."""
    sizes = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, item: sizes.append(item.size) if isinstance(item, h5py.Dataset) else None)
    return int(sum(sizes))


def mean_cost(costs: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Mean of what several runs cost (`training_cost`); None where one of them doesn't know."""
    found: dict[str, float | None] = {}
    for key in ("seconds", "cpu_seconds", "updates", "tokens"):
        values = [cost[key] for cost in costs]
        found[key] = None if not values or None in values else statistics.mean(values)
    return found


class Durations:
    """How long runs take, from those that are done.

    Args:
        runs: of the experiment.
    """

    def __init__(self, runs: Iterable[ExperimentRun]):
        self._seconds: dict[tuple, list[float]] = {}
        for run in runs:
            if run.is_done:
                self.note(run)

    def note(self, run: ExperimentRun) -> None:
        """Takes a completed run into account."""
        seconds = sum(attempt["seconds"] for attempt in read_record(run.output_dir).get("attempts", []))
        if seconds:
            for key in _kinds(run):
                self._seconds.setdefault(key, []).append(seconds)

    def estimate(self, run: ExperimentRun) -> float | None:
        """Seconds, from runs of its kind, else of its script on its task, else of its script; None without any."""
        return next((statistics.mean(self._seconds[key]) for key in _kinds(run) if key in self._seconds), None)

    def left(self, runs: Iterable[ExperimentRun], parallel: int) -> tuple[float, int]:
        """Seconds for all of them, some at once, and how many of them have no estimate."""
        estimates = [self.estimate(run) for run in runs]
        return sum(filter(None, estimates)) / parallel, estimates.count(None)


def _kinds(run: ExperimentRun) -> list[tuple]:
    task = (run.script, run.cell.task, run.cell.size) if run.cell else (run.script,)
    return [run.kind, task, (run.script,)]

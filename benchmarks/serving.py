"""Latency of the classifiers of a comparison: each kind once, at the end, with nothing beside it."""

import glob
import hashlib
import json
import os
import sys
import time

from benchmarks.experiment import BASELINE
from benchmarks.experiment_runs import ExperimentRun, ExperimentRuns
from benchmarks.worker import DONE, LATENCY
from benchmarks.worker_pool import Worker
from chemkd_tf.atomic import write_json

_BUSY = 0.5  # load per core at which a measurement is doubtful


def serving_key(run: ExperimentRun, name: str) -> str:
    """Classifiers with the same key are equally fast.

    For networks that is the shape, the pooling and the length, whatever the labels; of TF-IDF, which grows with its
    texts, the task and the number of labels.

    Args:
        run: a completed classifier.
        name: which of the baselines, if it is one.
    """
    if run.method == BASELINE:
        return f"{name} {run.cell.task} {run.cell.size}"
    with open(f"{run.output_dir}/classifier.json", encoding="utf-8") as file:
        description = json.load(file)
    return json.dumps({key: value for key, value in description.items() if key != "labels"}, sort_keys=True)


def measured_latency(output_dir: str) -> dict[str, float]:
    """Milliseconds by `serving_key`, of what was measured so far."""
    found = {}
    for path in glob.glob(f"{output_dir}/latency/*.json"):
        with open(path, encoding="utf-8") as file:
            measured = json.load(file)
        for name, key in measured["keys"].items():
            found[key] = (measured[name] if name else measured)["latency_ms"]
    return found


def measure_latency(runs: ExperimentRuns) -> None:
    """Times each kind that has not been timed yet, one after the other, on the reported texts of its first run."""
    known = measured_latency(runs.output_dir)
    worker = None
    for run in runs.all:
        if not run.cell or not run.has_weights:
            continue
        keys = {
            name: serving_key(run, name) for name in (runs.experiment.baselines if run.method == BASELINE else [""])
        }
        if all(key in known for key in keys.values()):
            continue
        load = os.getloadavg()[0]
        if worker is None and load > _BUSY * (os.cpu_count() or 1):
            print(f"other work is going on (load {load:.1f}): latencies will be too high", file=sys.stderr, flush=True)
        worker = worker or Worker(os.cpu_count() or 1)
        digest = hashlib.sha256("\0".join(keys.values()).encode()).hexdigest()[:16]
        path = f"{runs.output_dir}/latency/{digest}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        arguments = [f"--data_dir={runs.data_dir(run.cell)}", f"--output_json={path}.measured"]
        arguments += [] if run.method == BASELINE else [f"--classifier={run.output_dir}"]
        print(f"timing {run}", flush=True)
        worker.start(LATENCY, tuple(arguments), f"{path}.log")
        while (outcome := worker.poll()) is None:
            time.sleep(0.1)
        if outcome.status != DONE:
            print(f"FAILED timing {run}; its log: {path}.log", file=sys.stderr, flush=True)
            worker.close()
            return
        with open(f"{path}.measured", encoding="utf-8") as file:
            measured = json.load(file)
        write_json(f"{path}.json", {"keys": keys, **measured})
        os.remove(f"{path}.measured")
        known.update(measured_latency(runs.output_dir))
    if worker:
        worker.close()

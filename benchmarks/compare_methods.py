"""Methods x seeds x tasks from one file: Table 2 and Table 3 of the paper on labelled tasks of your own.

    python -m benchmarks.compare_methods --experiment=benchmarks/methods.toml --output_dir=runs/methods --dry_run
    python -m benchmarks.compare_methods --experiment=benchmarks/methods.toml --output_dir=runs/methods

Killed and started again, or started twice at once, it makes what is missing, each run once. After every run
results.json and TABLES.md in the output directory are written anew. docs/experiments.md describes the file.
"""

import dataclasses
import glob
import os
import platform
import re
import shlex
import signal
import sys
from typing import Any

from absl import app, flags

from benchmarks.experiment import read_experiment
from benchmarks.experiment_runs import ExperimentRun, ExperimentRuns
from benchmarks.inputs import refuse_changed
from benchmarks.kept_runs import is_known, keep, restore, restore_inputs
from benchmarks.results import Cache, summarise
from benchmarks.results_markdown import tables
from benchmarks.run_records import Durations
from benchmarks.scheduler import Options, Scheduler, left_to_do
from benchmarks.serving import measure_latency, measured_latency
from chemkd_tf.atomic import atomic_write, write_json
from chemkd_tf.errors import InputError
from chemkd_tf.workdir import versions

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Only for the command line: other modules have flags of the same names."""
    flags.DEFINE_string("experiment", None, "TOML file: what is compared (docs/experiments.md).")
    flags.DEFINE_string("output_dir", None, "Where everything goes; several processes may share it.")
    flags.DEFINE_integer("parallel", 2, "Runs at once, each on its share of the cores.", lower_bound=1)
    flags.DEFINE_float("max_minutes", 0, "Start nothing later than this; 0: no limit.", lower_bound=0)
    flags.DEFINE_string("only", "", "Regular expression: only runs whose folder matches, and what they need.")
    flags.DEFINE_string(
        "kept_runs", "", "File of what completed runs answered and cost: read at the start, written at the end."
    )
    flags.DEFINE_bool("dry_run", False, "List what is left, with an estimate, and run nothing.")
    flags.DEFINE_bool("report_only", False, "Write results.json and TABLES.md from what is done, and run nothing.")
    flags.DEFINE_bool("measure_latency", False, "At the end time one text at a time on every kind of student.")
    flags.DEFINE_integer("runs_per_worker", 15, "Runs that a process makes before it is replaced.", lower_bound=1)
    flags.DEFINE_string("script_dir", "", "Folder of run_distill.py and run_classifier.py; empty: the project's.")
    flags.mark_flags_as_required(["experiment", "output_dir"])


def main(arguments: list[str]) -> None:
    """Plans, runs, reports. Ends with status 1 if a run failed, with 2 if the file is wrong."""
    if len(arguments) > 1:
        sys.exit(f"error: unexpected argument {arguments[1]!r}: flags are written --name=value")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        experiment = read_experiment(FLAGS.experiment)
        inputs = f"{FLAGS.output_dir}/inputs.json"
        if FLAGS.kept_runs:
            restore_inputs(FLAGS.kept_runs, inputs)
        refuse_changed(experiment, inputs)
        runs = ExperimentRuns(experiment, FLAGS.output_dir)
        chosen = matching(runs.all, FLAGS.only)
        if FLAGS.kept_runs:
            print(f"{restore(FLAGS.kept_runs, runs.all)} runs restored from {FLAGS.kept_runs}", flush=True)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    left = left_to_do(chosen)
    print(f"{len(chosen)} runs, {len(chosen) - len(left)} of them done", flush=True)
    _mention_others(runs)
    if FLAGS.dry_run:
        print(plan(left, Durations(runs.all), FLAGS.parallel))
        return
    runs.write_data()
    cache = Cache(f"{runs.output_dir}/resampled.json")
    failed: dict[ExperimentRun, str] = {}
    try:
        if not FLAGS.report_only:
            options = Options(FLAGS.parallel, 60 * FLAGS.max_minutes, FLAGS.runs_per_worker, FLAGS.script_dir)
            scheduler = Scheduler(chosen, runs.output_dir, options, lambda run: report(runs, cache))
            scheduler.work()
            if FLAGS.measure_latency:
                measure_latency(runs)
            failed = scheduler.failed
            if scheduler.waiting:
                print(f"\n--max_minutes is over; left: {plan(scheduler.waiting, Durations(runs.all), FLAGS.parallel)}")
        report(runs, cache)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        _keep(runs, inputs)
        sys.exit(130)
    _keep(runs, inputs)
    print(f"\nresults: {runs.output_dir}/results.json   tables: {runs.output_dir}/TABLES.md", flush=True)
    if failed:
        print(f"\n{len(failed)} runs failed:" + "".join(f"\n  {run}: {why}" for run, why in failed.items()))
        sys.exit(1)


def matching(runs: list[ExperimentRun], pattern: str) -> list[ExperimentRun]:
    """Runs whose folder matches, and what they need, in order.

    Raises:
        InputError: no regular expression, or none of any run.
    """
    try:
        wanted = [run for run in runs if re.search(pattern, run.folder)]
    except re.error as error:
        raise InputError(f"--only={pattern}: not a regular expression ({error})") from None
    if not wanted:
        raise InputError(f"--only={pattern}: matches no run; folders look like {runs[0].folder}")
    kept = set(wanted)
    for run in reversed(runs):  # needs stand before what needs them
        if run in kept:
            kept.update(run.needs)
    return [run for run in runs if run in kept]


def plan(left: list[ExperimentRun], durations: Durations, parallel: int) -> str:
    """What is left, with an estimate of each and of all."""
    lines = []
    for run in left:
        seconds = durations.estimate(run)
        lines.append(f"{'?' if seconds is None else f'{seconds / 60:.1f}':>8} min  {run.folder}")
    seconds, unknown = durations.left(left, parallel)
    lines.append(f"{len(left)} runs, about {seconds / 60:.0f} min with --parallel={parallel}" + (
        f"; {unknown} of them are of a kind that was never timed and not counted" if unknown else ""
    ))  # fmt: skip
    return "\n".join(lines)


def report(runs: ExperimentRuns, cache: Cache) -> None:
    """Writes results.json and TABLES.md from whatever is done by now."""
    experiment = runs.experiment
    results: dict[str, Any] = {
        "command": "python -m benchmarks.compare_methods " + shlex.join(sys.argv[1:]),
        "experiment": dataclasses.asdict(experiment),
        "seeds": experiment.seeds,
        "distillation_seeds": experiment.distillation_seeds,
        "compare_with": experiment.compare_with,
        "versions": versions(),
        "machine": {"platform": platform.platform(), "cpu_count": os.cpu_count()},
        "runs": len(runs.all),
        "runs_done": sum(is_known(run) for run in runs.all),
        "rows": summarise(runs, cache, measured_latency(runs.output_dir)),
    }
    write_json(f"{runs.output_dir}/results.json", results)
    with atomic_write(f"{runs.output_dir}/TABLES.md") as file:
        file.write(tables(results))


def _keep(runs: ExperimentRuns, inputs: str) -> None:
    if FLAGS.kept_runs:
        print(f"{keep(FLAGS.kept_runs, inputs, runs.all)} runs kept in {FLAGS.kept_runs}", flush=True)


def _mention_others(runs: ExperimentRuns) -> None:
    """Says that runs of other flags or texts are there, which the tables leave out."""
    known = {f"{runs.output_dir}/{run.folder}" for run in runs.all}
    others = set(glob.glob(f"{runs.output_dir}/runs/*/*/*/*/")) - {f"{path}/" for path in known}
    if others:
        print(f"not used: {len(others)} runs of other flags, texts or seeds, such as {min(others)}", flush=True)


if __name__ == "__main__":
    define_flags()
    app.run(main)

"""Many runs of the project's commands, some at once; what is done already is not done again."""

import dataclasses
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable

PARALLEL_RUNS = 2  # two small models on a core each are trained sooner than one after the other on both
_SECONDS_BETWEEN_REPORTS = 30


@dataclasses.dataclass(frozen=True)
class Run:
    """One command.

    Attributes:
        output_dir: its working directory; its log is `output_dir` + ".log".
        arguments: of the script, without --output_dir.
        done: file that the run writes last.
        needs: files that must be there before it starts.
        script: what is run.
    """

    output_dir: str
    arguments: str
    done: str
    needs: tuple[str, ...] = ()
    script: str = "run_classifier.py"


def run_all(runs: list[Run], say: Callable[[Run], str], parallel: int = PARALLEL_RUNS) -> None:
    """Runs what isn't done yet, in order as far as `needs` allows.

    Prints each command before it starts, how far the running ones are twice a minute, and a line when one has ended.

    Args:
        runs: what to run.
        say: called with a run that has ended; returns what to print of it.
        parallel: how many at once. Each gets its share of the cores.

    Raises:
        SystemExit: a run failed, and its log is named; or nothing that is left can start.
    """
    waiting = [run for run in runs if not os.path.exists(run.done)]
    running: list[tuple[Run, subprocess.Popen]] = []
    threads = {"TF_NUM_INTRAOP_THREADS": str(max((os.cpu_count() or 1) // parallel, 1))}
    reported = time.monotonic()
    while waiting or running:
        ready = [run for run in waiting if all(map(os.path.exists, run.needs))]
        for run in ready[: parallel - len(running)]:
            waiting.remove(run)
            running.append((run, _start(run, threads)))
        if not running:
            missing = next(path for path in waiting[0].needs if not os.path.exists(path))
            sys.exit(f"error: {waiting[0].output_dir} needs {missing}, which no run makes")
        time.sleep(0.2)
        for run, process in [entry for entry in running if entry[1].poll() is not None]:
            running.remove((run, process))
            if process.returncode:
                for _, other in running:
                    other.terminate()
                sys.exit(f"error: {run.output_dir} failed; its log is {run.output_dir}.log")
            print(f"{run.output_dir}: {say(run)}   ({len(waiting) + len(running)} left)", flush=True)
        if time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS:
            reported = time.monotonic()
            for run, _ in running:
                print(f"  ... {run.output_dir}: {last_line(run)}", flush=True)


def last_line(run: Run) -> str:
    """What the run said last."""
    with open(f"{run.output_dir}.log", encoding="utf-8", errors="replace") as log:
        lines = log.read().splitlines()
    return lines[-1].strip() if lines else "starting"


def _start(run: Run, environment: dict[str, str]) -> subprocess.Popen:
    command = f"{run.script} --output_dir={run.output_dir} {run.arguments}"
    print(f"$ python {command}", flush=True)
    os.makedirs(os.path.dirname(run.output_dir) or ".", exist_ok=True)
    with open(f"{run.output_dir}.log", "w", encoding="utf-8") as log:
        return subprocess.Popen(
            [sys.executable, *shlex.split(command)], stdout=log, stderr=log, env={**os.environ, **environment}
        )

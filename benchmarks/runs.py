"""Many runs of run_classifier.py, some at once; what is done already is not done again."""

import dataclasses
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable

PARALLEL_RUNS = 2  # a small LSTM leaves the second core idle


@dataclasses.dataclass(frozen=True)
class Run:
    """One command.

    Attributes:
        output_dir: its working directory; its log is `output_dir` + ".log".
        arguments: of run_classifier.py, without --output_dir.
        done: file that the run writes last.
        needs: file that must be there before it starts; empty: none.
    """

    output_dir: str
    arguments: str
    done: str
    needs: str = ""


def run_all(runs: list[Run], say: Callable[[Run, int], str], parallel: int = PARALLEL_RUNS) -> None:
    """Runs what isn't done yet, in order as far as `needs` allows, and prints each command before it starts.

    Args:
        runs: what to run.
        say: called with (run, number of runs left) when one has ended; returns the line to print.
        parallel: how many at once. Each gets its share of the cores.

    Raises:
        SystemExit: a run failed; the message names its log.
    """
    waiting = [run for run in runs if not os.path.exists(run.done)]
    running: list[tuple[Run, subprocess.Popen]] = []
    threads = {"TF_NUM_INTRAOP_THREADS": str(max((os.cpu_count() or 1) // parallel, 1))}
    while waiting or running:
        ready = [run for run in waiting if not run.needs or os.path.exists(run.needs)]
        for run in ready[: parallel - len(running)]:
            waiting.remove(run)
            command = f"run_classifier.py --output_dir={run.output_dir} {run.arguments}"
            print(f"$ python {command}", flush=True)
            os.makedirs(os.path.dirname(run.output_dir) or ".", exist_ok=True)
            with open(f"{run.output_dir}.log", "w", encoding="utf-8") as log:
                process = subprocess.Popen(
                    [sys.executable, *shlex.split(command)], stdout=log, stderr=log, env={**os.environ, **threads}
                )
            running.append((run, process))
        if not running:
            sys.exit(f"error: {waiting[0].output_dir} needs {waiting[0].needs}, which no run makes")
        time.sleep(0.2)
        for run, process in [entry for entry in running if entry[1].poll() is not None]:
            running.remove((run, process))
            if process.returncode:
                for _, other in running:
                    other.terminate()
                sys.exit(f"error: {run.output_dir} failed; its log is {run.output_dir}.log")
            print(say(run, len(waiting) + len(running)), flush=True)

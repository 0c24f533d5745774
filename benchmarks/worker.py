"""A process that makes one run after another: TensorFlow is imported once, not once a run.

Started by `worker_pool`. It reads jobs from standard input, one JSON object a line (script, arguments, log, fresh), and
answers each with one on standard output (status, seconds, cpu_seconds). What a job prints goes to its log. With `fresh`
the job is the script itself, as if it had been called by hand, and the process ends with it.
"""

import gc
import json
import os
import resource
import runpy
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.experiment import BASELINE
from chemkd_tf import flags
from chemkd_tf.errors import InputError, Stopped

DONE, FAILED, STOPPED = "done", "failed", "stopped"


def _classify(arguments: Sequence[str]) -> None:
    from chemkd_tf.config import ClassificationConfig

    config = flags.config_of(ClassificationConfig, arguments)
    _import_tensorflow()
    from chemkd_tf.stages import classify

    classify.run(config)


def _distill(arguments: Sequence[str]) -> None:
    from chemkd_tf.config import DistillationConfig

    config = flags.config_of(DistillationConfig, arguments)
    _import_tensorflow()
    from chemkd_tf.stages import distill

    distill.train_and_evaluate(config)


def _baseline(arguments: Sequence[str]) -> None:
    from benchmarks import baseline_run

    baseline_run.main(arguments)


def _measure_latency(arguments: Sequence[str]) -> None:
    _import_tensorflow()
    from benchmarks import latency

    latency.main(arguments)


LATENCY = "latency"
IN_PROCESS: dict[str, Callable[[Sequence[str]], Any]] = {
    "run_classifier.py": _classify,
    "run_distill.py": _distill,
    BASELINE: _baseline,
    LATENCY: _measure_latency,
}
"""What a job's script does, as a function of its arguments."""


def execute(script: str, arguments: Sequence[str], fresh: str = "") -> str:
    """Runs a job in this process; what goes wrong is printed.

    Args:
        script: a key of `IN_PROCESS`.
        arguments: of the command line.
        fresh: path of a script that is run in place of the function.

    Returns:
        DONE, FAILED, or STOPPED (by SIGTERM, everything saved).
    """
    sys.argv = [script, *arguments]
    try:
        if fresh:
            runpy.run_path(fresh, run_name="__main__")
        else:
            IN_PROCESS[script](arguments)
        return DONE
    except SystemExit as ended:
        return DONE if not ended.code else STOPPED if ended.code in (130, 143) else FAILED
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return STOPPED
    except BaseException:
        traceback.print_exc()
        return FAILED


def forget() -> None:
    """Drops the models of the run before, and Keras's counters of names: the next run starts as in a new process."""
    if "keras" in sys.modules:
        sys.modules["keras"].backend.clear_session()
    gc.collect()


def main() -> None:
    """Answers jobs until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_WRONLY)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    for line in sys.stdin:
        job = json.loads(line)
        log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        os.close(log)
        seconds, cpu = time.monotonic(), _cpu_seconds()
        status = execute(job["script"], job["arguments"], job["fresh"])
        if not job["fresh"]:
            forget()
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor in (1, 2):
            os.dup2(nothing, descriptor)
        answer = {"status": status, "seconds": time.monotonic() - seconds, "cpu_seconds": _cpu_seconds() - cpu}
        print(json.dumps(answer), file=answers, flush=True)


def _import_tensorflow() -> None:
    from chemkd_tf import startup

    startup.import_tensorflow_quietly()


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _end_with_parent(parent: int) -> None:
    """Nobody waits for a worker whose parent was killed, and another runner may soon make its run."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    main()

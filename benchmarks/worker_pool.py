"""Starts workers (`worker.py`), gives them jobs, and replaces those that have done enough or have died."""

import contextlib
import dataclasses
import json
import os
import select
import subprocess
import sys
import time

from benchmarks.worker import FAILED

_SECONDS_TO_STOP = 60.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        status: `worker.DONE`, `FAILED` or `STOPPED`.
        seconds: of the clock.
        cpu_seconds: of all threads together; 0 if the worker died.
    """

    status: str
    seconds: float
    cpu_seconds: float


class Worker:
    """One worker process.

    Args:
        threads: of TensorFlow's and scikit-learn's operations.
        environment: variables beside those of this process.
    """

    def __init__(self, threads: int, environment: dict[str, str] | None = None):
        threading = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C is the runner's to obey: it stops its workers in good order.
            start_new_session=True,
            env={**os.environ, **{name: str(threads) for name in threading}, **(environment or {})},
        )
        self._started = 0.0
        self._log = ""
        self.jobs = 0

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it can take a job."""
        return self._process.poll() is None

    def start(self, script: str, arguments: tuple[str, ...], log: str, fresh: str = "") -> None:
        """Gives it a job; see `worker.execute`. `log` is appended to."""
        self.jobs += 1
        self._started, self._log = time.monotonic(), log
        job = {"script": script, "arguments": arguments, "log": log, "fresh": fresh}
        with contextlib.suppress(BrokenPipeError):  # it has died: poll says so
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()

    def poll(self) -> Outcome | None:
        """Returns what became of the job, or None while it runs."""
        ended = self._process.poll() is not None  # looked at first: what it said before it ended is there then
        if select.select([self._process.stdout], [], [], 0)[0]:
            line = self._process.stdout.readline()
            if line.endswith(b"\n"):
                return Outcome(**json.loads(line))
        if not ended:
            return None
        status = self._process.returncode
        with open(self._log, "a", encoding="utf-8") as log:
            reason = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            log.write(f"error: the process {reason}" + (" (out of memory?)\n" if status == -9 else "\n"))
        return Outcome(FAILED, time.monotonic() - self._started, 0.0)

    def terminate(self) -> None:
        """SIGTERM: a training saves a checkpoint and ends."""
        self._process.terminate()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def finish(self, patience: float = _SECONDS_TO_STOP) -> Outcome:
        """Waits for the outcome of a terminated job, kills what does not end, and closes."""
        deadline = time.monotonic() + patience
        while (outcome := self.poll()) is None:
            if time.monotonic() > deadline:
                self._process.kill()
            time.sleep(0.05)
        self.close()
        return outcome

    def close(self, patience: float = _SECONDS_TO_STOP) -> None:
        """Ends it: an idle one at once, a stopped one when its checkpoint is saved."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

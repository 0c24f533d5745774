"""Makes the runs of a comparison, some at once, beside other processes that do the same in the same folder."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Sequence

from benchmarks.experiment_runs import ExperimentRun
from benchmarks.kept_runs import is_known
from benchmarks.locks import Lock, acquire, owner_of
from benchmarks.run_records import Durations, drop_what_only_resumes, record_attempt
from benchmarks.worker import DONE, FAILED, STOPPED
from benchmarks.worker_pool import Outcome, Worker

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SECONDS_BETWEEN_REPORTS = 30.0
_SECONDS_BETWEEN_LOOKS = 2.0  # at runs that another process makes
# A distillation takes long enough for its own process, and may want its own devices (--num_replicas).
_IN_ITS_OWN_PROCESS = ("run_distill.py",)


@dataclasses.dataclass(frozen=True)
class Options:
    """How runs are made.

    Attributes:
        parallel: runs at once; each gets its share of the cores.
        max_seconds: nothing is started later; 0: no limit.
        runs_per_worker: a process makes so many runs, then memory begins anew; 1: each run has its own process.
        script_dir: folder of the scripts; empty: the project's.
    """

    parallel: int = 2
    max_seconds: float = 0.0
    runs_per_worker: int = 15
    script_dir: str = ""


def left_to_do(runs: Sequence[ExperimentRun]) -> list[ExperimentRun]:
    """Runs whose answers are not known, and of the others those whose weights one of these starts from.

    Args:
        runs: each after what it needs.
    """
    started_from = {needed for run in runs for needed in run.needs}
    needed: set[ExperimentRun] = set()
    left: set[ExperimentRun] = set()
    for run in reversed(runs):
        only_for_others = run.script == "run_distill.py" and run in started_from
        if not run.has_weights if run in needed else not (only_for_others or is_known(run)):
            left.add(run)
            needed.update(run.needs)
    return [run for run in runs if run in left]


@dataclasses.dataclass
class _Job:
    run: ExperimentRun
    worker: Worker
    lock: Lock
    fresh: bool


class Scheduler:
    """Makes what is not done yet, in order as far as needs and other processes allow.

    Args:
        runs: what to make, each after what it needs.
        output_dir: where the locks go.
        options: how.
        after_run: called with each run that this process has completed.

    Attributes:
        failed: runs that failed, with the last line of their logs.
        waiting: runs that were not started.
    """

    def __init__(
        self, runs: list[ExperimentRun], output_dir: str, options: Options, after_run: Callable[[ExperimentRun], None]
    ):
        self.failed: dict[ExperimentRun, str] = {}
        self.waiting = left_to_do(runs)
        self._total, self._already = len(runs), len(runs) - len(self.waiting)
        self._locks = f"{output_dir}/locks"
        self._options = options
        self._after_run = after_run
        self._jobs: list[_Job] = []
        self._idle: list[Worker] = []
        self._elsewhere: dict[ExperimentRun, str] = {}
        self._durations = Durations(runs)
        self._started = self._reported = self._renewed = time.monotonic()
        self._looked = 0.0
        self._made = 0

    def work(self) -> None:
        """Returns when everything is done, or nothing more can or may be started."""
        try:
            while True:
                self._collect()
                if not self._out_of_time():
                    self._start_what_can()
                if not self._jobs and (self._out_of_time() or not self._may_come()):
                    return
                self._keep_locks()
                self._report_running()
                time.sleep(0.1 if self._jobs else 1.0)
        finally:
            self._stop()

    def _out_of_time(self) -> bool:
        return 0 < self._options.max_seconds <= time.monotonic() - self._started

    def _start_what_can(self) -> None:
        looks = time.monotonic() - self._looked > _SECONDS_BETWEEN_LOOKS
        if looks:
            self._looked = time.monotonic()
            self.waiting = [run for run in self.waiting if not run.has_weights]  # by another process
        for run in list(self.waiting):
            if len(self._jobs) >= self._options.parallel:
                return
            if all(needed.has_weights for needed in run.needs) and (looks or run not in self._elsewhere):
                self._start(run)

    def _may_come(self) -> bool:
        """Whether a run that another process makes is waited for."""
        return any(run in self._elsewhere for run in self.waiting)

    def _start(self, run: ExperimentRun) -> None:
        fresh = bool(
            self._options.script_dir or self._options.runs_per_worker == 1 or run.script in _IN_ITS_OWN_PROCESS
        )
        worker = self._worker(fresh)
        path = f"{self._locks}/{run.folder.replace('/', '_')}.lock"
        lock = acquire(path, [os.getpid(), worker.pid])
        if lock is None or run.has_weights:
            if lock is None:
                self._elsewhere[run] = owner_of(path)
            else:  # another process has just completed it
                lock.release()
                self._forget(run)
            self._put_back(worker, fresh)
            return
        self._forget(run)
        print(f"$ {run.command}", flush=True)
        os.makedirs(os.path.dirname(run.output_dir), exist_ok=True)
        script = os.path.join(self._options.script_dir or ROOT, run.script) if fresh else ""
        worker.start(run.script, run.arguments, f"{run.output_dir}.log", script if os.path.exists(script) else "")
        self._jobs.append(_Job(run, worker, lock, fresh))

    def _forget(self, run: ExperimentRun) -> None:
        self.waiting.remove(run)
        self._elsewhere.pop(run, None)

    def _worker(self, fresh: bool) -> Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.is_alive and (not fresh or not worker.jobs):
                return worker
            worker.close()
        return Worker(max((os.cpu_count() or 1) // self._options.parallel, 1), _environment(self._options.parallel))

    def _put_back(self, worker: Worker, fresh: bool) -> None:
        if worker.jobs and (fresh or worker.jobs >= self._options.runs_per_worker):
            worker.close()
        else:
            self._idle.append(worker)

    def _collect(self) -> None:
        for job in list(self._jobs):
            outcome = job.worker.poll()
            if outcome is None:
                continue
            self._jobs.remove(job)
            self._settle(job, outcome)
            # After a failure nobody knows what the process is still good for.
            if outcome.status == DONE:
                self._put_back(job.worker, job.fresh)
            else:
                job.worker.close(patience=5.0)

    def _settle(self, job: _Job, outcome: Outcome) -> None:
        """Notes what became of a run; the lock is given back last."""
        run = job.run
        if outcome.status == DONE and not run.has_weights:
            outcome = dataclasses.replace(outcome, status=FAILED)
        if not job.lock.renew():
            print(f"{run}: another process has taken it over; see its log", flush=True)
            return
        record_attempt(run.output_dir, run, outcome, self._options.parallel)
        if outcome.status == DONE:
            drop_what_only_resumes(run.output_dir)
            self._made += 1
            self._durations.note(run)
        job.lock.release()
        if outcome.status == STOPPED:
            self.waiting.append(run)
        elif outcome.status == FAILED:
            self.failed[run] = last_line(run)
            print(f"FAILED {run}: {self.failed[run]}\n  its log: {run.output_dir}.log", flush=True)
            self._skip_what_needs(run)
        else:
            print(f"{run}: done in {_clock(outcome.seconds)}   {self._progress()}", flush=True)
            self._after_run(run)

    def _skip_what_needs(self, run: ExperimentRun) -> None:
        for other in [other for other in self.waiting if run in other.needs]:
            self._forget(other)
            self.failed[other] = f"not started, for {run} failed"
            self._skip_what_needs(other)

    def _keep_locks(self) -> None:
        if time.monotonic() - self._renewed < _SECONDS_BETWEEN_REPORTS:
            return
        self._renewed = time.monotonic()
        for job in self._jobs:
            if not job.lock.renew():  # this process slept for long; the other one goes on from its checkpoint
                job.worker.kill()

    def _progress(self) -> str:
        left = self.waiting + [job.run for job in self._jobs]
        done = self._total - len(left) - len(self.failed)
        rate = 3600 * self._made / max(time.monotonic() - self._started, 1e-9)
        seconds, unknown = self._durations.left(left, self._options.parallel)
        return f"({done} of {self._total}, {rate:.0f} runs/h, {_clock(seconds)} left" + (
            f" and {unknown} runs not timed yet)" if unknown else ")"
        )

    def _report_running(self) -> None:
        if time.monotonic() - self._reported < _SECONDS_BETWEEN_REPORTS:
            return
        self._reported = time.monotonic()
        for job in self._jobs:
            print(f"  ... {job.run}: {last_line(job.run)}", flush=True)
        if not self._jobs:
            for run, owner in self._elsewhere.items():
                print(f"  ... waiting for {run}, made by {owner}", flush=True)

    def _stop(self) -> None:
        """Ends the workers; what is running saves a checkpoint first."""
        for job in self._jobs:
            job.worker.terminate()
        for job in self._jobs:
            outcome = job.worker.finish()
            with contextlib.suppress(OSError):  # a full disk must not keep the other locks
                record_attempt(job.run.output_dir, job.run, outcome, self._options.parallel)
            job.lock.release()
        self.waiting += [job.run for job in self._jobs]
        self._jobs = []
        for worker in self._idle:
            worker.close()
        self._idle = []


def last_line(run: ExperimentRun) -> str:
    """What the run said last."""
    try:
        with open(f"{run.output_dir}.log", "rb") as log:
            log.seek(max(log.seek(0, os.SEEK_END) - 10000, 0))
            lines = log.read().decode("utf-8", errors="replace").split("\n")
    except OSError:
        return "starting"
    return next((line.strip() for line in reversed(lines) if line.strip()), "starting")


def _environment(parallel: int) -> dict[str, str]:
    # Several processes on one GPU: none of them may take all of its memory at once.
    return {"TF_FORCE_GPU_ALLOW_GROWTH": "true"} if parallel > 1 else {}


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"

"""How long a command takes, and how much memory each of its processes."""

import contextlib
import subprocess
import sys
import threading
import time
from typing import NamedTuple

_SECONDS_BETWEEN_SAMPLES = 0.05
_SECONDS_BETWEEN_REPORTS = 30


class Usage(NamedTuple):
    """What one command took: wall-clock, and peak resident set in bytes of each of its processes, largest first."""

    seconds: float
    peaks: tuple[int, ...]


def run_watched(command: list[str], log_path: str, name: str) -> Usage:
    """Runs a command and watches its memory; twice a minute prints how far it is.

    Args:
        command: program and arguments.
        log_path: where its standard output and error go.
        name: for what is printed.

    Raises:
        SystemExit: it failed; the message ends with the last lines of its log.
    """
    import psutil

    peaks: dict[psutil.Process, int] = {}
    ended = threading.Event()

    def watch(root: psutil.Process) -> None:
        reported = started
        while not ended.wait(_SECONDS_BETWEEN_SAMPLES):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                for process in [root, *root.children(recursive=True)]:
                    # The latest, not the largest: before its exec a new process shows its parent's memory.
                    peaks[process] = _high_water_mark(process.pid) or peaks.get(process, 0)
            if time.perf_counter() - reported > _SECONDS_BETWEEN_REPORTS:
                reported = time.perf_counter()
                print(f"  ... {name}, {reported - started:.0f} s: {_last_lines(log_path, 1)}", flush=True)

    with open(log_path, "w", encoding="utf-8") as log:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=log)
        watcher = threading.Thread(target=watch, args=[psutil.Process(process.pid)])
        watcher.start()
        try:
            return_code = process.wait()
            seconds = time.perf_counter() - started
        finally:
            ended.set()
            process.kill()  # nothing, unless this process was interrupted
            watcher.join()
    if return_code:
        sys.exit(f"error: {name} failed with exit status {return_code}:\n{_last_lines(log_path, 20)}")
    return Usage(seconds, tuple(sorted(filter(None, peaks.values()), reverse=True)))


def _high_water_mark(process_id: int) -> int:
    """Peak resident set in bytes; 0 if the process has ended."""
    with contextlib.suppress(OSError), open(f"/proc/{process_id}/status", encoding="utf-8") as status:
        return next((1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM:")), 0)
    return 0


def _last_lines(path: str, number: int) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return "\n".join(file.read().splitlines()[-number:]).strip() or "starting"

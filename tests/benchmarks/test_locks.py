"""One owner at a time, whoever dies."""

import json
import multiprocessing
import os
import subprocess
import sys
import time

from benchmarks import locks


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def acquire_often(path, log, barrier):
    barrier.wait()
    for _ in range(40):
        lock = locks.acquire(path, [os.getpid()])
        if lock is None:
            continue
        for what in ("in", "out"):
            with open(log, "a") as file:
                file.write(f"{os.getpid()} {what}\n")
        lock.release()


def test_one_of_many_has_it(tmp_path):
    path, log = str(tmp_path / "locks" / "run.lock"), str(tmp_path / "log")
    os.makedirs(tmp_path / "locks")
    with open(path, "w") as file:  # all of them find a dead owner at first
        json.dump({"owner": "gone", "machine": locks.this_machine(), "pids": [dead_process()]}, file)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    processes = [context.Process(target=acquire_often, args=(path, log, barrier)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    lines = open(log).read().splitlines()
    assert len(lines) >= 2
    for before, after in zip(lines[::2], lines[1::2], strict=True):
        assert before.split()[0] == after.split()[0] and (before.split()[1], after.split()[1]) == ("in", "out")
    assert os.listdir(tmp_path / "locks") == [".takeovers"]


def test_a_living_owner_keeps_it_until_it_gives_it_back(tmp_path):
    path = str(tmp_path / "run.lock")
    lock = locks.acquire(path, [os.getpid()])
    assert lock.renew() and locks.acquire(path, [os.getpid()]) is None
    assert locks.owner_of(path).startswith(f"process {os.getpid()} on ")
    lock.release()
    assert locks.acquire(path, [os.getpid()]) and locks.owner_of(str(tmp_path / "other")) == ""


def test_it_is_dead_when_all_its_processes_are(tmp_path):
    path = str(tmp_path / "run.lock")
    old = locks.acquire(path, [dead_process(), os.getpid()])
    assert locks.acquire(path, [os.getpid()]) is None
    old.release()
    old = locks.acquire(path, [dead_process(), dead_process()])
    new = locks.acquire(path, [os.getpid()])
    assert new and new.renew() and not old.renew()
    old.release()  # not ours any more
    assert new.renew()


def test_an_owner_elsewhere_is_dead_after_a_long_silence(tmp_path):
    path = str(tmp_path / "run.lock")
    with open(path, "w") as file:
        json.dump({"owner": "there", "machine": "elsewhere", "pids": [dead_process()]}, file)
    assert locks.acquire(path, [os.getpid()]) is None
    silent = time.time() - locks.SECONDS_UNTIL_LOST - 5
    os.utime(path, (silent, silent))
    assert locks.acquire(path, [os.getpid()])

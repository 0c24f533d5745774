"""Lock files: of several processes, also on several machines with a common folder, one alone makes a run."""

import contextlib
import fcntl
import json
import os
import socket
import uuid

SECONDS_UNTIL_LOST = 900.0
"""Owners renew their lock all the time; one that was silent for so long is gone."""


def this_machine() -> str:
    """Tells machines, their restarts and containers apart: process ids mean something inside one of them only."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):  # Linux only
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            parts.append(file.read().strip()[:8])
        parts.append(os.readlink("/proc/self/ns/pid"))
    return "/".join(parts)


class Lock:
    """A lock file, held by this process (see `acquire`).

    Args:
        path: of the file.
        owner: a text that no other lock has.
    """

    def __init__(self, path: str, owner: str):
        self.path = path
        self._owner = owner

    def renew(self) -> bool:
        """Says that the owner is alive; returns False if the lock has meanwhile gone to another."""
        with _takeovers(self.path):
            if _read(self.path).get("owner") != self._owner:
                return False
            os.utime(self.path)
            return True

    def release(self) -> None:
        """Gives the lock back, if it is still ours."""
        with _takeovers(self.path):
            if _read(self.path).get("owner") == self._owner:
                os.remove(self.path)


def acquire(path: str, pids: list[int]) -> Lock | None:
    """Takes the lock at `path`, which no other process has then.

    A lock is taken over from owners that are dead: if none of their processes is there any more, where they were on
    this machine; or if it has not been renewed for `SECONDS_UNTIL_LOST`, by the clock of the file system.

    Args:
        path: of the lock file; its folder is made.
        pids: processes of this machine that work on what is locked.

    Returns:
        The lock, or None if another owner has it.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    owner = uuid.uuid4().hex
    mine = f"{path}.{owner}"
    with open(mine, "w", encoding="utf-8") as file:
        json.dump({"owner": owner, "machine": this_machine(), "pids": pids}, file)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(mine, path)  # with its content, or not at all
            return Lock(path, owner)
        with _takeovers(path):  # or two that find a dead owner would take over from each other
            if not os.path.exists(path):
                with contextlib.suppress(FileExistsError):
                    os.link(mine, path)
                    return Lock(path, owner)
            elif _is_stale(path, mine):
                os.replace(mine, path)
                return Lock(path, owner)
            return None
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(mine)


def owner_of(path: str) -> str:
    """Who has the lock at `path`, for a person; empty if nobody."""
    found = _read(path)
    return f"process {found['pids'][0]} on {found['machine'].split('/')[0]}" if found else ""


def _is_stale(path: str, fresh: str) -> bool:
    """Whether the owner is gone; `fresh` was written just now and has the file system's time."""
    found = _read(path)
    if found and found["machine"] == this_machine() and not any(map(_is_alive, found["pids"])):
        return True
    # A number of a dead process may have gone to another one: silence counts on this machine, too.
    return os.stat(fresh).st_mtime - os.stat(path).st_mtime > SECONDS_UNTIL_LOST


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # a killed process that nobody has waited for is dead
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return os.path.exists(f"/proc/{pid}") or not os.path.isdir("/proc/self")


@contextlib.contextmanager
def _takeovers(path: str):
    """One process at a time looks at the owners in a folder and replaces them; the system frees it when that dies."""
    with open(os.path.join(os.path.dirname(path), ".takeovers"), "a") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


def _read(path: str) -> dict:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (FileNotFoundError, ValueError):
        return {}

"""The machines of one training, as TF_CONFIG names them (TensorFlow's own convention; no flag of ours).

TF_CONFIG='{"cluster": {"worker": ["10.0.0.1:12345", "10.0.0.2:12345"]}, "task": {"type": "worker", "index": 0}}'

The first task is the chief: it alone reads and writes the run's folder. Without TensorFlow, so that a mistake answers
at once.
"""

import dataclasses
import json
import os
from typing import Any

from chemkd_tf.errors import InputError

_EXAMPLE = (
    'write {"cluster": {"worker": ["HOST0:PORT", "HOST1:PORT"]}, "task": {"type": "worker", "index": 0}}, '
    "and on each machine its own index"
)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of one training, and which of them this process is.

    Args:
        names: "worker 0" and so on, in the order of their replicas; the first is the chief.
        addresses: HOST:PORT of each.
        index: this process's place among them.
    """

    names: tuple[str, ...]
    addresses: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this process reads and writes the run's folder."""
        return self.index == 0

    def describe(self, index: int) -> str:
        """Name and address of a worker, for messages."""
        return f"{self.names[index]} ({self.addresses[index]})"


def cluster_from_environment() -> Cluster | None:
    """Returns the cluster that TF_CONFIG names; None if it isn't set or names one worker alone.

    Raises:
        InputError: TF_CONFIG is something else than workers (and perhaps a chief) and one of them as the task.
    """
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text:
        return None
    try:
        content = json.loads(text)
    except ValueError as error:
        raise InputError(f"TF_CONFIG is not JSON ({error}): {_EXAMPLE}") from None
    if not isinstance(content, dict):
        raise InputError(f"TF_CONFIG is no JSON object: {_EXAMPLE}")
    if not content.get("cluster"):
        return None  # as TensorFlow has it: one machine
    tasks = _tasks(content["cluster"])
    index = _index(content.get("task"), tasks)
    names, addresses = zip(*((f"{job} {number}", address) for job, number, address in tasks), strict=True)
    return Cluster(names, addresses, index) if len(tasks) > 1 else None


def require_one_machine(script: str) -> None:
    """Refuses a cluster of several workers on behalf of a script that trains on one machine.

    Raises:
        InputError: TF_CONFIG names several workers, or is broken.
    """
    cluster = cluster_from_environment()
    if cluster:
        raise InputError(
            f"TF_CONFIG names {len(cluster.names)} workers, but {script} runs on one machine (on all its GPUs): "
            "unset TF_CONFIG"
        )


def _tasks(jobs: Any) -> list[tuple[str, int, str]]:
    """(job, number, address) of every task, the chief first."""
    if not isinstance(jobs, dict):
        raise InputError(f"TF_CONFIG: its cluster is no JSON object: {_EXAMPLE}")
    other = sorted(set(jobs) - {"chief", "worker"})
    if other:
        raise InputError(
            f"TF_CONFIG: the cluster has {', '.join(map(repr, other))}; there are only workers here (no parameter "
            f"servers, no evaluator: the workers evaluate together): {_EXAMPLE}"
        )
    for job, addresses in jobs.items():
        if not isinstance(addresses, list) or not all(_is_address(address) for address in addresses):
            raise InputError(f"TF_CONFIG: {job!r} is no list of HOST:PORT: {_EXAMPLE}")
    if len(jobs.get("chief", [])) > 1:
        raise InputError(f"TF_CONFIG: {len(jobs['chief'])} chiefs, there can be one: {_EXAMPLE}")
    tasks = [(job, number, address) for job in ("chief", "worker") for number, address in enumerate(jobs.get(job, []))]
    if not tasks:
        raise InputError(f"TF_CONFIG: the cluster has no worker: {_EXAMPLE}")
    addresses = [address for *_, address in tasks]
    for address in addresses:
        if addresses.count(address) > 1:
            raise InputError(f"TF_CONFIG: {address} stands there twice: {_EXAMPLE}")
    return tasks


def _is_address(value: Any) -> bool:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    return bool(host) and port.isdecimal() and 0 < int(port) < 65536


def _index(task: Any, tasks: list[tuple[str, int, str]]) -> int:
    """Place of this process's task among all of them."""
    if not isinstance(task, dict) or not {"type", "index"} <= set(task):
        raise InputError(f"TF_CONFIG: no task with type and index, so which worker is this? {_EXAMPLE}")
    try:
        number = int(task["index"])  # "0" is common, and TensorFlow takes it
    except (TypeError, ValueError):
        raise InputError(f"TF_CONFIG: the task's index is {task['index']!r}, no number: {_EXAMPLE}") from None
    for place, (job, other, _) in enumerate(tasks):
        if (job, other) == (task["type"], number):
            return place
    there = ", ".join(f"{job} {other}" for job, other, _ in tasks)
    raise InputError(f"TF_CONFIG: the task is {task['type']} {number}, but the cluster has {there}: {_EXAMPLE}")

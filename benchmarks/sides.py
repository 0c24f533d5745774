"""What is compared, each in a process of its own that works when it is told to: all meet the same machine."""

import json
import subprocess
import sys
from collections.abc import Callable

from chemkd_tf.progress import Progress

UNCOUNTED_ROUNDS = 2  # the first ones trace and warm up


class Side:
    """A process that answers a line of JSON with a line of JSON, {"batch": NAME} with what the update took.

    Args:
        python: interpreter.
        module: what it runs.
        arguments: of the module; the first says which side.
        remedy: for the message when it fails: how to install what it needs.
    """

    def __init__(self, python: str, module: str, *arguments: str, remedy: str):
        self._remedy = remedy
        self._process = subprocess.Popen(
            [python, "-m", module, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.ready = self._answer(arguments[0])

    def update(self, batch: str) -> dict:
        """Makes one update."""
        self._process.stdin.write(json.dumps({"batch": batch}) + "\n")
        self._process.stdin.flush()
        return self._answer(batch)

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()

    def _answer(self, what: str) -> dict:
        line = self._process.stdout.readline()
        if not line:
            last = self._process.stderr.read().strip().splitlines()[-1:]
            sys.exit(f"error: {what}: {' '.join(last).removeprefix('error: ')}{self._remedy}")
        return json.loads(line)


def in_turn(what: str, takes: dict[str, tuple[Side, Callable[[int], str]]], num_updates: int) -> dict[str, list[dict]]:
    """Updates of every kind, one of each in every round.

    Args:
        what: for the progress line.
        takes: name to the side and to the name of its batch in round k, counted from 0.
        num_updates: rounds that count; `UNCOUNTED_ROUNDS` are made before them.

    Returns:
        The answers by name, of all rounds: the caller may want the first ones' losses.
    """
    rounds = num_updates + UNCOUNTED_ROUNDS
    progress, answers = Progress(what, rounds * len(takes)), {name: [] for name in takes}
    for number in range(rounds):
        for index, (name, (side, batch)) in enumerate(takes.items()):
            answers[name].append(side.update(batch(number)))
            progress.update(number * len(takes) + index + 1)
    progress.close()
    return answers


def versions(packages: tuple[str, ...], *pythons: str) -> dict[str, str]:
    """Versions of packages as these interpreters know them, the last one's where several do."""
    code = (
        "import importlib.metadata as m, json\n"
        "found = {d.metadata['Name']: d.version for d in m.distributions()}\n"
        f"print(json.dumps({{name: found[name] for name in {packages} if name in found}}))"
    )
    found: dict[str, str] = {}
    for python in filter(None, pythons):
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
        found.update(json.loads(done.stdout))
    return found

"""Rounds on disk: a run of an hour that is interrupted goes on after the last one."""

import hashlib
import json
import os
import shutil

from chemkd_tf.atomic import write_json


class Rounds:
    """Seconds of each round of each group.

    Args:
        folder: where all runs keep theirs.
        conditions: what was asked for; only rounds of the same are taken up again.
    """

    def __init__(self, folder: str, conditions: dict):
        key = hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()[:16]
        self._folder = os.path.join(folder, key)

    def has(self, group: str, number: int) -> bool:
        """Whether a round is complete."""
        return os.path.isfile(self._path(group, number))

    def add(self, group: str, number: int, found: dict[str, dict[str, list[float]]]) -> None:
        """Keeps a round: seconds by side and cell."""
        write_json(self._path(group, number), found)

    def by_side(self, group: str, number_of_rounds: int) -> dict[str, dict[str, list[list[float]]]]:
        """Seconds by side and cell, a list for each round that has the cell."""
        result: dict[str, dict[str, list[list[float]]]] = {}
        for number in range(number_of_rounds):
            with open(self._path(group, number), encoding="utf-8") as file:
                for side, cells in json.load(file).items():
                    for cell, seconds in cells.items():
                        result.setdefault(side, {}).setdefault(cell, []).append(seconds)
        return result

    def remove(self) -> None:
        """Forgets this run's rounds: the next one measures anew."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, group: str, number: int) -> str:
        return os.path.join(self._folder, f"{group}-{number}.json")

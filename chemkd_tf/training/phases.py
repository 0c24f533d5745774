"""Phases of a training: which losses count, which variables move, and for how many updates."""

import dataclasses
from collections.abc import Callable, Sequence


def everything(path: str) -> bool:
    """Whether the variable with this path moves: each does."""
    return True


@dataclasses.dataclass(frozen=True)
class Phase:
    """A part of a training. Each begins with a fresh optimizer and warms the learning rate up anew.

    Attributes:
        name: for progress and messages; empty where there is but one.
        num_train_steps: updates, at most (a phase may converge before).
        num_warmup_steps: of which the learning rate rises.
        loss_weights: name to weight; losses that are not named are not computed while training.
        moves: path of a trainable variable to whether this phase trains it. What it doesn't is bit-identical after it.
        perturbed: whether updates are taken at perturbed embeddings (see `distillation.distiller`).
    """

    name: str
    num_train_steps: int
    num_warmup_steps: int
    loss_weights: dict[str, float]
    moves: Callable[[str], bool] = everything
    perturbed: bool = False


def steps_in_proportion(num_steps: int, proportions: Sequence[float]) -> list[int]:
    """Divides updates in proportion, at least one for each part; the parts add up to `num_steps`.

    Args:
        num_steps: at least as many as there are parts.
        proportions: positive, of any sum.
    """
    total, ends, done = sum(proportions), [], 0.0
    for number, proportion in enumerate(proportions, start=1):
        done += proportion
        first = (ends[-1] if ends else 0) + 1
        ends.append(min(max(round(num_steps * done / total), first), num_steps - len(proportions) + number))
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]

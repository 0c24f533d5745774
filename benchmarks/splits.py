"""Which texts train, which choose the epoch, which are reported: splits of a labelled task that share no text."""

import collections
import hashlib
import os
from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedKFold, train_test_split

from benchmarks.bag_of_words import Split
from chemkd_tf.atomic import atomic_write
from chemkd_tf.errors import InputError

SPLIT_SEED = 1
DEV_SHARE = 0.1
PARTS = ("train", "dev", "test")
REST = "rest"


def make_splits(
    train: Split, dev: Split, num_folds: int, num_train: int, seed: int = SPLIT_SEED
) -> list[dict[str, Split]]:
    """Returns train, dev (chooses the epoch), test (is reported) and rest of every fold, classes in proportion.

    The rest are the training texts whose labels are not taken: what a task has without labels.

    The folds are the same for every `seed`, so that every text is reported once by each; which labels are taken and
    which of those choose the epoch depends on it.

    Args:
        train: (texts, labels) to train on.
        dev: (texts, labels) to report; with folds they are put together with `train`.
        num_folds: of a cross-validation, 2 or more; 0: train on `train`, report `dev`.
        num_train: labels taken from the training part, a tenth of them to choose the epoch; 0: all.
        seed: of what is drawn, the folds aside.

    Raises:
        InputError: a class has too few texts to train on and to choose the epoch.
    """
    if num_folds:
        texts, labels = np.array([*train[0], *dev[0]], object), np.array([*train[1], *dev[1]], object)
        rarest, count = collections.Counter(labels).most_common()[-1]
        if count < num_folds:
            raise InputError(
                f"label {rarest!r} has {count} text(s): too few for {num_folds} folds; take fewer folds, or leave out "
                "the label"
            )
        folds = StratifiedKFold(num_folds, shuffle=True, random_state=SPLIT_SEED).split(texts, labels)
        pairs = [((texts[rest], labels[rest]), (texts[held], labels[held])) for rest, held in folds]
    else:
        pairs = [(train, dev)]
    splits = []
    for pool, test in pairs:
        left: Split = ([], [])
        if num_train and num_train < len(pool[0]):
            drawn, others = _draw(pool[1], 2, seed, train_size=num_train)
            pool, left = _take(pool, drawn), _take(pool, sorted(others))
        size = max(round(DEV_SHARE * len(pool[1])), len(set(pool[1])))  # every class must be in it
        rest, chosen = _draw(pool[1], 1, seed, test_size=size)
        splits.append({"train": _take(pool, rest), "dev": _take(pool, chosen), "test": test, REST: left})
    return splits


def _draw(labels: Sequence[str], at_least: int, seed: int, **size: int) -> tuple[list[int], list[int]]:
    """Parts the texts in two, classes in proportion, but `at_least` so many of each where the size is given."""
    counts = collections.Counter(labels)
    rarest, count = counts.most_common()[-1]
    if count < 2:
        raise InputError(
            f"label {rarest!r} has one text to train on: at least two are needed, one of them to choose the epoch"
        )
    (asked,) = size.values()
    if not at_least * len(counts) <= asked <= len(labels) - len(counts):
        raise InputError(
            f"{asked} of {len(labels)} labels can't be drawn: there are {len(counts)} classes, each needs two texts, "
            "one to train on and one to choose the epoch"
        )
    parts = train_test_split(np.arange(len(labels)), stratify=labels, random_state=seed, **size)
    first, second = (part.tolist() for part in parts)
    _complete(*((first, second) if "train_size" in size else (second, first)), labels, at_least)
    return first, second


def _complete(chosen: list[int], rest: list[int], labels: Sequence[str], at_least: int) -> None:
    """In proportion, a rare class may get fewer than `at_least`: it takes the place of the most frequent one."""
    drawn = collections.Counter(labels[index] for index in chosen)
    for label in sorted(set(labels)):
        while drawn[label] < at_least:
            frequent = max(drawn, key=lambda other: (drawn[other], other))
            given = next(index for index in reversed(chosen) if labels[index] == frequent)
            taken = next(index for index in rest if labels[index] == label)
            chosen[chosen.index(given)], rest[rest.index(taken)] = taken, given
            drawn[frequent] -= 1
            drawn[label] += 1


def _take(split: Split, indices: Sequence[int]) -> Split:
    return [split[0][index] for index in indices], [split[1][index] for index in indices]


def write_split(directory: str, split: dict[str, Split]) -> None:
    """Writes rest.txt (an article for each text, without labels), train.tsv, dev.tsv and, last, test.tsv."""
    os.makedirs(directory, exist_ok=True)
    with atomic_write(f"{directory}/{REST}.txt") as file:
        file.writelines(f"{_on_one_line(text)}\n\n" for text in split[REST][0])
    for name in PARTS:
        with atomic_write(f"{directory}/{name}.tsv") as file:
            file.write(_tsv(split[name]))


def digest_of(split: dict[str, Split]) -> str:
    """Hexadecimal digits that change when any text, label or their order does."""
    parts = "\0".join(name + "\n" + _tsv(split[name]) for name in (*PARTS, REST))
    return hashlib.sha256(parts.encode("utf-8")).hexdigest()


def _tsv(part: Split) -> str:
    return "".join(f"{_on_one_line(text)}\t{label}\n" for text, label in zip(*part, strict=True))


def _on_one_line(text: str) -> str:
    # A line break would end the line; every tokeniser here takes white space of any kind alike.
    return text.replace("\r", " ").replace("\n", " ")

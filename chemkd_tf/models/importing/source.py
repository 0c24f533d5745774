"""What every kind of checkpoint says about itself, whoever wrote it."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from chemkd_tf.errors import InputError
from chemkd_tf.models.architecture import TeacherArchitecture
from chemkd_tf.text.vocabulary import load_vocabulary


class Source(Protocol):
    """A checkpoint that can be read one variable at a time.

    Attributes:
        name: where it lies, for messages.
        architecture: its shape, all its layers.
        vocabulary_file: path of its vocabulary; None if none lies beside it.
        do_lower_case: what it says of its tokeniser; None if it says nothing.
        has_head: whether it holds a masked-LM head.
    """

    name: str
    architecture: TeacherArchitecture
    vocabulary_file: str | None
    do_lower_case: bool | None
    has_head: bool

    def read(self, path: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """Returns a variable's value, or None if the checkpoint lacks it.

        Args:
            path: keras-nlp's, as the variables of `checkpoints.build_masked_lm` have it, with this checkpoint's number
                of the layer.
            shape: the model's.

        Raises:
            InputError: it has another shape, or is damaged.
        """

    def original_name(self, path: str) -> str:
        """Returns what the checkpoint calls the variable with this path."""

    def left_over(self, paths: Iterable[str]) -> list[str]:
        """Returns names of variables that the checkpoint holds besides those with these paths.

        Only those that should not be there: what masked-LM training has no use for (a pooler, a next-sentence head, an
        optimizer's variables) is not among them.
        """


def require_shape(source: str, name: str, found: tuple[int, ...], expected: tuple[int, ...], because: str) -> None:
    """Refuses a variable of another shape.

    Raises:
        InputError: the shapes differ.
    """
    if tuple(found) != tuple(expected):
        raise InputError(f"{source}: {name} is {list(found)}, but by {because} it must be {list(expected)}")


def require_vocabulary_size(vocabulary_file: str, vocabulary_size: int, because: str) -> None:
    """Refuses a checkpoint whose vocabulary has another number of entries than its token embedding.

    Raises:
        InputError: the numbers differ, or the file can't be read.
    """
    size = load_vocabulary(vocabulary_file).size
    if size != vocabulary_size:
        raise InputError(
            f"{vocabulary_file}: {size:,} entries, but {because} says {vocabulary_size:,}: put the vocabulary that "
            "belongs to the checkpoint there"
        )

"""A field of a settings dataclass that knows what its flag says, and the check that every setting passes."""

import dataclasses
from typing import Any

from chemkd_tf.errors import InputError


def option(default: Any, help: str, choices: tuple[str, ...] | None = None) -> Any:  # noqa: A002
    """A dataclass field with the help text and the allowed values that its flag will show."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices})


def require(condition: bool, message: str) -> None:
    """Raises InputError(message) unless `condition` holds."""
    if not condition:
        raise InputError(message)

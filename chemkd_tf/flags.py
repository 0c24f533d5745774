"""From a frozen dataclass to absl flags and back. Only scripts import this module.

A script reads

    flags.define(PretrainingConfig)
    if __name__ == "__main__":
        flags.run(lambda config: train_and_evaluate(config), PretrainingConfig)

so that the library itself never sees a flag.
"""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags

from chemkd_tf.errors import InputError, Stopped

FLAGS = flags.FLAGS

_LISTS = {
    tuple[int, ...]: (int, "integers separated by commas, as in 1,3,5"),
    tuple[float, ...]: (float, "numbers separated by commas, as in 1,5,4"),
}


def define(config_class: type, flag_values: flags.FlagValues = FLAGS) -> None:
    """Defines one absl flag for every field of `config_class`, with the field's default and help text.

    Args:
        config_class: frozen dataclass whose fields were made by `config.options.option`; a field's type (`bool`, `int`,
            `float`, `str`, `tuple[int, ...]` or `tuple[float, ...]`) chooses the kind of flag.
        flag_values: where they are defined.
    """
    for field in dataclasses.fields(config_class):
        help_text = field.metadata["help"]
        choices = field.metadata.get("choices")
        if choices:
            flags.DEFINE_enum(field.name, field.default, choices, help_text, flag_values=flag_values)
        elif field.type is bool:
            flags.DEFINE_bool(field.name, field.default, help_text, flag_values=flag_values)
        elif field.type is int:
            flags.DEFINE_integer(field.name, field.default, help_text, flag_values=flag_values)
        elif field.type is float:
            flags.DEFINE_float(field.name, field.default, help_text, flag_values=flag_values)
        elif field.type is str:
            flags.DEFINE_string(field.name, field.default, help_text, flag_values=flag_values)
        else:  # tuple[int, ...] or tuple[float, ...]
            default = ",".join(map(str, field.default))
            flags.DEFINE_string(field.name, default, help_text + " (comma-separated)", flag_values=flag_values)
        # Key flags of the script, as if it had defined them: --help lists those, --helpfull all of absl's too.
        flag_values.register_key_flag_for_module(sys.argv[0], flag_values[field.name])


def config_of(config_class: type, arguments: Sequence[str]) -> Any:
    """Returns the `config_class` that a script would get from these arguments; the process's own flags are left alone.

    Args:
        config_class: see `define`.
        arguments: of the command line, without the script's name.

    Raises:
        InputError: an unknown flag, a value of the wrong type, one that the dataclass refuses, or no flag at all.
    """
    flag_values = flags.FlagValues()
    define(config_class, flag_values)
    try:
        rest = flag_values([sys.argv[0], *arguments])[1:]
    except flags.Error as error:
        raise InputError(str(error)) from None
    if rest:
        raise _unexpected(rest[0])
    return parse(config_class, flag_values)


def parse(config_class: type, flag_values: flags.FlagValues = FLAGS) -> Any:
    """Returns a `config_class` filled from the parsed flags.

    Raises:
        InputError: if a comma-separated list holds something other than numbers, or the dataclass refuses a value.
    """
    values = {}
    for field in dataclasses.fields(config_class):
        value = flag_values[field.name].value
        if field.type in _LISTS:
            number, expected = _LISTS[field.type]
            try:
                value = tuple(number(part) for part in value.split(",") if part.strip())
            except ValueError:
                raise InputError(f"--{field.name}={value}: expected {expected}") from None
        values[field.name] = value
    return config_class(**values)


def run(
    main: Callable[..., Any],
    config_class: type,
    passes_arguments_on: bool = False,
    if_interrupted: str = "nothing was written",
) -> None:
    """Parses the command line, calls `main(config)`, and turns bad input into one line and exit status 2.

    A training that SIGTERM stopped ends with one line and the status of its `Stopped`, Ctrl-C with 130.

    Args:
        main: the script.
        config_class: what `define` was called with.
        passes_arguments_on: call `main(config, arguments)` with what is no flag or stands behind `--`, which is refused
            otherwise.
        if_interrupted: what Ctrl-C leaves, for the person who pressed it.
    """

    def guarded(arguments: list[str]) -> None:
        try:
            if passes_arguments_on:
                main(parse(config_class), arguments[1:])
            elif len(arguments) > 1:
                raise _unexpected(arguments[1])
            else:
                main(parse(config_class))
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except Stopped as stopped:
            print(stopped, file=sys.stderr)
            sys.exit(stopped.status)
        except KeyboardInterrupt:
            print(f"interrupted; {if_interrupted}", file=sys.stderr)
            sys.exit(130)

    app.run(guarded)


def _unexpected(argument: str) -> InputError:
    return InputError(f"unexpected argument {argument!r}: flags are written --name=value")

"""Files and folders that appear under their final name only when they are complete."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from typing import IO, Any

from chemkd_tf.errors import InputError


@contextlib.contextmanager
def atomic_write(path: str, mode: str = "w") -> Iterator[IO]:
    """Opens a neighbour of `path` for writing and renames it to `path` if the block ends without an exception.

    Args:
        path: the final name; missing parent folders are made.
        mode: "w" (UTF-8 text, newline as given) or "wb".
    """
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    partial = f"{path}.partial-{os.getpid()}"
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with open(partial, mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


@contextlib.contextmanager
def atomic_folder(path: str, holds: str) -> Iterator[str]:
    """Yields a neighbouring folder to fill, which takes the place of `path` if the block ends without an exception.

    Args:
        path: the final name. An earlier folder of the same kind is replaced.
        holds: a file that every folder of this kind holds.

    Raises:
        InputError: something else lies at `path`; it is left alone.
    """
    path = path.rstrip("/")
    if os.path.exists(path) and not os.path.isfile(os.path.join(path, holds)):
        if not os.path.isdir(path) or os.listdir(path):
            raise InputError(
                f"{path}: something else is there (no {holds} in it); name a folder that does not exist yet"
            )
    partial = f"{path}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    os.makedirs(partial)
    try:
        yield partial
        shutil.rmtree(path, ignore_errors=True)
        os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: str, value: Any) -> None:
    """Writes `value` as indented UTF-8 JSON, atomically."""
    with atomic_write(path) as file:
        json.dump(value, file, ensure_ascii=False, indent=2)
        file.write("\n")

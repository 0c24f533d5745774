"""Labelled texts to .tsv, .csv and .jsonl files as `labelled` reads them, and texts without labels as a corpus."""

import contextlib
import csv
import json
import os
from collections.abc import Callable, Iterator
from typing import IO

from chemkd_tf.atomic import atomic_write
from chemkd_tf.data.labelled import EXTENSIONS
from chemkd_tf.errors import InputError

Write = Callable[[str, str], object]


@contextlib.contextmanager
def labelled_writer(path: str) -> Iterator[Write]:
    """Yields a function that writes a text and its label; the file appears under its name when all are written.

    Args:
        path: the ending chooses the format, see `require_writable`.
    """
    with atomic_write(path) as file:
        yield _WRITERS[os.path.splitext(path)[1]](file)


@contextlib.contextmanager
def corpus_writer(path: str) -> Iterator[Write]:
    """Yields a function that writes a text and leaves its label away: an article each, an empty line behind it.

    `unlabelled.read_articles` gives the texts back, without the line breaks within one and white space around it.
    """

    def write(text: str, label: str) -> None:
        lines = [line.strip() for line in text.splitlines()]
        file.writelines(f"{line}\n" for line in [*filter(None, lines), ""])

    with atomic_write(path) as file:
        yield write


def require_writable(path: str, texts: list[str], flag: str) -> None:
    """Refuses a file that can't hold these texts.

    Raises:
        InputError: an ending of no known format, a folder, or a .tsv for texts with line breaks.
    """
    extension = os.path.splitext(path)[1]
    if extension not in EXTENSIONS:
        raise InputError(f"--{flag}={path}: expected a name that ends in {', '.join(EXTENSIONS)}")
    if os.path.isdir(path):
        raise InputError(f"--{flag}={path}: is a folder; name a file in it")
    if extension == ".tsv" and any("\n" in text or "\r" in text for text in texts):
        raise InputError(
            f"--{flag}={path}: some texts have line breaks, which a .tsv can't hold: name a .csv or .jsonl"
        )


def _to_tsv(file: IO[str]) -> Write:
    return lambda text, label: file.write(f"{text}\t{label}\n")


def _to_csv(file: IO[str]) -> Write:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("text", "label"))
    return lambda text, label: writer.writerow((text, label))


def _to_jsonl(file: IO[str]) -> Write:
    return lambda text, label: file.write(json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n")


_WRITERS = {".tsv": _to_tsv, ".csv": _to_csv, ".jsonl": _to_jsonl}

"""Labelled and unlabelled texts from .tsv, .csv and .jsonl files, every fault named with file and line."""

import collections
import csv
import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from chemkd_tf.errors import InputError

_LONGEST_FIELD = 2**30  # characters; the csv module's own limit is 131,072
EXTENSIONS = (".tsv", ".csv", ".jsonl")


class LabelledTexts(NamedTuple):
    """A split of a labelled data set.

    Attributes:
        texts: as they stand in the file.
        labels: one for each text.
        path: of the file.
        lines: line of each text, from 1.
    """

    texts: list[str]
    labels: list[str]
    path: str
    lines: list[int]


def describe(split: LabelledTexts) -> dict[str, Any]:
    """Returns `file`, `texts` (how many) and `per_class` (how many of each label, most first), for a record."""
    counts = collections.Counter(split.labels)
    return {"file": split.path, "texts": len(split.texts), "per_class": dict(counts.most_common())}


def find_split(data_dir: str, split: str) -> str | None:
    """Returns the path of `split` ("train", "dev", "test") in `data_dir`, or None if there is none.

    Raises:
        InputError: no such folder, or two files for one split.
    """
    if not os.path.isdir(data_dir):
        raise InputError(f"--data_dir={data_dir}: no such folder")
    paths = [os.path.join(data_dir, split + extension) for extension in EXTENSIONS]
    found = [path for path in paths if os.path.isfile(path)]
    if len(found) > 1:
        raise InputError(f"--data_dir={data_dir}: both {found[0]} and {found[1]}; keep one")
    return found[0] if found else None


def read_labelled(path: str) -> LabelledTexts:
    """Reads texts with labels.

    .tsv: text TAB label, a header line "text TAB label" allowed. .csv: a header with the columns text and label.
    .jsonl: objects with the keys text and label. Empty lines are passed over.

    Raises:
        InputError: missing file, invalid UTF-8, a line without text or label, no line at all.
    """
    texts, labels, lines = [], [], []
    for line, record in _READERS[_extension(path)](path):
        label = record.get("label", "").strip()
        if not label:
            raise InputError(
                f"{path}, line {line}: no label; expected a text and a label ({_EXPECTED[_extension(path)]})"
            )
        if not record.get("text", "").strip():
            raise InputError(f"{path}, line {line}: no text before the label; delete the line or give it a text")
        if any(separator in label for separator in "\t\r\n"):
            raise InputError(
                f"{path}, line {line}: label {label!r} holds a tab or a line break; labels are one line each"
            )
        texts.append(record["text"])
        labels.append(label)
        lines.append(line)
    if not texts:
        raise InputError(f"{path}: no labelled text in it")
    return LabelledTexts(texts, labels, path, lines)


def read_texts(path: str) -> Iterator[str]:
    """Yields texts to classify: of the files above (labels are passed over), or one a line of any other file.

    Raises:
        InputError: missing file, invalid UTF-8, a line without text in .csv or .jsonl.
    """
    extension = os.path.splitext(path)[1]
    if extension not in EXTENSIONS:
        for _, line in read_lines(path):
            yield line
        return
    for line, record in _READERS[extension](path):
        if record.get("text") is None:
            raise InputError(f"{path}, line {line}: no text ({_EXPECTED[extension]})")
        yield record["text"]


def label_ids(split: LabelledTexts, labels: list[str]) -> list[int]:
    """Number of each text's label in `labels`.

    Raises:
        InputError: a label that isn't in `labels` (unseen in training).
    """
    number = {label: index for index, label in enumerate(labels)}
    for label, line in zip(split.labels, split.lines, strict=True):
        if label not in number:
            known = ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
            raise InputError(
                f"{split.path}, line {line}: label {label!r} does not occur in the training set ({known}); "
                "correct it, or add training examples"
            )
    return [number[label] for label in split.labels]


def _extension(path: str) -> str:
    extension = os.path.splitext(path)[1]
    if extension not in EXTENSIONS:
        raise InputError(f"{path}: expected one of {', '.join(EXTENSIONS)}")
    return extension


def read_lines(path: str) -> Iterator[tuple[int, str]]:
    """Yields line numbers, from 1, and lines, decoded one by one so that a fault can name its line.

    Raises:
        InputError: the file can't be read, or a line is not UTF-8.
    """
    try:
        file = open(path, "rb")
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from None
    with file:
        for number, raw in enumerate(file, start=1):
            try:
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}, line {number}: not UTF-8 (byte {error.start + 1}: 0x{raw[error.start]:02x}); "
                    "convert the file, for example with iconv -f GB18030 -t UTF-8"
                ) from None


def _read_tsv(path: str) -> Iterator[tuple[int, dict]]:
    for number, line in read_lines(path):
        if not line.strip() or (number == 1 and line.lower() == "text\tlabel"):
            continue
        # The label is what follows the last tab: texts may hold tabs, labels may not.
        text, tab, label = line.rpartition("\t")
        yield number, {"text": text, "label": label} if tab else {"text": line}


def _read_csv(path: str) -> Iterator[tuple[int, dict]]:
    # csv reads quoted line breaks as part of a field, so its own line numbers are used.
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.DictReader(line + "\n" for _, line in read_lines(path))
    if reader.fieldnames is not None and "text" not in reader.fieldnames:
        raise InputError(f"{path}, line 1: the header has no column 'text' (found {', '.join(reader.fieldnames)})")
    try:
        for record in reader:
            yield reader.line_num, {key: value for key, value in record.items() if isinstance(value, str)}
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not CSV ({error}); check its quotation marks") from None


def _read_jsonl(path: str) -> Iterator[tuple[int, dict]]:
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            json.dumps(record, ensure_ascii=False).encode("utf-8")  # fails on half a surrogate pair (\\ud800 alone)
        except ValueError as error:
            raise InputError(f"{path}, line {number}: not JSON ({error})") from None
        if not isinstance(record, dict):
            raise InputError(f"{path}, line {number}: expected an object with the keys text and label")
        yield number, {key: str(record[key]) for key in ("text", "label") if record.get(key) is not None}


_READERS = {".tsv": _read_tsv, ".csv": _read_csv, ".jsonl": _read_jsonl}
_EXPECTED = {
    ".tsv": "text TAB label",
    ".csv": "a header with the columns text and label",
    ".jsonl": '{"text": ..., "label": ...}',
}

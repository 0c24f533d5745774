"""What a set of record files holds: written beside them last, read first."""

import dataclasses
import glob
import hashlib
import json
import os
import re

from chemkd_tf.errors import InputError

SUFFIX = ".manifest.json"
SHARD_NAME = re.compile(r"(?P<prefix>.*)-\d{5,}-of-\d{5,}$")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordFormat:
    """What stands in a record, and what a reader has to know to make a batch of it.

    Args:
        max_seq_length: T.
        max_predictions_per_seq: P.
        vocabulary_sha256: `Vocabulary.sha256` of the vocabulary whose ids they hold.
        masking: "static": masked samples. "dynamic": whole, unmasked ones, which the reader cuts and masks.
        padded: whether static records are padded to T and P (google-research/bert's format) or hold what is there.
        masked_lm_prob: share of tokens to predict (dynamic).
        truncate_mode: how a reader cuts what is longer than T - 2 tokens (dynamic), see `samples.cut_windows`.
        whole_words: whether masks cover whole words; dynamic records then say where words are.
        special_ids: ids of [PAD], [CLS], [SEP] and [MASK] by the names pad, start, end and mask (dynamic).
        vocabulary_size: V; random replacements are drawn from all V entries (dynamic).
    """

    max_seq_length: int
    max_predictions_per_seq: int
    vocabulary_sha256: str
    masking: str = "static"
    padded: bool = True
    masked_lm_prob: float = 0.15
    truncate_mode: str = "token_coin"
    whole_words: bool = False
    special_ids: tuple[tuple[str, int], ...] = ()
    vocabulary_size: int = 0


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Record files and their format.

    Args:
        shards: paths, sorted.
        shard_samples: samples in each.
        format: of all of them.
    """

    shards: tuple[str, ...]
    shard_samples: tuple[int, ...]
    format: RecordFormat

    @property
    def num_samples(self) -> int:
        """Samples in all the shards together."""
        return sum(self.shard_samples)


def manifest_path(prefix: str) -> str:
    """Returns the path of the manifest of the records with this prefix."""
    return prefix + SUFFIX


def shard_path(prefix: str, shard: int, num_shards: int) -> str:
    """Returns `P-00003-of-00008` for prefix P, shard 3 of 8."""
    return f"{prefix}-{shard:05d}-of-{num_shards:05d}"


def file_sha256(path: str) -> str:
    """Returns the hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(input_file: str) -> Manifest:
    """Finds the record files that a trainer's --input_file means, and reads what they hold.

    Args:
        input_file: the prefix P that create_pretraining_data wrote to, or record files, or globs; comma-separated. A
            prefix means all its shards; files and globs mean those that they name.

    Returns:
        The manifest of all of them together.

    Raises:
        InputError: if nothing matches, a file has no manifest or is not in it, a shard is missing, or two sets of
            records differ in shape or vocabulary.
    """
    shards: dict[str, int] = {}
    formats: dict[RecordFormat, str] = {}
    for part in filter(None, (part.strip() for part in input_file.split(","))):
        for path in _record_files(part):
            content, samples = _look_up(path)
            shards[path] = samples
            formats.setdefault(_format(content), path)
    if not shards:
        raise InputError("--input_file is empty: name the records that data_prep/create_pretraining_data.py wrote")
    if len(formats) > 1:
        (one, first), (other, second) = list(formats.items())[:2]
        differing = [name for name, value in dataclasses.asdict(one).items() if value != getattr(other, name)]
        raise InputError(
            f"--input_file: {first} and {second} differ in {', '.join(differing)}: make them with the same flags"
        )
    paths = sorted(shards)
    return Manifest(tuple(paths), tuple(shards[path] for path in paths), *formats)


def _format(content: dict) -> RecordFormat:
    """The format that a manifest states; manifests of earlier versions leave out what had one value then."""
    values = {field.name: content[field.name] for field in dataclasses.fields(RecordFormat) if field.name in content}
    if values.get("masking", "static") == "static":  # How masks came about does not matter to the reader.
        for name in ("masked_lm_prob", "truncate_mode", "whole_words", "special_ids", "vocabulary_size"):
            values.pop(name, None)
    if "special_ids" in values:
        values["special_ids"] = tuple(sorted(values["special_ids"].items()))
    return RecordFormat(**values)


def _record_files(part: str) -> list[str]:
    """The record files that one prefix, file or glob stands for."""
    if os.path.isfile(manifest_path(part)):
        content = _load(manifest_path(part))
        return [os.path.join(os.path.dirname(part), shard["file"]) for shard in content["shards"]]
    matches = [part] if os.path.isfile(part) else sorted(glob.glob(part))
    matches = [path for path in matches if not path.endswith(SUFFIX)]
    if not matches:
        raise InputError(
            f"--input_file: no records at {part!r} (neither {manifest_path(part)} nor a file of that name): "
            "run data_prep/create_pretraining_data.py, or wait until it has finished"
        )
    return matches


def _look_up(path: str) -> tuple[dict, int]:
    """The manifest that belongs to one record file, and the number of samples in that file."""
    name = SHARD_NAME.match(path)
    where = manifest_path(name["prefix"]) if name else None
    if where is None or not os.path.isfile(where):
        raise InputError(
            f"{path}: no manifest {where or '(its name is not P-00000-of-0000N)'} beside it: was it written by "
            "data_prep/create_pretraining_data.py, and did that finish?"
        )
    content = _load(where)
    for shard in content["shards"]:
        if shard["file"] == os.path.basename(path):
            if not os.path.isfile(path):
                raise InputError(f"{path}: missing, though {where} lists it: make the records again")
            return content, shard["samples"]
    raise InputError(
        f"{path}: {where} does not list it, it is left from another run: delete it or name the prefix alone"
    )


def _load(path: str) -> dict:
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        missing = {"shards", "max_seq_length", "max_predictions_per_seq", "vocabulary_sha256"} - set(content)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: can't read the manifest ({error}): make the records again") from None
    if missing:
        raise InputError(f"{path}: no {sorted(missing)[0]} in the manifest: make the records again")
    return content

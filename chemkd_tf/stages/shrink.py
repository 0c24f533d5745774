"""A trained classifier becomes a smaller one, in a folder of its own that every later stage reads."""

import itertools
import os
import shutil

import numpy as np
import tensorflow as tf

from chemkd_tf.config import ClassificationConfig
from chemkd_tf.data.blocks import find_files
from chemkd_tf.data.labelled import read_texts
from chemkd_tf.errors import InputError
from chemkd_tf.models.classifier import ClassifierParts, TextClassifier, load_classifier
from chemkd_tf.models.shrinking import factorise_embedding, prune_vocabulary
from chemkd_tf.progress import Progress
from chemkd_tf.stages.evaluate import evaluate_split
from chemkd_tf.workdir import ORIGIN_FOLDER, RECORD_FILES, WorkingDirectory

_TEXTS_AT_ONCE = 1024


def shrink(config: ClassificationConfig) -> None:
    """Writes the smaller classifier to --output_dir.

    Args:
        config: with --do_shrink, checked.

    Raises:
        InputError: no trained classifier in --init_checkpoint, it is --output_dir itself, a text can't be read, or
            there is nothing to take away.
    """
    if os.path.realpath(config.init_checkpoint) == os.path.realpath(config.output_dir):
        raise InputError(f"--output_dir={config.output_dir}: is --init_checkpoint too; name another folder")
    parts = load_classifier(config.init_checkpoint, flag="init_checkpoint")
    before = _describe(parts)
    if config.shrink_texts:
        counts = count_tokens(parts, find_files(config.shrink_texts, "shrink_texts"))
        parts = prune_vocabulary(parts, counts, config.prune_min_count)
    if config.embedding_rank:
        parts = factorise_embedding(parts, config.embedding_rank)
    workdir = WorkingDirectory(config.output_dir)
    workdir.begin("shrink", config)
    _keep_origin(config.init_checkpoint, workdir)
    parts.save(workdir.path)
    print(f"before: {before}", f"after:  {_describe(parts)}", f"classifier: {workdir.path}", sep="\n", flush=True)


def print_cost(config: ClassificationConfig, report: dict) -> None:
    """Prints what dev said of the classifier before it was shrunk beside what it says now.

    Args:
        config: with --do_shrink.
        report: of the smaller one on dev.
    """
    found = evaluate_split(TextClassifier(config.init_checkpoint), config.data_dir, "dev")
    for key in ("accuracy", "macro_f1"):
        change = report[key] - found[key]
        print(f"dev {key}: {found[key]:.4f} before, {report[key]:.4f} after ({change:+.4f})", flush=True)


def count_tokens(parts: ClassifierParts, paths: list[str]) -> np.ndarray:
    """Counts how often each entry of the classifier's vocabulary occurs.

    Args:
        parts: of the classifier.
        paths: files of texts, of any size.

    Returns:
        int64 `[V]`.

    Raises:
        InputError: a file can't be read, or there is no token in any.
    """
    tokenizer = parts.make_tokenizer()
    counts = np.zeros(parts.vocabulary.size, np.int64)
    progress = Progress("counting tokens", sum(os.path.getsize(path) for path in paths), "bytes")
    done = 0
    for path in paths:
        texts = read_texts(path)
        while chunk := list(itertools.islice(texts, _TEXTS_AT_ONCE)):
            token_ids = tokenizer.tokenize(tf.constant(chunk)).flat_values.numpy()
            counts += np.bincount(token_ids, minlength=len(counts))
            done += sum(len(text.encode("utf-8", "surrogatepass")) + 1 for text in chunk)
            progress.update(done)
    progress.close()
    if not counts.any():
        raise InputError(f"--shrink_texts: no text in {', '.join(paths)}; name files with a text a line")
    return counts


def _describe(parts: ClassifierParts) -> str:
    return f"{parts.vocabulary.size:,} entries, {parts.network.count_params():,} parameters"


def _keep_origin(directory: str, workdir: WorkingDirectory) -> None:
    origin = workdir.file(ORIGIN_FOLDER)
    shutil.rmtree(origin, ignore_errors=True)
    os.makedirs(origin)
    for name in RECORD_FILES:
        if os.path.isfile(os.path.join(directory, name)):
            shutil.copyfile(os.path.join(directory, name), os.path.join(origin, name))
    if os.path.isdir(os.path.join(directory, ORIGIN_FOLDER)):
        shutil.copytree(os.path.join(directory, ORIGIN_FOLDER), os.path.join(origin, ORIGIN_FOLDER))

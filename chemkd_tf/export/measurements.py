"""Bytes and milliseconds of exported models, measured where they were exported."""

import os
import platform
import statistics
import time
from typing import Any

import tensorflow as tf

from chemkd_tf.export.formats import Predictor, load_predictor
from chemkd_tf.models.classifier import TextClassifier

SHORT_TEXT = 32  # tokens of the shorter of the two texts that are timed
_WARM_UP, _REPETITIONS, _SECONDS = 3, 30, 3.0


def file_sizes(folder: str) -> dict[str, int]:
    """Returns the bytes of every file below `folder`, by its path there, in order of the paths."""
    found = {}
    for directory, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(directory, name)
            found[os.path.relpath(path, folder)] = os.path.getsize(path)
    return dict(sorted(found.items()))


def latencies(classifier: TextClassifier, models: list[str]) -> dict[str, dict[int, float]]:
    """Measures how long each model takes for one text, from string to probabilities.

    Args:
        classifier: what was exported; its tokeniser makes texts of known length.
        models: paths that `load_predictor` takes.

    Returns:
        By path and by tokens of the text ([CLS] and [SEP] among them): median milliseconds of 30 answers (fewer where
        they take more than 3 seconds), after 3 that don't count.
    """
    longest = classifier.description.max_seq_length
    texts = {tokens: text_of(classifier, tokens) for tokens in sorted({min(SHORT_TEXT, longest), longest})}
    found = {}
    for path in models:
        predictor = load_predictor(path)
        found[path] = {tokens: _median_milliseconds(predictor, text) for tokens, text in texts.items()}
    return found


def text_of(classifier: TextClassifier, num_tokens: int) -> str:
    """Returns a text of so many tokens, [CLS] and [SEP] among them: characters of the vocabulary, spaces between."""
    candidates = [token for token in classifier.vocabulary.tokens if len(token) == 1 and token.isalnum()][:1000]
    candidates = candidates or ["\u4e00"]  # an ideograph is one token, if only [UNK]
    lengths = classifier.tokenizer.tokenize(tf.constant(candidates)).row_lengths().numpy()
    characters = [token for token, length in zip(candidates, lengths, strict=True) if length == 1]
    return " ".join(characters[index % len(characters)] for index in range(num_tokens - 2))


def processor() -> str:
    """Returns the processor's name as the system gives it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Returns `processor` and `threads`, the cores that this process may use."""
    return {"processor": processor(), "threads": len(os.sched_getaffinity(0))}


def _median_milliseconds(predictor: Predictor, text: str) -> float:
    taken = []
    end = time.perf_counter() + _SECONDS
    for repetition in range(_WARM_UP + _REPETITIONS):
        started = time.perf_counter()
        predictor([text])
        if repetition >= _WARM_UP:
            taken.append(1e3 * (time.perf_counter() - started))
        if taken and time.perf_counter() > end:
            break
    return statistics.median(taken)

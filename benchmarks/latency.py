"""What a classifier costs to serve: parameters, bytes, and milliseconds from a string to its probabilities."""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.bag_of_words import read_split, score_bag_of_words
from benchmarks.experiment import BASELINES
from benchmarks.splits import PARTS
from chemkd_tf.atomic import write_json

NUM_TEXTS = 60
_WARM_UP = 10


def median_milliseconds(answer: Callable[[list[str]], Any], texts: Sequence[str]) -> float:
    """Median time of one text at a time, the first ones left out.

    Args:
        answer: classifies a list of texts.
        texts: what to classify; few ones are gone through again.
    """
    milliseconds = []
    for index in range(NUM_TEXTS):
        started = time.perf_counter()
        answer([texts[index % len(texts)]])
        milliseconds.append(1000 * (time.perf_counter() - started))
    return statistics.median(milliseconds[_WARM_UP:])


def cost_of(output_dir: str, texts: Sequence[str]) -> dict[str, float]:
    """Cost of a trained classifier.

    Args:
        output_dir: of run_classifier.py.
        texts: to time it on.

    Returns:
        parameters, size_bytes (of the weights on disk) and latency_ms.
    """
    from chemkd_tf.models.classifier import WEIGHTS_FILE, TextClassifier

    classifier = TextClassifier(output_dir)
    return {
        "parameters": sum(int(weight.value.shape.num_elements()) for weight in classifier.network.trainable_weights),
        "size_bytes": os.path.getsize(f"{output_dir}/{WEIGHTS_FILE}"),
        "latency_ms": median_milliseconds(classifier, texts),
    }


def main(arguments: Sequence[str]) -> None:
    """Writes what --classifier costs to --output_json, timed on the test texts of --data_dir.

    Without --classifier it is the TF-IDF baselines, fitted anew: one JSON object by name.
    """
    parser = argparse.ArgumentParser()
    for name in ("data_dir", "output_json"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--classifier", default="")
    given = parser.parse_args(arguments)
    conditions = {"texts": given.data_dir, "cores": os.cpu_count(), "load_before": os.getloadavg()[0]}
    parts = [read_split(f"{given.data_dir}/{part}.tsv") for part in PARTS]
    if given.classifier:
        found = {"classifier": given.classifier, **cost_of(given.classifier, parts[-1][0])}
    else:
        scores = score_bag_of_words(*parts)
        found = {name: {"latency_ms": scores[name]["latency_ms"]} for name in BASELINES}
    write_json(given.output_json, found | conditions)

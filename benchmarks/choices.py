"""What benchmarks of an export's choices share: a trained classifier and real texts from the command line."""

import argparse
import itertools
import os
from typing import Any, NamedTuple

from chemkd_tf.data.labelled import read_texts
from chemkd_tf.models.classifier import TextClassifier
from chemkd_tf.workdir import versions

_MOST_TEXTS = 1000


class Given(NamedTuple):
    """What the command line names.

    Attributes:
        classifier: a trained one.
        texts: the first of the file, 1,000 at most.
        output_json: file for the figures.
    """

    classifier: TextClassifier
    texts: list[str]
    output_json: str


def read_command_line() -> Given:
    """Reads --classifier, --texts and --output_json."""
    parser = argparse.ArgumentParser()
    for name in ("classifier", "texts", "output_json"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args()
    texts = list(itertools.islice(read_texts(given.texts), _MOST_TEXTS))
    return Given(TextClassifier(given.classifier), texts, given.output_json)


def conditions(given: Given) -> dict[str, Any]:
    """Under which the figures hold."""
    return {"cores": os.cpu_count(), "load": os.getloadavg()[0], "texts": len(given.texts), "versions": versions()}

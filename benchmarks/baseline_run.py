"""The TF-IDF baselines as one run of a comparison: the labels that each predicts, what they cost.

python -m benchmarks.baseline_run --data_dir=DIR --output_dir=DIR
"""

import argparse
import os
import sys
from collections.abc import Sequence

from benchmarks.bag_of_words import read_split, score_bag_of_words
from benchmarks.experiment import BASELINES
from benchmarks.splits import PARTS
from chemkd_tf.atomic import atomic_write, write_json


def main(arguments: Sequence[str]) -> None:
    """Writes <baseline>.tsv (a header, then the label of every test text), and scores.json last."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--output_dir", required=True)
    given = parser.parse_args(arguments)
    scores = score_bag_of_words(*(read_split(f"{given.data_dir}/{part}.tsv") for part in PARTS))
    os.makedirs(given.output_dir, exist_ok=True)
    for name in BASELINES:
        with atomic_write(f"{given.output_dir}/{name}.tsv") as file:
            file.writelines(f"{label}\n" for label in ["label", *scores[name].pop("predictions")])
    write_json(f"{given.output_dir}/scores.json", {name: scores[name] for name in BASELINES})


if __name__ == "__main__":
    main(sys.argv[1:])

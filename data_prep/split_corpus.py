"""Holds articles out of a corpus: loss, perplexity and convergence should be judged on text that was not trained on.

python data_prep/split_corpus.py --input_file='corpus/*.txt' --output_dir=split --every=50

writes split/train.txt and split/heldout.txt; every 50th article of the corpus goes to the latter.
"""

import os
from collections.abc import Iterable, Iterator

from chemkd_tf import flags
from chemkd_tf.atomic import atomic_write
from chemkd_tf.config import SplitConfig
from chemkd_tf.config.options import require
from chemkd_tf.data.blocks import find_files, read_lines

flags.define(SplitConfig)


def articles(lines: Iterable[str]) -> Iterator[list[str]]:
    """Groups lines into articles: what stands between empty lines."""
    article: list[str] = []
    for line in lines:
        if line.strip():
            article.append(line.rstrip("\r\n"))
        elif article:
            yield article
            article = []
    if article:
        yield article


def main(config: SplitConfig) -> None:
    """Streams the corpus once; both files appear only when complete."""
    paths = find_files(config.input_file)
    counts = [0, 0]
    targets = [os.path.join(config.output_dir, name) for name in ("train.txt", "heldout.txt")]
    with atomic_write(targets[0]) as train, atomic_write(targets[1]) as held_out:
        for path in paths:
            for article in articles(read_lines([path])):
                is_held_out = sum(counts) % config.every == config.every - 1
                counts[is_held_out] += 1
                (held_out if is_held_out else train).write("\n".join(article) + "\n\n")
        require(counts[0] > 0, f"--input_file={config.input_file}: no article in it")
        require(
            counts[1] > 0, f"--every={config.every}: the corpus has only {counts[0]} articles; give a smaller number"
        )
    print(f"{targets[0]}: {counts[0]:,} articles\n{targets[1]}: {counts[1]:,} articles")


if __name__ == "__main__":
    flags.run(main, SplitConfig)

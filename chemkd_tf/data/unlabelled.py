"""Whole articles of a corpus as unlabelled texts for a classifier's teacher to answer."""

import random
from collections.abc import Iterator

from chemkd_tf.data.blocks import find_files
from chemkd_tf.data.labelled import read_lines
from chemkd_tf.errors import InputError


def read_articles(patterns: str) -> Iterator[str]:
    """Yields the articles of a corpus, their sentences joined.

    Args:
        patterns: UTF-8 text files or globs, comma-separated: one sentence a line, an empty line between articles.

    Raises:
        InputError: a file is missing or a line is not UTF-8 (names file and line).
    """
    for path in find_files(patterns, "unlabelled_file"):
        sentences: list[str] = []
        for _, line in read_lines(path):
            if line.strip():
                sentences.append(line.strip())
            elif sentences:
                yield "".join(sentences)
                sentences = []
        if sentences:
            yield "".join(sentences)


def sample_articles(patterns: str, most: int, random_seed: int) -> list[str]:
    """Draws up to `most` articles, every one as likely, holding no more than that in memory (reservoir sampling).

    Raises:
        InputError: see `read_articles`; or there is no article.
    """
    rng = random.Random(random_seed)
    drawn: list[str] = []
    for number, article in enumerate(read_articles(patterns)):
        if number < most:
            drawn.append(article)
        elif (place := rng.randrange(number + 1)) < most:
            drawn[place] = article
    if not drawn:
        raise InputError(f"--unlabelled_file={patterns}: no text in it")
    return drawn

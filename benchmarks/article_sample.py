"""Whole articles drawn from a corpus, in proportion from each of its files."""

import itertools
import random
from typing import NamedTuple

from chemkd_tf.atomic import atomic_write


class Article(NamedTuple):
    """Where an article stands in a file: first byte, and the one behind its last."""

    path: str
    start: int
    end: int

    @property
    def size(self) -> int:
        """Bytes, with an empty line behind it."""
        return self.end - self.start + 1


def find_articles(paths: list[str]) -> list[Article]:
    """What stands between blank lines, file by file."""
    articles = []
    for path in paths:
        start = end = 0
        with open(path, "rb") as file:
            for line in itertools.chain(file, [b""]):
                position, end = end, end + len(line)
                if not line.decode("utf-8", "replace").strip():
                    if position > start:
                        articles.append(Article(path, start, position))
                    start = end
    return articles


def draw_articles(articles: list[Article], num_bytes: int, random_seed: int) -> list[Article]:
    """Draws whole articles, from each file in proportion to its size; each as likely as the next, long or short.

    Args:
        articles: all of them, file by file.
        num_bytes: to draw. The result is at most one article larger. Where the articles are fewer bytes, they are
            taken as often as they go into it, and only what is left is drawn.
        random_seed: the same seed draws the same articles.

    Returns:
        Articles in the order of the corpus.
    """
    total = sum(article.size for article in articles)
    copies, rest = divmod(num_bytes, total)
    rng = random.Random(random_seed)
    drawn: list[Article] = []
    quota = taken = 0.0
    for _, group in itertools.groupby(articles, key=lambda article: article.path):
        of_file, chosen = list(group), []
        quota += rest * sum(article.size for article in of_file) / total
        for article in rng.sample(of_file, len(of_file)):
            if taken >= quota:
                break
            chosen.append(article)
            taken += article.size
        drawn += sorted(chosen)
    return articles * copies + drawn


def write_articles(articles: list[Article], path: str) -> None:
    """Writes articles with an empty line behind each."""
    with atomic_write(path, "wb") as output:
        for source, group in itertools.groupby(articles, key=lambda article: article.path):
            with open(source, "rb") as file:
                for article in group:
                    file.seek(article.start)
                    output.write(file.read(article.end - article.start).rstrip(b"\r\n") + b"\n\n")

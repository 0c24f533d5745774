"""Writes the embedded default corpus: Chinese text of the chemical industry, made by a seeded grammar.

    python -m data_prep.sample_corpus --output_dir=DIR [--random_seed=12345] [--corpus_bytes=3500000]

`corpus.txt` and `heldout.txt` are unlabelled: one sentence per line, an empty line between articles (the format of
google-research/bert). `labelled/{train,dev,test}.tsv` hold ``text<TAB>label`` rows whose label is a job family. The
same seed gives the same bytes everywhere.
"""

import os
import random
from collections.abc import Sequence

from absl import app, flags

from data_prep import sample_grammar

_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Directory the corpus is written to.")
_RANDOM_SEED = flags.DEFINE_integer("random_seed", 12345, "Seed of every random choice.")
_CORPUS_BYTES = flags.DEFINE_integer("corpus_bytes", 3_500_000, "Least size of corpus.txt in bytes of UTF-8.")

HELDOUT_BYTES = 150_000
LABELLED_ROWS = {"train": 400, "dev": 400, "test": 1_600}
# By articles; an advert is a little shorter than the other two, so that adverts make three quarters of the bytes.
ARTICLE_SHARES = {"advert": 0.8, "safety_entry": 0.11, "rules": 0.09}


def draw_labelled_rows(random_seed: int, split: str, num_rows: int, seen_texts: set[str]) -> list[tuple[str, str]]:
    """Draws the rows of one labelled split, every family equally often.

    Args:
        random_seed: seed of the corpus.
        split: name of the split; each has its own stream of random numbers.
        num_rows: number of rows.
        seen_texts: texts that may not be drawn again; the drawn ones are added.

    Returns:
        (text, label) rows in random order.
    """
    rng = random.Random(f"{random_seed}/labelled/{split}")
    families = sample_grammar.JOB_FAMILIES
    rows = []
    while len(rows) < num_rows:
        family = families[len(rows) % len(families)]
        text = "".join(sample_grammar.draw_advert(family, rng, labelled=True))
        if text not in seen_texts:
            seen_texts.add(text)
            rows.append((text, family))
    rng.shuffle(rows)
    return rows


def draw_articles(random_seed: int, stream: str, num_bytes: int, seen_texts: set[str]) -> str:
    """Draws unlabelled articles until they fill `num_bytes` bytes of UTF-8.

    Args:
        random_seed: seed of the corpus.
        stream: name of the stream of random numbers; other names give other articles.
        num_bytes: least size of the result in bytes.
        seen_texts: articles (sentences joined) that may not be drawn again; the drawn ones are added.

    Returns:
        The text: one sentence per line, an empty line between articles.
    """
    rng = random.Random(f"{random_seed}/{stream}")
    articles, size = [], 0
    while size < num_bytes:
        kind = rng.choices(list(ARTICLE_SHARES), weights=list(ARTICLE_SHARES.values()))[0]
        if kind == "advert":
            sentences = sample_grammar.draw_advert(rng.choice(sample_grammar.JOB_FAMILIES), rng)
        elif kind == "safety_entry":
            sentences = sample_grammar.draw_safety_entry(rng)
        else:
            sentences = sample_grammar.draw_rule_paragraph(rng)
        text = "".join(sentences)
        if text in seen_texts:
            continue
        seen_texts.add(text)
        articles.append("\n".join(sentences) + "\n")
        # The empty line before the article, which the first has not, counts as its byte.
        size += len(articles[-1].encode()) + (len(articles) > 1)
    return "\n".join(articles)


def _write_atomically(path: str, text: str) -> None:
    temporary_path = f"{path}.tmp{os.getpid()}"
    with open(temporary_path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    os.replace(temporary_path, path)


def write_sample_corpus(
    output_dir: str | os.PathLike[str], random_seed: int = 12345, corpus_bytes: int = 3_500_000
) -> dict[str, str]:
    """Writes the corpus, the held-out text and the labelled splits.

    Args:
        output_dir: directory to write to; made if missing, existing files of the same names are replaced.
        random_seed: the same seed gives the same bytes.
        corpus_bytes: least size of `corpus.txt`; the other files do not depend on it.

    Returns:
        Path of each file: keys "corpus", "heldout", "train", "dev" and "test".
    """
    output_dir = os.fspath(output_dir)
    os.makedirs(os.path.join(output_dir, "labelled"), exist_ok=True)
    paths = {"corpus": os.path.join(output_dir, "corpus.txt"), "heldout": os.path.join(output_dir, "heldout.txt")}
    # Labelled and held-out texts come first, so that their bytes stay when only the corpus's size changes.
    seen_texts: set[str] = set()
    for split, num_rows in LABELLED_ROWS.items():
        paths[split] = os.path.join(output_dir, "labelled", f"{split}.tsv")
        rows = draw_labelled_rows(random_seed, split, num_rows, seen_texts)
        _write_atomically(paths[split], "".join(f"{text}\t{label}\n" for text, label in rows))
    _write_atomically(paths["heldout"], draw_articles(random_seed, "heldout", HELDOUT_BYTES, seen_texts))
    _write_atomically(paths["corpus"], draw_articles(random_seed, "corpus", corpus_bytes, seen_texts))
    return paths


def main(argv: Sequence[str]) -> None:
    """Writes the corpus to the directory the flags name."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    for name, path in write_sample_corpus(_OUTPUT_DIR.value, _RANDOM_SEED.value, _CORPUS_BYTES.value).items():
        print(f"{name}: {path} ({os.path.getsize(path):,} bytes)")


if __name__ == "__main__":
    flags.mark_flag_as_required("output_dir")
    app.run(main)

"""Bag-of-words baselines: TF-IDF of characters or of jieba words, with logistic regression.

    python -m benchmarks.bag_of_words --data_dir=DIR [--output_json=FILE]

They see the labels only, no unlabelled text; what pretraining and distillation add is measured against them.
"""

import json
import logging
import os
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence

import jieba
from absl import app, flags
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import Pipeline, make_pipeline

from chemkd_tf.data.labelled import read_labelled

FLAGS = flags.FLAGS
REGULARISATION_STRENGTHS = (1, 3, 10, 30, 100)
"""Candidates of LogisticRegression's C, the inverse of the strength of the L2 penalty."""
_LATENCY_TEXTS = 100

Split = tuple[Sequence[str], Sequence[str]]


class JiebaWords:
    """A picklable tokenizer: text to jieba's words, white space left out.

    The pickled form holds no dictionary, as jieba brings it along at load time.
    """

    def __init__(self) -> None:
        self._load()

    def _load(self) -> None:
        logging.getLogger("jieba").setLevel(logging.WARNING)
        tokenizer = jieba.Tokenizer()
        # jieba's default cache is a marshal file of a fixed name in the shared temporary directory, which another user
        # may have written; a private directory makes sure that only our own cache is loaded.
        with tempfile.TemporaryDirectory() as private_dir:
            tokenizer.tmp_dir = private_dir
            tokenizer.cache_file = os.path.join(private_dir, "jieba.cache")
            tokenizer.initialize()
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> list[str]:
        """Returns the words of `text`."""
        return [word for word in self._tokenizer.lcut(text) if not word.isspace()]

    def __getstate__(self) -> dict:
        """Leaves the dictionary out of the pickle."""
        return {}

    def __setstate__(self, state: dict) -> None:
        """Loads jieba's dictionary again."""
        self._load()


def _character_vectorizer() -> TfidfVectorizer:
    return TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True)


def _word_vectorizer(jieba_words: JiebaWords) -> TfidfVectorizer:
    return TfidfVectorizer(
        tokenizer=jieba_words, token_pattern=None, lowercase=False, ngram_range=(1, 2), sublinear_tf=True
    )


def _macro_f1(labels: Sequence[str], predictions: Sequence[str]) -> float:
    return float(f1_score(labels, predictions, average="macro", zero_division=0))


def _median_latency_ms(pipeline: Pipeline, texts: Sequence[str]) -> float:
    # Few texts are gone through more than once, so that the median stands on 50 timings at least.
    texts = [texts[index % len(texts)] for index in range(max(50, min(len(texts), _LATENCY_TEXTS)))]
    seconds = []
    for text in texts:
        start = time.perf_counter()
        pipeline.predict([text])
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def _score_pipeline(
    name: str, make_vectorizer: Callable[[], TfidfVectorizer], train: Split, dev: Split, test: Split
) -> dict:
    vectorizer = make_vectorizer()
    features, dev_features = vectorizer.fit_transform(train[0]), vectorizer.transform(dev[0])
    candidates = []
    for strength in REGULARISATION_STRENGTHS:
        classifier = LogisticRegression(C=strength, max_iter=1000).fit(features, train[1])
        candidates.append((_macro_f1(dev[1], classifier.predict(dev_features)), strength, classifier))
    # The first of equals: the most regularised.
    dev_macro_f1, strength, classifier = max(candidates, key=lambda candidate: (candidate[0], -candidate[1]))
    pipeline = make_pipeline(vectorizer, classifier)
    predictions = pipeline.predict(test[0])
    return {
        "name": name,
        "accuracy": float(accuracy_score(test[1], predictions)),
        "macro_f1": _macro_f1(test[1], predictions),
        "dev_macro_f1": dev_macro_f1,
        "c": strength,
        "parameters": int(classifier.coef_.size + classifier.intercept_.size),
        "size_bytes": len(pickle.dumps(pipeline)),
        "latency_ms": _median_latency_ms(pipeline, test[0]),
        "predictions": [str(label) for label in predictions],
    }


def score_bag_of_words(train: Split, dev: Split, test: Split) -> dict:
    """Fits both pipelines on `train`, chooses C on `dev` and scores them on `test`.

    Args:
        train: (texts, labels) to fit on.
        dev: (texts, labels) that choose C by macro-F1, and the better pipeline.
        test: (texts, labels) the reported accuracy and macro-F1 are of.

    Returns:
        "character_tfidf" and "word_tfidf", each a dict of name, accuracy, macro_f1, dev_macro_f1, c, parameters
        (logistic regression's coefficients and intercepts), size_bytes (of the pickled pipeline), latency_ms (median
        of single texts) and predictions (labels of `test`); and "best", the dict of the pipeline with the higher
        dev_macro_f1.
    """
    jieba_words = JiebaWords()
    scores = {
        "character_tfidf": _score_pipeline("character_tfidf", _character_vectorizer, train, dev, test),
        "word_tfidf": _score_pipeline("word_tfidf", lambda: _word_vectorizer(jieba_words), train, dev, test),
    }
    return {**scores, "best": max(scores.values(), key=lambda score: score["dev_macro_f1"])}


def read_split(path: str | os.PathLike[str]) -> Split:
    """Returns (texts, labels) of a labelled file (see `chemkd_tf.data.labelled.read_labelled`)."""
    split = read_labelled(os.fspath(path))
    return split.texts, split.labels


def main(argv: Sequence[str]) -> None:
    """Prints the scores of the data the flags name."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    train, dev = (read_split(os.path.join(FLAGS.data_dir, f"{split}.tsv")) for split in ("train", "dev"))
    test_path = os.path.join(FLAGS.data_dir, "test.tsv")
    has_test = os.path.exists(test_path)
    scores = score_bag_of_words(train, dev, read_split(test_path) if has_test else dev)
    print(f"scored on {'test' if has_test else 'dev'}; best by dev: {scores['best']['name']}")
    print(f"{'name':<16}{'accuracy':>10}{'macro_f1':>10}{'dev_f1':>10}{'params':>10}{'bytes':>12}{'ms':>8}")
    for name in ("character_tfidf", "word_tfidf"):
        row = scores[name]
        print(
            f"{name:<16}{row['accuracy']:>10.4f}{row['macro_f1']:>10.4f}{row['dev_macro_f1']:>10.4f}"
            f"{row['parameters']:>10}{row['size_bytes']:>12}{row['latency_ms']:>8.2f}"
        )
    if FLAGS.output_json:
        temporary_path = f"{FLAGS.output_json}.tmp{os.getpid()}"
        with open(temporary_path, "w", encoding="utf-8") as file:
            for score in scores.values():
                score.pop("predictions", None)
            json.dump({"scored_on": "test" if has_test else "dev", **scores}, file, ensure_ascii=False, indent=2)
        os.replace(temporary_path, FLAGS.output_json)


if __name__ == "__main__":  # other benchmarks import this file and have flags of their own
    flags.DEFINE_string("data_dir", None, "Directory with train.tsv, dev.tsv and, if present, test.tsv.")
    flags.DEFINE_string("output_json", None, "File the scores are written to as JSON.")
    flags.mark_flag_as_required("data_dir")
    app.run(main)

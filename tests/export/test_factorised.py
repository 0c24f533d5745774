"""A token embedding of low rank stays one in every format, and every format answers as Keras does."""

import os

import classifiers
import numpy as np
import pytest
import tensorflow as tf

from chemkd_tf.export.formats import FORMATS, load_predictor
from chemkd_tf.models.shrinking import factorise_embedding, full_embedding
from chemkd_tf.text.vocabulary import vocabulary_of

TEXTS = ["酸碱，水", "pumping", "", "泵" * 30, "酸 abc 盐水泵站"]
ROWS = 4000


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """Its vocabulary is long enough for the table to show in the size of a file."""
    vocabulary = vocabulary_of([*classifiers.VOCABULARY.tokens[5:], *map(str, range(1000, 1000 + ROWS))])
    parts = factorise_embedding(classifiers.random_parts(vocabulary), 4)
    return classifiers.on_disk(tmp_path_factory.mktemp("factorised") / "run", parts)


def expected(classifier, texts) -> np.ndarray:
    """Probabilities from the product of the factors, in a network without any."""
    shape = classifier.description.architecture
    whole = classifiers.random_parts(classifier.vocabulary)
    given = {variable.path: variable.numpy() for variable in classifier.network.weights}
    given["token_embedding/embeddings"] = full_embedding(classifier.network)
    for variable in whole.network.weights:
        variable.assign(given[variable.path])
    assert shape.embedding_rank and not whole.description.architecture.embedding_rank
    batch = classifier.tokenizer.encode(tf.constant(texts), classifier.description.max_seq_length)
    logits = whole.network(batch, training=False).numpy().astype("float64")
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


# The conversion to LiteRT takes longest.
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "litert" else []) for name in FORMATS]
)
def test_every_format_answers_as_the_product_does(classifier, name, tmp_path):
    models = FORMATS[name].export(classifier, str(tmp_path / name))
    for path in models:
        tolerance = 0.05 if "int8" in path else 2e-3 if "fp16" in path else 1e-5
        np.testing.assert_allclose(load_predictor(path)(TEXTS), expected(classifier, TEXTS), atol=tolerance)
        whole_table = ROWS * classifier.description.architecture.hidden_dim * (1 if "int8" in path else 2)
        size = os.path.getsize(path) if os.path.isfile(path) else 0
        assert size < whole_table + 40_000, path


def test_the_answers_depend_on_the_text(classifier):
    assert np.ptp(expected(classifier, TEXTS), axis=0).max() > 0.01

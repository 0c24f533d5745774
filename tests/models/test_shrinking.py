"""Smaller classifiers: what must stay the same, and what NumPy says of the rest."""

import dataclasses

import classifiers
import numpy as np
import pytest
import tensorflow as tf
import tiny

from chemkd_tf.errors import InputError
from chemkd_tf.models.architecture import StudentArchitecture
from chemkd_tf.models.shrinking import factorise_embedding, full_embedding, prune_vocabulary
from chemkd_tf.models.student import build_student
from chemkd_tf.text.vocabulary import SPECIAL_TOKENS

TEXTS = ["酸碱盐，水", "pump 泵站", "pumping pvc", "", "泵" * 30, "酸 abc"]


@pytest.fixture(scope="module")
def parts():
    return classifiers.random_parts()


def tokens_of(parts, text: str) -> list[str]:
    ids = parts.make_tokenizer().tokenize(tf.constant([text])).to_list()[0]
    return [parts.vocabulary.tokens[token_id] for token_id in ids]


def counts_of(parts, texts: list[str]) -> np.ndarray:
    counts = np.zeros(parts.vocabulary.size, np.int64)
    for text in texts:
        for token in tokens_of(parts, text):
            counts[parts.vocabulary.id_of(token)] += 1
    return counts


def logits_of(parts, text: str) -> np.ndarray:
    batch = parts.make_tokenizer().encode(tf.constant([text]), parts.description.max_seq_length)
    return parts.network(batch, training=False).numpy()


@pytest.mark.parametrize("text", TEXTS)
def test_texts_whose_tokens_all_stay_get_the_same_answer(parts, text):
    pruned = prune_vocabulary(parts, counts_of(parts, TEXTS), 1)
    assert pruned.vocabulary.size < parts.vocabulary.size
    assert tokens_of(pruned, text) == tokens_of(parts, text)
    np.testing.assert_array_equal(logits_of(pruned, text), logits_of(parts, text))


@pytest.mark.parametrize("min_count", [1, 2, 40])
def test_what_stays_is_what_occurs_and_what_anything_can_be_spelt_with(parts, min_count):
    texts = ["酸酸碱 pump pump pvc", "水"]
    occurrences = {"酸": 2, "碱": 1, "pump": 2, "pvc": 1, "水": 1}
    pruned = prune_vocabulary(parts, counts_of(parts, texts), min_count)
    expected = [
        token
        for token in parts.vocabulary.tokens
        if occurrences.get(token, 0) >= min_count
        or token in SPECIAL_TOKENS
        or (len(token.replace("##", "")) == 1 and token.isascii())
    ]
    assert list(pruned.vocabulary.tokens) == expected
    assert pruned.description.architecture.vocabulary_size == len(expected)


def test_a_word_whose_entry_is_gone_is_spelt_with_others(parts):
    assert tokens_of(parts, "pumping") == ["pump", "##ing"]
    pruned = prune_vocabulary(parts, np.zeros(parts.vocabulary.size), 1)
    assert tokens_of(pruned, "pump") == ["p", "##u", "##m", "##p"]
    assert tokens_of(pruned, "酸") == ["[UNK]"]
    kept = parts.vocabulary.tokens.index("pum")
    counts = np.zeros(parts.vocabulary.size, np.int64)
    counts[kept] = 1
    assert tokens_of(prune_vocabulary(parts, counts, 1), "pump") == ["pum", "##p"]


def test_pruning_leaves_the_classifier_that_it_is_given_alone(parts):
    before = [weight.copy() for weight in parts.network.get_weights()]
    prune_vocabulary(parts, counts_of(parts, ["酸"]), 1)
    factorise_embedding(parts, 3, counts_of(parts, ["酸"]))
    for one, other in zip(before, parts.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("rank", [1, 4, 9])
def test_the_factors_are_the_best_of_their_rank_for_these_frequencies(parts, rank):
    counts = np.random.default_rng(rank).integers(0, 50, parts.vocabulary.size)
    table = full_embedding(parts.network).astype("float64")
    root = np.sqrt(counts + 1.0)[:, None]
    left, values, right = np.linalg.svd(root * table, full_matrices=False)
    expected = (left[:, :rank] * values[:rank]) @ right[:rank] / root
    found = factorise_embedding(parts, rank, counts)
    np.testing.assert_allclose(full_embedding(found.network), expected, atol=1e-5)
    assert found.description.architecture.embedding_rank == rank


def test_an_embedding_that_has_a_low_rank_loses_nothing(parts):
    rng = np.random.default_rng(0)
    low = rng.normal(size=(parts.vocabulary.size, 3)) @ rng.normal(size=(3, tiny.STUDENT_WIDTH))
    network = parts.description.build()
    network.set_weights(parts.network.get_weights())
    network.get_layer("token_embedding").embeddings.assign(low)
    full = parts._replace(network=network)
    cut = factorise_embedding(full, 3)
    for text in TEXTS:
        np.testing.assert_allclose(logits_of(cut, text), logits_of(full, text), atol=1e-5)


def test_a_factorised_embedding_is_the_product_of_its_factors(parts):
    cut = factorise_embedding(parts, 4, counts_of(parts, TEXTS))
    assert cut.network.get_layer("token_embedding").embeddings.shape == (parts.vocabulary.size, 4)
    assert cut.network.get_layer("token_projection").kernel.shape == (4, tiny.STUDENT_WIDTH)
    whole = parts.description.build()
    whole.set_weights(parts.network.get_weights())
    whole.get_layer("token_embedding").embeddings.assign(full_embedding(cut.network))
    for text in TEXTS:
        np.testing.assert_allclose(logits_of(cut, text), logits_of(parts._replace(network=whole), text), atol=1e-5)


def test_both_cuts_go_together_in_either_order(parts):
    counts = counts_of(parts, ["酸碱", "pump"])
    pruned = prune_vocabulary(parts, counts, 1)
    kept = [parts.vocabulary.id_of(token) for token in pruned.vocabulary.tokens]
    cut = factorise_embedding(pruned, 4, counts[kept])
    assert full_embedding(cut.network).shape == (len(kept), tiny.STUDENT_WIDTH)
    other = prune_vocabulary(factorise_embedding(parts, 4, counts), counts, 1)
    assert other.network.count_params() == cut.network.count_params()
    for text in ("酸碱", "pump 酸"):
        assert tokens_of(cut, text) == tokens_of(other, text)


@pytest.mark.parametrize("rank", [10, 200])
def test_a_rank_that_saves_nothing_is_refused(parts, rank):
    with pytest.raises(
        InputError, match=f"--embedding_rank={rank}: the token embedding is {parts.vocabulary.size} x 10"
    ):
        factorise_embedding(parts, rank)


def test_a_transformer_has_no_embedding_to_factorise(parts):
    architecture = tiny.teacher_architecture(vocabulary_size=parts.vocabulary.size)
    description = dataclasses.replace(parts.description, architecture=architecture)
    transformer = parts._replace(description=description, network=description.build())
    with pytest.raises(InputError, match="--embedding_rank=4: for BiLSTM students; this is a teacher"):
        factorise_embedding(transformer, 4)
    pruned = prune_vocabulary(transformer, counts_of(transformer, ["酸碱"]), 1)
    np.testing.assert_array_equal(logits_of(pruned, "酸碱"), logits_of(transformer, "酸碱"))


@pytest.mark.parametrize(("rank", "parameters"), [(0, 4_974_000), (64, 2_113_392)])
def test_parameters_at_the_size_of_the_paper(rank, parameters):
    assert build_student(StudentArchitecture(embedding_rank=rank)).count_params() == parameters

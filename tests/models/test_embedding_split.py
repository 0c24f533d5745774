"""A model cut after its embedding: both halves together are the model, on the same variables."""

import numpy as np
import pytest
import tensorflow as tf
import tiny

from chemkd_tf.models import states
from chemkd_tf.models.attention_scores import with_attention_scores
from chemkd_tf.models.checkpoints import build_encoder
from chemkd_tf.models.embedding_split import split_at_embedding
from chemkd_tf.models.heads import classification_model, classification_states


def classifier(architecture):
    network = classification_model(build_encoder(architecture), num_classes=3, pooling="max", dropout=0.0)
    return tiny.randomise(classification_states(network))


MODELS = {
    "bilstm masked-LM": lambda: tiny.masked_lm(tiny.student_architecture()),
    "bilstm classifier": lambda: classifier(tiny.student_architecture()),
    "bilstm encoder": lambda: tiny.randomise(build_encoder(tiny.student_architecture(embedding="token"))),
    "transformer masked-LM": lambda: tiny.masked_lm(tiny.teacher_architecture()),
    "transformer classifier": lambda: classifier(tiny.teacher_architecture()),
    "with attention scores": lambda: with_attention_scores(tiny.masked_lm(tiny.teacher_architecture()), [1, 2]),
    "albert": lambda: tiny.masked_lm(tiny.teacher_architecture(family="albert", embedding_dim=6)),
    "distilbert": lambda: tiny.masked_lm(tiny.teacher_architecture(family="distilbert", num_segments=0)),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def inputs_of(model) -> dict:
    return tiny.select(tiny.batch(), tuple(model.input))


def test_both_halves_together_are_the_model(model):
    to_embedding, from_embedding = split_at_embedding(model)
    inputs = inputs_of(model)
    embedding = to_embedding(inputs)
    halves, whole = from_embedding({**inputs, states.EMBEDDING: embedding}), model(inputs)
    assert list(halves) == list(whole)
    for name in whole:
        np.testing.assert_array_equal(halves[name], whole[name], err_msg=name)
    again = tf.function(lambda x: from_embedding({**x, states.EMBEDDING: to_embedding(x)}))(inputs)
    np.testing.assert_allclose(again["hidden_2"], whole["hidden_2"], atol=1e-5)


def test_the_halves_have_the_variables_of_the_model_and_no_others(model):
    before = [id(variable) for variable in model.weights]
    halves = split_at_embedding(model)
    assert {id(variable) for half in halves for variable in half.weights} == set(before)
    assert [id(variable) for variable in model.weights] == before
    assert len(halves[1].weights) < len(before)


def test_the_second_half_follows_a_moved_embedding(model):
    to_embedding, from_embedding = split_at_embedding(model)
    inputs = inputs_of(model)
    embedding = to_embedding(inputs)
    moved = from_embedding({**inputs, states.EMBEDDING: embedding + 0.5})
    np.testing.assert_array_equal(moved["embedding"], embedding + 0.5)
    assert np.abs(moved["hidden_2"] - model(inputs)["hidden_2"]).max() > 1e-3


def test_gradients_through_the_halves_are_those_of_the_model(model):
    to_embedding, from_embedding = split_at_embedding(model)
    inputs = inputs_of(model)

    def loss(outputs):
        return sum(tf.reduce_mean(tf.square(value)) for value in outputs.values())

    with tf.GradientTape() as tape:
        whole = loss(model(inputs, training=True))
    expected = tape.gradient(whole, [variable.value for variable in model.trainable_variables])
    with tf.GradientTape() as tape:
        embedding = to_embedding(inputs, training=True)
        halves = loss(from_embedding({**inputs, states.EMBEDDING: embedding}, training=True))
    *found, of_embedding = tape.gradient(halves, [*(v.value for v in model.trainable_variables), embedding])
    assert np.abs(of_embedding).max() > 0
    for variable, gradient, other in zip(model.trainable_variables, found, expected, strict=True):
        assert other is not None, variable.path
        gradient, other = tf.convert_to_tensor(gradient), tf.convert_to_tensor(other)
        np.testing.assert_allclose(gradient, other, rtol=1e-4, atol=1e-5, err_msg=variable.path)


def test_dropout_works_in_both_halves():
    model = tiny.masked_lm(tiny.teacher_architecture(dropout=0.5))
    to_embedding, from_embedding = split_at_embedding(model)
    inputs = inputs_of(model)
    still = to_embedding(inputs)
    assert np.abs(to_embedding(inputs, training=True) - still).max() > 0.1
    values = {**inputs, states.EMBEDDING: still}
    assert np.abs(from_embedding(values, training=True)["hidden_1"] - model(inputs)["hidden_1"]).max() > 0.1

"""Attention scores are what a layer makes softmax of: computed by hand from its weights, and leading to its output."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from chemkd_tf.errors import InputError
from chemkd_tf.models import states
from chemkd_tf.models.attention_scores import with_attention_scores
from chemkd_tf.models.checkpoints import build_encoder, build_masked_lm
from chemkd_tf.models.heads import classification_model, classification_states

FAMILIES = {
    "bert": {},
    "albert": {"embedding_dim": 6, "num_layers": 4, "num_groups": 2},
    "electra": {"embedding_dim": 6},
    "distilbert": {"num_segments": 0, "activation": "gelu"},
}


def architecture(family: str):
    return tiny.teacher_architecture(**{"family": family, "num_layers": 3, **FAMILIES[family]})


def weights_of(model) -> dict[str, np.ndarray]:
    return {variable.path: variable.numpy().astype("float64") for variable in model.weights}


def layer_path(family: str, number: int) -> str:
    """Which variables make layer `number`; ALBERT's four layers are two groups of two calls."""
    if family == "albert":
        return f"group_{(number - 1) // 2}_inner_layer_0"
    return f"transformer_layer_{number - 1}"


def plain_scores(weights, path: str, state: np.ndarray) -> np.ndarray:
    """[B, heads, T, T] by explicit loops over rows, heads and pairs of tokens."""
    kernels = [weights[f"{path}/self_attention_layer/{name}/kernel"] for name in ("query", "key")]  # [H, heads, width]
    biases = [weights[f"{path}/self_attention_layer/{name}/bias"] for name in ("query", "key")]
    rows, tokens, _ = state.shape
    _, heads, width = kernels[0].shape
    scores = np.zeros((rows, heads, tokens, tokens))
    for row in range(rows):
        for head in range(heads):
            query, key = (state[row] @ k[:, head] + b[head] for k, b in zip(kernels, biases, strict=True))
            for i in range(tokens):
                for j in range(tokens):
                    scores[row, head, i, j] = sum(query[i] * key[j]) / math.sqrt(width)
    return scores


def norm(x, gamma, beta):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-12) * gamma + beta


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_computed_by_hand_from_the_weights(family):
    model = tiny.masked_lm(architecture(family))
    layers = range(1, architecture(family).num_layers + 1)
    outputs = with_attention_scores(model, layers)(tiny.select(tiny.batch(), tiny.MASKED_LM_INPUTS))
    assert list(outputs) == [*model.output, *(f"attention_scores_{layer}" for layer in layers)]
    weights = weights_of(model)
    found = [outputs[f"attention_scores_{layer}"].numpy() for layer in layers]
    for number, scores in zip(layers, found, strict=True):
        entering = outputs["embedding" if number == 1 else f"hidden_{number - 1}"].numpy().astype("float64")
        expected = plain_scores(weights, layer_path(family, number), entering)
        assert expected.shape == (6, 2, tiny.TOKENS, tiny.TOKENS) and expected.std() > 0.3
        np.testing.assert_allclose(scores, expected, atol=2e-4)
    for one, other in zip(found, found[1:], strict=False):
        assert np.abs(one - other).max() > 0.1  # shared weights, other states: other scores


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_softmax_of_the_scores_leads_to_the_output_of_the_layer(family):
    model = tiny.masked_lm(architecture(family))
    batch = tiny.batch()
    outputs = with_attention_scores(model, [2])(tiny.select(batch, tiny.MASKED_LM_INPUTS))
    outputs = {name: value.numpy().astype("float64") for name, value in outputs.items()}
    path = layer_path(family, 2) + "/"
    own = {k.removeprefix(path): v for k, v in weights_of(model).items() if k.startswith(path)}
    scores = outputs["attention_scores_2"] - 1e9 * (1 - batch["padding_mask"][:, None, None, :])
    probabilities = np.exp(scores - scores.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    state = outputs["hidden_1"]
    attention = "self_attention_layer/"
    value = np.einsum("bth,hnw->btnw", state, own[attention + "value/kernel"]) + own[attention + "value/bias"]
    mixed = np.einsum("bnts,bsnw->btnw", probabilities, value)
    x = np.einsum("btnw,nwh->bth", mixed, own[attention + "attention_output/kernel"])
    x = x + own[attention + "attention_output/bias"]
    x = norm(x + state, own["self_attention_layer_norm/gamma"], own["self_attention_layer_norm/beta"])
    inner = x @ own["feedforward_intermediate_dense/kernel"] + own["feedforward_intermediate_dense/bias"]
    inner = 0.5 * inner * (1 + np.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)))
    x = norm(
        x + inner @ own["feedforward_output_dense/kernel"] + own["feedforward_output_dense/bias"],
        own["feedforward_layer_norm/gamma"],
        own["feedforward_layer_norm/beta"],
    )
    real = batch["padding_mask"] == 1
    np.testing.assert_allclose(outputs["hidden_2"][real], x[real], atol=2e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_copied_and_nothing_else_changes(family, tmp_path):
    model = tiny.masked_lm(architecture(family))
    with_scores = with_attention_scores(model, [1, 2])
    for kind in ("weights", "trainable_variables"):
        before, after = getattr(model, kind), getattr(with_scores, kind)
        assert [id(variable) for variable in after] == [id(variable) for variable in before]
    inputs = tiny.select(tiny.batch(), tiny.MASKED_LM_INPUTS)
    before, after = model(inputs), with_scores(inputs)
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])
    with_scores.save_weights(tmp_path / "with.weights.h5")
    other = tiny.randomise(build_masked_lm(architecture(family)), seed=9)
    other.load_weights(tmp_path / "with.weights.h5")
    for found, expected in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_loss_on_the_scores_trains_the_weights_of_the_model():
    model = tiny.masked_lm(architecture("bert"))
    with_scores = with_attention_scores(model, [2])
    with tf.GradientTape() as tape:
        scores = with_scores(tiny.select(tiny.batch(), tiny.MASKED_LM_INPUTS), training=True)["attention_scores_2"]
        loss = tf.reduce_mean(tf.square(scores))
    gradients = dict(
        zip((v.path for v in model.trainable_variables), tape.gradient(loss, model.trainable_variables), strict=True)
    )
    reached = {path for path, gradient in gradients.items() if gradient is not None}
    own = "transformer_layer_1/self_attention_layer/"
    assert {own + "query/kernel", own + "key/kernel", "transformer_layer_0/feedforward_output_dense/kernel"} < reached
    assert not {own + "value/kernel", "transformer_layer_2/self_attention_layer/query/kernel"} & reached
    assert np.abs(gradients[own + "query/kernel"]).max() > 1e-3


def test_they_are_computed_in_bfloat16_where_the_model_is():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = tiny.masked_lm(architecture("bert"))
        # A graph: keras-nlp's masked-LM head fails eagerly in bfloat16.
        outputs = tf.function(with_attention_scores(model, [1]))(tiny.select(tiny.batch(), tiny.MASKED_LM_INPUTS))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    scores = outputs["attention_scores_1"]
    assert scores.dtype == tf.bfloat16
    embedding = tf.cast(outputs["embedding"], tf.float32).numpy().astype("float64")
    expected = plain_scores(weights_of(model), "transformer_layer_0", embedding)
    np.testing.assert_allclose(tf.cast(scores, tf.float32), expected, atol=0.1)
    assert np.abs(expected).max() > 2


def test_inner_repetitions_give_the_scores_of_the_last_of_them():
    shape = tiny.teacher_architecture(family="albert", embedding_dim=6, num_layers=1, num_inner_repetitions=2)
    encoder = tiny.randomise(build_encoder(shape))
    outputs = with_attention_scores(encoder, [1])(tiny.select(tiny.batch()))
    first = encoder.get_layer("group_0_inner_layer_0")
    between = first(outputs["embedding"], padding_mask=tf.constant(tiny.batch()["padding_mask"])).numpy()
    expected = plain_scores(weights_of(encoder), "group_0_inner_layer_1", between.astype("float64"))
    np.testing.assert_allclose(outputs["attention_scores_1"], expected, atol=2e-4)


def test_classifiers_and_encoders_have_them_too():
    encoder = tiny.randomise(build_encoder(architecture("bert")))
    classifier = classification_states(classification_model(encoder, 3, "max", 0.0))
    inputs = tiny.select(tiny.batch())
    expected = with_attention_scores(encoder, [2])(inputs)[states.attention_scores(2)]
    np.testing.assert_array_equal(with_attention_scores(classifier, [2])(inputs)["attention_scores_2"], expected)


def test_a_layer_without_attention_is_refused():
    with pytest.raises(InputError, match="attention scores of layer 1: the student_masked_lm has none, its layers are"):
        with_attention_scores(tiny.masked_lm(tiny.student_architecture()), [1])
    with pytest.raises(InputError, match="attention scores of layer 4: the teacher_masked_lm has embedding, hidden_1"):
        with_attention_scores(tiny.masked_lm(architecture("bert")), [4])

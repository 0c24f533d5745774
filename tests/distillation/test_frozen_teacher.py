"""The teacher as the distiller asks it: the states of a plain call, and no layer more than they need."""

import numpy as np
import pytest
import tensorflow as tf
import tiny

from chemkd_tf.distillation.frozen_teacher import frozen_teacher
from chemkd_tf.training.strategy import make_strategy

LAYERS = 3


@pytest.fixture(scope="module")
def teacher():
    return tiny.masked_lm(tiny.teacher_architecture(num_layers=LAYERS, dropout=0.5))


@pytest.fixture(scope="module")
def inputs():
    """Rows that end in padding, some of it in every row."""
    return tiny.select(tiny.pad(tiny.batch(), tokens=2), tiny.MASKED_LM_INPUTS)


@pytest.fixture(scope="module")
def states(teacher, inputs):
    return {name: value.numpy() for name, value in teacher(inputs, training=False).items()}


def test_a_teacher_whose_last_state_is_needed_answers_bit_for_bit_as_a_plain_call(teacher, inputs, states):
    found = frozen_teacher(teacher, states)(inputs)
    assert list(found) == list(states)
    for name, value in found.items():
        np.testing.assert_array_equal(value, states[name], err_msg=name)


def test_the_last_layer_at_the_masked_positions_alone_gives_the_same_logits(teacher, inputs, states):
    found = frozen_teacher(teacher, ["embedding", "hidden_1", "logits"])(inputs)
    assert set(found) == {"embedding", "hidden_1", "logits"}
    for name in ("embedding", "hidden_1"):
        np.testing.assert_array_equal(found[name], states[name])
    # The same sums, perhaps of products in another order; the logits are of size 1.
    assert np.abs(states["logits"]).mean() > 0.5
    np.testing.assert_allclose(found["logits"], states["logits"], rtol=1e-5, atol=1e-5)


def test_what_the_last_layer_holds_at_unmasked_positions_is_not_computed(teacher, inputs):
    """The feed-forward products of the last layer have as many rows as there are masked positions, not tokens."""
    graph = tf.function(frozen_teacher(teacher, ["hidden_1", "logits"])).get_concrete_function(inputs).graph
    rows, tokens = inputs["token_ids"].shape
    masked = inputs["mask_positions"].shape[1]
    widths = [
        operation.outputs[0].shape.as_list()
        for operation in graph.get_operations()
        if operation.outputs and operation.outputs[0].shape.rank == 3 and "feedforward_intermediate" in operation.name
    ]
    assert [rows, masked, 32] in widths
    assert sum(width == [rows, tokens, 32] for width in widths) > 0  # the layers below


@pytest.mark.parametrize("family", ["albert", "electra", "distilbert"])
def test_other_families_answer_as_a_plain_call(family, inputs):
    shape = {"albert": {"embedding_dim": 8, "num_inner_repetitions": 2}, "electra": {"embedding_dim": 8}}
    segments = {"distilbert": {"num_segments": 0}}
    architecture = tiny.teacher_architecture(family=family, **shape.get(family, {}), **segments.get(family, {}))
    model = tiny.masked_lm(architecture)
    plain = model(inputs, training=False)
    found = frozen_teacher(model, ["hidden_1", "logits"])(inputs)
    for name, value in found.items():
        np.testing.assert_allclose(value, plain[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_layers_above_the_highest_state_that_is_needed_are_left_out(teacher, inputs, states):
    names = {
        operation.name
        for operation in tf.function(frozen_teacher(teacher, ["hidden_2"]))
        .get_concrete_function(inputs)
        .graph.get_operations()
    }
    assert any("transformer_layer_1" in name for name in names)
    assert not any("transformer_layer_2" in name or "masked_lm_head" in name for name in names)
    np.testing.assert_array_equal(frozen_teacher(teacher, ["hidden_2"])(inputs)["hidden_2"], states["hidden_2"])


def rounded(value: np.ndarray) -> np.ndarray:
    """To the 8 significant bits of a bfloat16."""
    return tf.cast(tf.cast(value, tf.bfloat16), tf.float32).numpy()


def test_bfloat16_rounds_the_products_and_leaves_the_model_as_it_was(teacher, inputs, states):
    before = tiny.snapshot(teacher.weights)
    found = frozen_teacher(teacher, states, "bfloat16")(inputs)
    for name, value in found.items():
        assert value.dtype == tf.float32
        if name != "logits":  # to which the head adds a bias that stays float32
            np.testing.assert_array_equal(value, rounded(value), err_msg=name)
        error = np.sqrt(np.mean(np.square(value - states[name])) / np.mean(np.square(states[name])))
        assert 1e-4 < error < 0.05, (name, error)
    assert {variable.dtype for variable in teacher.weights} == {"float32"}
    for variable, value in zip(teacher.weights, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    again = teacher(inputs, training=False)
    for name, value in again.items():
        assert value.dtype == tf.float32
        np.testing.assert_array_equal(value, states[name], err_msg=name)


def test_an_unknown_state_is_refused(teacher):
    with pytest.raises(ValueError, match="has no state hidden_9"):
        frozen_teacher(teacher, ["hidden_9"])


def test_a_distiller_with_a_bfloat16_teacher_has_nearly_the_losses_of_one_without():
    batch = tiny.tensors(tiny.batch())
    losses = {}
    for precision in ("float32", "bfloat16"):
        model = tiny.one_layer_distiller(tiny.one_layer_config(teacher_bfloat16=precision == "bfloat16"))
        terms = model.compute_terms(batch, training=False)
        losses[precision] = {name: float(tf.reduce_sum(total)) for name, (total, _) in terms.losses.items()}
    for name, value in losses["bfloat16"].items():
        assert value != losses["float32"][name]
        assert value == pytest.approx(losses["float32"][name], rel=0.02), name


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_one_replica_and_two_make_the_same_update(precision):
    """Of a teacher whose last layer is asked at the masked positions alone: its state is not matched."""
    trained = []
    for num_replicas in (1, 2):
        with make_strategy(num_replicas).scope():
            config = tiny.one_layer_config(teacher_bfloat16=precision == "bfloat16")
            model = tiny.distiller(config, {"num_layers": 2}, {"num_layers": 1})
        before = tiny.snapshot(model.trainable_variables)
        with tiny.unoptimised_graphs():
            dataset = tf.data.Dataset.from_tensors(tiny.batch())
            history = model.fit(dataset, epochs=1, steps_per_epoch=1, verbose=0, shuffle=False).history
        assert "hidden_loss" in history
        trained.append((before, tiny.snapshot(model.trainable_variables), history))
    (before, after, history), (_, after_on_two, history_on_two) = trained
    for old, one, two in zip(before, after, after_on_two, strict=True):
        np.testing.assert_allclose(two, one, rtol=0, atol=1e-6)
        assert np.abs(one - old).max() > 1e-4
    for name, values in history.items():
        assert history_on_two[name] == pytest.approx(values, rel=1e-4, abs=1e-5), name

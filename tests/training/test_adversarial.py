"""Adversarial training: where a text's embeddings are moved to, what is learnt there, and that replicas agree on it."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tiny

from chemkd_tf.models.checkpoints import build_encoder
from chemkd_tf.models.embedding_split import split_at_embedding
from chemkd_tf.models.heads import classification_model, classification_states
from chemkd_tf.training.adversarial import AdversarialClassification, perturbation
from chemkd_tf.training.strategy import make_strategy

EPSILON = 0.5
SHAPES = {"student": tiny.student_architecture, "teacher": tiny.teacher_architecture}


@pytest.fixture(autouse=True, scope="module")
def _quick():
    with tiny.unoptimised_graphs():
        yield


def labelled_batch(seed: int = 4) -> dict[str, np.ndarray]:
    """Six texts of unequal length, the last of which only fills the batch."""
    return {
        **tiny.task_batch(seed),
        "label_ids": np.array([2, 0, 1, 1, 0, 0], np.int32),
        "has_label": np.array([1, 1, 1, 1, 1, 0], np.float32),
    }


def make_network(kind: str = "student"):
    network = classification_model(build_encoder(SHAPES[kind](dropout=0.0)), tiny.CLASSES, "mean", dropout=0.0)
    return tiny.randomise(network)


def cross_entropy(logits: np.ndarray, label_ids: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(logits)), label_ids]


# --- Where embeddings are moved to ---


def test_a_step_has_its_length_over_the_real_tokens_of_each_text():
    rng = np.random.default_rng(0)
    gradient = rng.normal(size=(3, 4, 5)).astype("float32")
    gradient[2] = 0
    padding_mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]], np.int32)
    found = perturbation(tf.constant(gradient), tf.constant(padding_mask), 0.7).numpy()
    first, second = gradient[0].astype(np.float64), gradient[1, :2].astype(np.float64)
    np.testing.assert_allclose(found[0], 0.7 * first / np.sqrt((first**2).sum()), rtol=1e-5)
    np.testing.assert_allclose(found[1, :2], 0.7 * second / np.sqrt((second**2).sum()), rtol=1e-5)
    assert not found[1, 2:].any()
    assert not found[2].any()  # where the loss is flat there is nowhere to go


def test_a_step_keeps_the_dtype_of_its_gradient():
    gradient = tf.ones([2, 3, 4], tf.bfloat16)
    assert perturbation(gradient, tf.ones([2, 3], tf.int32), 1.0).dtype == tf.bfloat16


# --- What is learnt there ---


@pytest.mark.parametrize("kind", SHAPES)
def test_both_losses_are_cross_entropies_at_the_embeddings_and_at_the_steepest_step_from_them(kind):
    """The steepest direction of each text is found again by finite differences, one text and one number at a time."""
    network = make_network(kind)
    batch = labelled_batch()
    inputs = tiny.select(batch)
    terms = AdversarialClassification(network, 1, EPSILON).compute_terms(tiny.tensors(batch), training=True)

    clean = cross_entropy(network(inputs).numpy(), batch["label_ids"])
    np.testing.assert_allclose(terms.losses["classification_loss"][0], clean * batch["has_label"], rtol=1e-4)

    to_embedding, from_embedding = split_at_embedding(classification_states(network))
    embedding = to_embedding(inputs).numpy()
    for row, length in list(enumerate(batch["padding_mask"].sum(axis=1)))[:2]:
        text = {name: tf.constant(value[row : row + 1]) for name, value in inputs.items()}
        places = [(token, unit) for token in range(length) for unit in range(embedding.shape[-1])]

        def losses_at(states, text=text, row=row):
            repeated = {name: tf.repeat(value, len(states), axis=0) for name, value in text.items()}
            logits = from_embedding({**repeated, "embedding": tf.constant(states)})["logits"].numpy()
            return cross_entropy(logits, np.full(len(states), batch["label_ids"][row]))

        step = 1e-2
        up, down = (np.repeat(embedding[row : row + 1], len(places), axis=0) for _ in range(2))
        for number, (token, unit) in enumerate(places):
            up[number, token, unit] += step
            down[number, token, unit] -= step
        slopes = (losses_at(up) - losses_at(down)) / (2 * step)
        moved = embedding[row : row + 1].copy()
        for (token, unit), slope in zip(places, slopes, strict=True):
            moved[0, token, unit] += EPSILON * slope / np.sqrt((slopes**2).sum())
        (expected,) = losses_at(moved)
        assert float(terms.losses["adversarial_loss"][0][row]) == pytest.approx(expected, rel=1e-3)
        assert expected > clean[row] + 1e-3


def test_what_has_no_label_weighs_nothing_in_either_loss():
    model = AdversarialClassification(make_network(), 1, EPSILON)
    batch = {**labelled_batch(), "example_weight": np.float32([1, 0, 0.5, 2, 1, 0])}
    weights = model.compute_weights(tiny.tensors(batch))
    losses = model.compute_terms(tiny.tensors(batch), training=True).losses
    assert weights.keys() == losses.keys() == model.loss_weights.keys() == {"classification_loss", "adversarial_loss"}
    for name, (loss, weight) in losses.items():
        np.testing.assert_allclose(weight, [1, 0, 0.5, 2, 1, 0])
        np.testing.assert_allclose(weights[name], weight)
        assert not loss.numpy()[[1, 5]].any()


# --- Replicas and micro-batches ---


@functools.cache
def trained(num_replicas: int, micro_batches: int = 1) -> dict[str, np.ndarray]:
    strategy = make_strategy(num_replicas)
    with strategy.scope():
        model = AdversarialClassification(make_network(), 1, EPSILON)
        config = tiny.classification_config(
            teacher_dir="", unlabelled_file="", weight_decay=0.1, clip_norm=0.5,
            gradient_accumulation_steps=micro_batches,
        )  # fmt: skip
        model.compile_for(config, 100, 0)
    batches = [labelled_batch(seed) for seed in (4, 5, 6)]
    dataset = tf.data.Dataset.from_tensor_slices(
        {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
    )
    model.fit(dataset, epochs=1, steps_per_epoch=3, verbose=0, shuffle=False)
    return {variable.path: variable.numpy() for variable in model.trainable_variables}


@pytest.mark.parametrize(("num_replicas", "micro_batches"), [(2, 1), (1, 3), (2, 3)])
def test_replicas_and_micro_batches_make_the_same_updates(num_replicas, micro_batches):
    one, other = trained(1), trained(num_replicas, micro_batches)
    assert one.keys() == other.keys() and len(one) > 10
    before = {variable.path: variable.numpy() for variable in make_network().trainable_variables}
    for path, values in one.items():
        np.testing.assert_allclose(other[path], values, rtol=0, atol=1e-6, err_msg=path)
        assert np.abs(values - before[path]).max() > 1e-4, path

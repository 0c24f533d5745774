"""One replica equals two: the same update from the same global batch, whatever its share on each device."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from chemkd_tf.data.padding import fill_batch
from chemkd_tf.training.replica_exact import ReplicaExactModel, Terms
from chemkd_tf.training.strategy import make_strategy

STEPS = 3


def build(kind, use_xla=False, **changes):
    if kind == "pretraining":
        config = tiny.pretraining_config(weight_decay=0.1, **changes)
        return tiny.language_model(config=config, num_layers=1, use_xla=use_xla)
    return tiny.one_layer_distiller(tiny.one_layer_config(weight_decay=0.1, **changes))


@functools.cache
def train(kind, num_replicas, clip_norm=1.0, micro_batches=1, use_xla=False):
    """Variables before and after three updates, and the optimizer's momenta and metrics after them."""
    strategy = make_strategy(num_replicas)
    assert strategy.num_replicas_in_sync == num_replicas
    with strategy.scope():
        model = build(kind, use_xla, clip_norm=clip_norm, gradient_accumulation_steps=micro_batches)
    before = {variable.path: variable.numpy() for variable in model.trainable_variables}
    dataset = tf.data.Dataset.from_tensor_slices(
        {name: np.stack([np.asarray(batch[name]) for batch in BATCHES]) for name in BATCHES[0]}
    )
    history = model.fit(dataset, epochs=1, steps_per_epoch=STEPS, verbose=0, shuffle=False).history
    after = {variable.path: variable.numpy() for variable in model.trainable_variables}
    momenta = [variable.numpy() for variable in model.optimizer.variables if "momentum" in variable.path]
    return before, after, momenta, history


def norm(arrays):
    return np.sqrt(sum(np.square(array).sum() for array in arrays))


def assert_same_training(one, two):
    (before, after, _, history), (before_on_two, after_on_two, _, history_on_two) = one, two
    for path in before:
        np.testing.assert_array_equal(before_on_two[path], before[path])
        # A bias of the keys changes no attention: its gradient is rounding errors alone, which Adam makes larger.
        without_gradient = path.endswith("key/bias")
        tolerance = 1e-4 if without_gradient else 1e-6
        np.testing.assert_allclose(after_on_two[path], after[path], rtol=0, atol=tolerance, err_msg=path)
        assert without_gradient or np.abs(after[path] - before[path]).max() > 1e-4, path
    assert {name: values[-1] for name, values in history_on_two.items()} == pytest.approx(
        {name: values[-1] for name, values in history.items()}, rel=1e-4, abs=1e-5
    )


def filled(batch, size):
    return {name: value.numpy() for name, value in fill_batch(tiny.tensors(batch), size).items()}


# Unequal lengths and unequal numbers of masked tokens; the last global batch has one example, so one replica has none.
BATCHES = [tiny.batch(seed=0), tiny.batch(seed=1), filled(tiny.batch(rows=1, seed=2), 6)]


@pytest.fixture(autouse=True, scope="module")
def _quick():
    with tiny.unoptimised_graphs():
        yield


def test_the_replicas_get_shares_of_unequal_weight():
    for name in ("padding_mask", "mask_weights"):
        shares = [(batch[name][:3].sum(), batch[name][3:].sum()) for batch in BATCHES[:2]]
        assert any(first != second for first, second in shares)
    assert BATCHES[2]["example_weight"].tolist() == [1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("kind", ["pretraining", "distillation"])
@pytest.mark.parametrize("clip_norm", [0.05, pytest.param(0.0, marks=pytest.mark.slow)], ids=["clipped", "unclipped"])
def test_one_replica_and_two_make_the_same_updates(kind, clip_norm):
    one, two = (train(kind, num_replicas, clip_norm) for num_replicas in (1, 2))
    assert_same_training(one, two)
    trained = set(one[1])
    if kind == "distillation":
        assert {"embedding_loss_projection/kernel", "hidden_loss_projection/kernel"} < trained
    # Momenta are averages of gradients (0.1 of each at first): clipped ones can't be longer than 0.3 of the limit.
    for _, _, momenta, _ in (one, two):
        if clip_norm:
            assert norm(momenta) <= 0.3 * clip_norm * (1 + 1e-4)
        else:
            assert norm(momenta) > 0.3 * 0.05


# One row a micro-batch on two replicas; of the last global batch most micro-batches weigh nothing.
@pytest.mark.parametrize("kind", ["pretraining", "distillation"])
@pytest.mark.parametrize("num_replicas", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_micro_batches_make_the_same_updates(kind, num_replicas):
    assert_same_training(train(kind, 1, 0.05), train(kind, num_replicas, 0.05, micro_batches=3))


SLOW = [pytest.param(*case, marks=pytest.mark.slow) for case in ((1, 1), (2, 3))]


@pytest.mark.parametrize(("num_replicas", "micro_batches"), [(2, 1), *SLOW])
def test_xla_makes_the_same_updates(num_replicas, micro_batches):
    compiled = train("pretraining", num_replicas, 0.05, micro_batches, use_xla=True)
    assert_same_training(train("pretraining", 1, 0.05), compiled)


@pytest.mark.parametrize("kind", ["pretraining", "distillation"])
def test_weights_are_known_from_the_batch_alone(kind):
    model = build(kind)
    batch = {**tiny.batch(seed=3), "example_weight": np.float32([1, 0, 0.5, 2, 1, 0])}
    found = model.compute_weights(tiny.tensors(batch))
    pairs = model.compute_terms(tiny.tensors(batch), training=True).losses
    assert found.keys() == pairs.keys() == model.loss_weights.keys()
    for name, (_, weight) in pairs.items():
        np.testing.assert_allclose(found[name].numpy(), weight.numpy(), rtol=1e-6, err_msg=name)


def functions_of(graph_def):
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


@pytest.mark.parametrize("num_replicas", [1, 2])
def test_micro_batches_come_one_after_the_other_and_the_model_stands_in_the_graph_once(num_replicas, monkeypatch):
    strategy = make_strategy(num_replicas)
    with strategy.scope():
        model = build("pretraining", gradient_accumulation_steps=3)
    calls = []
    compute_terms = model.compute_terms
    monkeypatch.setattr(
        type(model),
        "compute_terms",
        lambda self, *arguments, **keys: calls.append(1) or compute_terms(*arguments, **keys),
    )
    dataset = tf.data.Dataset.from_tensors(tiny.tensors(tiny.batch()))
    batch = next(iter(strategy.experimental_distribute_dataset(dataset)))
    update = tf.function(lambda batch: strategy.run(model.train_step, args=(batch,)))
    graph = update.get_concrete_function(batch).graph.as_graph_def()
    assert len(calls) == num_replicas
    loops = [node for node in functions_of(graph) if node.op in ("While", "StatelessWhile")]
    assert [node.attr["parallel_iterations"].i for node in loops] == [1] * num_replicas


class DropoutProbe(ReplicaExactModel):
    """Reports what two dropout layers make of a row of ones on each replica."""

    WIDTH = 64

    def __init__(self, random_seed):
        super().__init__(loss_weights={"probe": 1.0}, random_seed=random_seed)
        self.first, self.second = keras.layers.Dropout(0.5), keras.layers.Dropout(0.5)
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def compute_terms(self, batch, training):
        ones = tf.ones([1, self.WIDTH]) * self.scale
        masks = tf.concat([self.first(ones, training=training), self.second(ones, training=training)], axis=0)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        rows = tf.one_hot(replica, 2)[:, None, None] * masks[None]
        loss = tf.reduce_sum(masks, axis=1)
        return Terms({"probe": (loss, tf.ones_like(loss))}, {"masks": tf.stop_gradient(rows)})

    def compute_weights(self, batch):
        return {"probe": tf.ones([2])}

    def summarise(self, statistics):
        return {"masks": statistics["masks"] > 0}


def dropout_masks(num_replicas, random_seed, steps):
    """bool [steps, replicas, layers, width]: what was kept at each update."""
    strategy = make_strategy(num_replicas)
    with strategy.scope():
        model = DropoutProbe(random_seed)
        model.compile_for(tiny.pretraining_config(), 100, 0)

    @tf.function
    def update():
        logs = strategy.run(model.train_step, args=({},))
        return strategy.experimental_local_results(logs["masks"])[0]

    return np.array([update().numpy() for _ in range(steps)])


def test_dropout_is_a_function_of_seed_update_replica_and_layer():
    masks = dropout_masks(2, random_seed=5, steps=3)
    np.testing.assert_array_equal(dropout_masks(2, random_seed=5, steps=3), masks)
    np.testing.assert_array_equal(dropout_masks(1, random_seed=5, steps=3)[:, 0], masks[:, 0])
    kept = masks.reshape(3 * 2 * 2, DropoutProbe.WIDTH)
    assert len({row.tobytes() for row in kept}) == len(kept)  # every update, replica and layer has its own
    assert 0.4 < kept.mean() < 0.6
    other = dropout_masks(2, random_seed=6, steps=3).reshape(kept.shape)
    assert not {row.tobytes() for row in other} & {row.tobytes() for row in kept}


def test_independent_masks_agree_on_half_of_the_units():
    kept = dropout_masks(2, random_seed=5, steps=3).reshape(-1, DropoutProbe.WIDTH)
    for i in range(len(kept)):
        for j in range(i):
            assert 0.2 < (kept[i] == kept[j]).mean() < 0.8


def test_every_micro_batch_has_dropout_of_its_own():
    class Recorder(DropoutProbe):
        """Sums up each unit's masks, weighed by powers of two: from the sum follow all the masks."""

        def compute_terms(self, batch, training):
            terms = super().compute_terms(batch, training)
            masks = tf.cast(terms.statistics["masks"] > 0, tf.float32)
            return terms._replace(statistics={"masks": masks * 2.0 ** batch["number"][0]})

        def summarise(self, statistics):
            return statistics

    with make_strategy(1).scope():
        model = Recorder(5)
        model.compile_for(tiny.pretraining_config(gradient_accumulation_steps=3), 100, 0)
    update = tf.function(lambda: model.train_step({"number": tf.range(3.0)})["masks"])
    sums = np.array([update().numpy()[0] for _ in range(2)]).astype(int)  # [updates, layers, width]
    masks = np.array([[sums >> number & 1 for number in range(3)]]).reshape(-1, DropoutProbe.WIDTH)
    assert len({row.tobytes() for row in masks}) == len(masks) == 2 * 3 * 2
    assert 0.4 < masks.mean() < 0.6

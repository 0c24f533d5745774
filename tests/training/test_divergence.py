"""A loss or gradient that is not finite ends the run at that very update, names it, and leaves its batch."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tiny

from chemkd_tf.errors import InputError
from chemkd_tf.training.loop import Schedule, train
from chemkd_tf.training.replica_exact import ReplicaExactModel, Terms
from chemkd_tf.training.strategy import make_strategy
from chemkd_tf.workdir import WorkingDirectory

STEPS = 6


@pytest.fixture(autouse=True, scope="module")
def _quick():
    with tiny.unoptimised_graphs():
        yield


def bad_fourth_batch():
    batches = [tiny.batch(seed=seed) for seed in range(STEPS)]
    batches[3]["mask_weights"][2, 0] = np.inf
    return batches


def run(path, batches, build, num_replicas=1, save_every=1):
    strategy = make_strategy(num_replicas)
    with strategy.scope():
        model = build()
    stacked = {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
    train(
        "test", model, strategy, lambda first: tf.data.Dataset.from_tensor_slices(stacked).skip(first),
        Schedule(STEPS, eval_every_steps=100, save_checkpoints_steps=save_every, log_every_steps=1),
        WorkingDirectory(str(path)),
    )  # fmt: skip
    return model


def language_model():
    return tiny.language_model(num_train_steps=STEPS, num_layers=1)


@pytest.mark.parametrize("num_replicas", [1, 2])
def test_a_loss_that_is_not_finite_ends_the_run_there_and_leaves_its_batch(tmp_path, num_replicas):
    batches = bad_fourth_batch()
    with pytest.raises(InputError) as error:
        run(tmp_path, batches, language_model, num_replicas)
    (line,) = str(error.value).splitlines()
    assert line.startswith("update 4 is not finite (gradient_norm nan, loss nan, ")
    assert f"saved in {tmp_path}/nan_batch_4.npz, the last checkpoint is {tmp_path}/checkpoints/ckpt-3: " in line
    for flag in ("--learning_rate", "--clip_norm", "--num_warmup_steps", "--output_dir"):
        assert flag in line
    assert "--mixed_bfloat16" not in line, "it was not on"

    saved = np.load(tmp_path / "nan_batch_4.npz")
    assert set(saved.files) == set(batches[3])
    for name, value in batches[3].items():
        np.testing.assert_array_equal(saved[name], value, err_msg=name)
    assert not list(tmp_path.glob("*partial*"))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert all(np.isfinite(value) for line in lines for name, value in line.items() if name != "split")
    assert max(int(path.stem.split("-")[1]) for path in (tmp_path / "checkpoints").glob("ckpt-*.index")) == 3


def test_what_is_on_disk_is_not_spoilt(tmp_path):
    with pytest.raises(InputError):
        run(tmp_path / "spoilt", bad_fourth_batch(), language_model)
    batches = bad_fourth_batch()
    batches[3] = tiny.batch(seed=3)
    resumed, whole = (run(tmp_path / name, batches, language_model) for name in ("spoilt", "whole"))
    for one, other in zip(whole.trainable_variables, resumed.trainable_variables, strict=True):
        np.testing.assert_allclose(other.numpy(), one.numpy(), rtol=0, atol=1e-6, err_msg=one.path)


def test_without_a_checkpoint_the_message_says_so(tmp_path):
    with pytest.raises(InputError, match=r"update 4 .*nan_batch_4\.npz, there is no checkpoint yet: "):
        run(tmp_path, bad_fourth_batch(), language_model, save_every=100)
    assert not list((tmp_path / "checkpoints").glob("ckpt-*"))


class RootModel(ReplicaExactModel):
    """A loss of 0 whose gradient is not finite: the square root at 0."""

    def __init__(self):
        super().__init__(loss_weights={"root": 1.0}, random_seed=1)
        self.scale = self.add_weight(shape=(), initializer="zeros", name="scale")
        self.compile_for(tiny.pretraining_config(), STEPS, 0)

    def compute_terms(self, batch, training):
        roots = tf.sqrt(self.scale) * batch["example_weight"]
        return Terms({"root": (roots, batch["example_weight"])}, {})

    def compute_weights(self, batch):
        return {"root": batch["example_weight"]}


def test_a_gradient_that_is_not_finite_ends_the_run_although_the_loss_is_fine(tmp_path):
    with pytest.raises(InputError, match=r"update 1 is not finite \(gradient_norm (inf|nan)\), "):
        run(tmp_path, [tiny.batch()] * STEPS, RootModel)


@pytest.mark.parametrize("clip_norm", [0.05, 0.0])
def test_the_gradient_norm_is_that_before_clipping(clip_norm):
    config = tiny.pretraining_config(clip_norm=clip_norm)
    model = tiny.language_model(config=config, num_layers=1)
    batch = tiny.batch(seed=1)
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        summed, weight = model.compute_terms(tiny.tensors(batch), training=True).losses["masked_lm_loss"]
        loss = tf.reduce_sum(summed) / tf.reduce_sum(weight)
    gradients = [tf.convert_to_tensor(gradient).numpy() for gradient in tape.gradient(loss, variables)]
    expected = np.sqrt(sum(np.square(gradient.astype("float64")).sum() for gradient in gradients))
    assert expected > 0.05
    assert float(model.train_step(tiny.tensors(batch))["gradient_norm"]) == pytest.approx(expected, rel=1e-5)

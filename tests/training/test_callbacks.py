"""What a run leaves for TensorBoard and in metrics.jsonl, read back."""

import glob
import json

import pytest
import tensorflow as tf
import tiny

from chemkd_tf.training.evaluation import Evaluator
from chemkd_tf.training.loop import Schedule, train
from chemkd_tf.training.strategy import make_strategy
from chemkd_tf.workdir import WorkingDirectory

LOSSES = {"loss", "embedding_loss", "hidden_loss", "prediction_loss"}
FITS = {f"{fit}_{state}" for fit in ("r_squared", "cosine") for state in ("embedding", "hidden_1")}
ACCURACIES = {"masked_lm_accuracy_student", "masked_lm_accuracy_teacher"}
HELD_OUT = [tiny.batch(seed=seed) for seed in (50, 51, 52)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Seven updates of a distillation: a point every two updates, an evaluation every three."""
    folder = tmp_path_factory.mktemp("run")
    strategy = make_strategy(1)
    with strategy.scope():
        model = tiny.one_layer_distiller(num_train_steps=7)
    held_out = tf.data.Dataset.from_generator(lambda: HELD_OUT, output_signature={
        name: tf.TensorSpec(value.shape, value.dtype) for name, value in HELD_OUT[0].items()
    })  # fmt: skip
    evaluator = Evaluator(model, strategy, held_out, max_steps=2)
    with tiny.unoptimised_graphs():
        train(
            "test", model, strategy, lambda first: tf.data.Dataset.from_tensors(tiny.batch()).repeat(),
            Schedule(7, eval_every_steps=3, save_checkpoints_steps=100, log_every_steps=2),
            WorkingDirectory(str(folder)), evaluator,
        )  # fmt: skip
    return folder, model, evaluator


@pytest.fixture(scope="module")
def scalars(run):
    """Tag to {step: value}, from the event files."""
    points = {}
    for path in glob.glob(str(run[0] / "tensorboard" / "*")):
        for event in tf.compat.v1.train.summary_iterator(path):
            for value in event.summary.value:
                points.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    return points


def test_every_loss_and_every_matched_layer_has_its_curve(scalars):
    train_only = {
        "learning_rate", "examples_per_second", "tokens_per_second", "peak_memory_bytes", "gradient_norm",
        "seconds",
    }  # fmt: skip
    expected = {f"train/{name}" for name in LOSSES | FITS | ACCURACIES | train_only}
    expected |= {f"eval/{name}" for name in LOSSES | FITS | ACCURACIES}
    assert set(scalars) == expected


def test_points_stand_at_the_updates_they_were_made_after(scalars):
    for tag, points in scalars.items():
        assert sorted(points) == ([2, 4, 6, 7] if tag.startswith("train/") else [3, 6, 7]), tag


def test_metrics_jsonl_holds_the_same_numbers(run, scalars):
    lines = [json.loads(line) for line in (run[0] / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["split"]) for line in lines] == [
        (2, "train"), (3, "eval"), (4, "train"), (6, "train"), (6, "eval"), (7, "train"), (7, "eval"),
    ]  # fmt: skip
    for line in lines:
        step, split = line.pop("step"), line.pop("split")
        assert line == pytest.approx({name: scalars[f"{split}/{name}"][step] for name in line}, rel=1e-5)


def test_the_learning_rate_falls_and_the_speed_is_positive(scalars):
    rates = scalars["train/learning_rate"]
    assert rates[2] > rates[4] > rates[6] > rates[7] >= 0
    assert min(scalars["train/examples_per_second"].values()) > 0


def test_the_evaluation_adds_up_the_batches_it_may_take_before_it_divides(run):
    _, model, evaluator = run
    metrics = evaluator()
    each = [tiny.evaluate(model, batch) for batch in HELD_OUT[:2]]
    masked = [batch["mask_weights"].sum() for batch in HELD_OUT[:2]]
    tokens = [batch["padding_mask"].sum() for batch in HELD_OUT[:2]]
    for name, weights in (("prediction_loss", masked), ("hidden_loss", tokens), ("cosine_hidden_1", tokens)):
        expected = sum(one[name] * weight for one, weight in zip(each, weights, strict=True)) / sum(weights)
        assert metrics[name] == pytest.approx(expected, rel=1e-5), name
    assert evaluator() == metrics

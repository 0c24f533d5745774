"""Pretraining as a stage: what its flags change, and what they must not."""

import json

import numpy as np
import pipeline
import pytest
import tiny

from chemkd_tf.errors import InputError
from chemkd_tf.stages import pretrain


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return pipeline.build(tmp_path_factory)


@pytest.fixture(autouse=True, scope="module")
def _quick():
    with tiny.unoptimised_graphs():
        yield


def assert_same_weights(one, other):
    expected, found = (pipeline.arrays(folder / "model.weights.h5") for folder in (one, other))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # A bias of the keys changes no attention: its gradient is rounding errors alone, which Adam makes larger.
        without_gradient = "key_dense" in name or "key" in name.split("/")
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-3 if without_gradient else 1e-6, err_msg=name)


@pytest.mark.slow
def test_accumulated_and_compiled_updates_lead_to_the_same_model(built, tmp_path):
    common = {"hidden_dropout_prob": 0.0, "num_replicas": 1, "train_batch_size": 5}
    for name, changes in {
        "plain": {},
        "accumulated": {"gradient_accumulation_steps": 2},  # 5 rows: one is filled
        "both": {"gradient_accumulation_steps": 2, "use_xla": True},
    }.items():
        pretrain.train_and_evaluate(pipeline.pretraining(built, tmp_path / name, **common, **changes))
    assert_same_weights(tmp_path / "plain", tmp_path / "accumulated")
    assert_same_weights(tmp_path / "plain", tmp_path / "both")


def test_a_run_may_go_on_with_more_micro_batches(built, tmp_path):
    pretrain.train_and_evaluate(pipeline.pretraining(built, tmp_path))
    pretrain.train_and_evaluate(pipeline.pretraining(built, tmp_path, gradient_accumulation_steps=2))
    assert json.loads((tmp_path / "config.json").read_text())["gradient_accumulation_steps"] == 1


@pytest.mark.slow
def test_batches_of_tokens_lead_to_the_same_model_on_two_replicas_and_in_micro_batches(built, tmp_path):
    common = {"hidden_dropout_prob": 0.0, "train_batch_tokens": 3 * pipeline.TOKENS + 7}
    for name, changes in {
        "one": {"num_replicas": 1},
        "two": {"num_replicas": 2},
        "accumulated": {"num_replicas": 2, "gradient_accumulation_steps": 2},
    }.items():
        pretrain.train_and_evaluate(pipeline.pretraining(built, tmp_path / name, **common, **changes))
    assert_same_weights(tmp_path / "one", tmp_path / "two")
    assert_same_weights(tmp_path / "one", tmp_path / "accumulated")


@pytest.mark.slow
def test_batches_of_tokens_can_be_compiled_on_two_replicas(built, tmp_path):
    config = pipeline.pretraining(
        built, tmp_path, num_replicas=2, use_xla=True, train_batch_tokens=4 * pipeline.TOKENS, log_every_steps=1
    )
    pretrain.train_and_evaluate(config)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3] and all(np.isfinite(line["loss"]) for line in lines)


def test_a_budget_below_a_row_is_refused(built, tmp_path):
    with pytest.raises(InputError, match="--train_batch_tokens=23: a row of the records has up to 24 tokens: at least"):
        pretrain.train_and_evaluate(pipeline.pretraining(built, tmp_path, train_batch_tokens=23))

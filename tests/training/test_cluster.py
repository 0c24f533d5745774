"""TF_CONFIG: what TensorFlow documents is read, everything else is one line."""

import json

import pytest

from chemkd_tf.config import ClassificationConfig
from chemkd_tf.errors import InputError
from chemkd_tf.stages import classify
from chemkd_tf.training.cluster import cluster_from_environment
from chemkd_tf.training.strategy import make_strategy

TWO = {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}
FIRST = {"type": "worker", "index": 0}


def read(monkeypatch, value):
    monkeypatch.setenv("TF_CONFIG", value if isinstance(value, str) else json.dumps(value))
    return cluster_from_environment()


@pytest.mark.parametrize("value", ["", "{}", {"cluster": {}}, {"cluster": {"worker": ["a:1"]}, "task": FIRST}])
def test_one_machine_is_no_cluster(monkeypatch, value):
    assert read(monkeypatch, value) is None


def test_without_the_variable_there_is_no_cluster(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert cluster_from_environment() is None


@pytest.mark.parametrize("index", [1, "1"])
def test_workers_in_their_order(monkeypatch, index):
    cluster = read(monkeypatch, {"cluster": TWO, "task": {"type": "worker", "index": index}})
    assert (cluster.names, cluster.addresses) == (("worker 0", "worker 1"), ("10.0.0.1:2222", "10.0.0.2:2222"))
    assert (cluster.index, cluster.is_chief, cluster.describe(0)) == (1, False, "worker 0 (10.0.0.1:2222)")


def test_a_chief_stands_before_the_workers(monkeypatch):
    cluster = read(
        monkeypatch, {"cluster": {"worker": ["b:1"], "chief": ["a:1"]}, "task": {"type": "worker", "index": 0}}
    )
    assert (cluster.names, cluster.index, cluster.is_chief) == (("chief 0", "worker 0"), 1, False)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("{cluster", "is not JSON"),
        ("[1]", "is no JSON object"),
        ({"cluster": [1], "task": FIRST}, "its cluster is no JSON object"),
        ({"cluster": {**TWO, "ps": ["a:1"]}, "task": FIRST}, "the cluster has 'ps'; there are only workers here"),
        ({"cluster": {**TWO, "evaluator": ["a:1"]}, "task": FIRST}, "the cluster has 'evaluator'"),
        ({"cluster": {"worker": "a:1"}, "task": FIRST}, "'worker' is no list of HOST:PORT"),
        ({"cluster": {"worker": ["a:1", "b"]}, "task": FIRST}, "'worker' is no list of HOST:PORT"),
        ({"cluster": {"worker": ["a:1", "b:70000"]}, "task": FIRST}, "'worker' is no list of HOST:PORT"),
        ({"cluster": {"worker": ["a:1", "a:1"]}, "task": FIRST}, "a:1 stands there twice"),
        ({"cluster": {"chief": ["a:1", "b:1"]}, "task": FIRST}, "2 chiefs, there can be one"),
        ({"cluster": {"worker": []}, "task": FIRST}, "the cluster has no worker"),
        ({"cluster": TWO}, "no task with type and index"),
        ({"cluster": TWO, "task": {"type": "worker"}}, "no task with type and index"),
        ({"cluster": TWO, "task": {"type": "worker", "index": None}}, "the task's index is None, no number"),
        (
            {"cluster": TWO, "task": {"type": "worker", "index": 2}},
            "the task is worker 2, but the cluster has worker 0, worker 1",
        ),
        ({"cluster": TWO, "task": {"type": "evaluator", "index": 0}}, "the task is evaluator 0, but the cluster has"),
    ],
)
def test_a_broken_configuration_is_one_line_that_says_what_to_write(monkeypatch, value, found):
    with pytest.raises(InputError) as error:
        read(monkeypatch, value)
    line = str(error.value)
    assert line.startswith("TF_CONFIG") and found in line and "\n" not in line
    assert '"task": {"type": "worker", "index": 0}' in line


def test_a_strategy_is_not_made_from_a_broken_configuration(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{")
    with pytest.raises(InputError, match="TF_CONFIG is not JSON"):
        make_strategy()


def test_a_classifier_is_trained_on_one_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": TWO, "task": FIRST}))
    config = ClassificationConfig(do_train=True, data_dir="labels", init_checkpoint="run", output_dir=str(tmp_path))
    with pytest.raises(InputError, match=r"TF_CONFIG names 2 workers, but run_classifier.py runs on one machine"):
        classify.run(config)

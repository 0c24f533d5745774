"""ONNX files against the Keras model, in ONNX Runtime, and as a stranger uses them: with nothing of this package."""

import dataclasses
import json
import os

import numpy as np
import onnx as onnx_format
import onnxruntime
import pytest
from export import random_classifier
from export.random_classifier import LABELS, ODD, STUDENT, TOKENS, expected, expected_of_texts, make, texts, token_rows

from chemkd_tf.config import ClassificationConfig
from chemkd_tf.errors import InputError
from chemkd_tf.export import client, onnx, onnx_bilstm
from chemkd_tf.export.artefact import run_id
from chemkd_tf.export.formats import FORMATS
from chemkd_tf.models.architecture import TeacherArchitecture
from chemkd_tf.stages import classify

VARIANTS = {
    "max": ({}, "max"),
    "mean": ({}, "mean"),
    "cls": ({}, "cls"),
    "last": ({}, "last"),
    "token embedding": ({"embedding": "token"}, "max"),
    "wide directions": ({"units_per_direction": 20}, "last"),
    "narrow directions, three layers, dropout": (
        {"units_per_direction": 7, "num_layers": 3, "dropout": 0.5},
        "mean",
    ),
}
FAMILIES = {
    "bert": {},
    "albert": {"embedding_dim": 8, "num_groups": 1},
    "electra": {"embedding_dim": 8},
    "distilbert": {"num_segments": 0},
}


def session(model: bytes | str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def answer(model: onnxruntime.InferenceSession, token_ids: np.ndarray) -> np.ndarray:
    (probabilities,) = model.run(None, {"token_ids": token_ids})
    assert probabilities.dtype == np.float32
    return probabilities


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_graph_of_a_student_gives_the_probabilities_of_keras(tmp_path, variant):
    changes, pooling = VARIANTS[variant]
    classifier = make(tmp_path, dataclasses.replace(STUDENT, **changes), pooling)
    graph = session(onnx_bilstm.build(classifier).SerializeToString())
    for rows in (1, 7, 64):
        token_ids = token_rows(rows)
        found = answer(graph, token_ids)
        np.testing.assert_allclose(found, expected(classifier, token_ids), rtol=0, atol=1e-5)
    assert np.ptp(found, axis=0).max() > 0.05
    # As short as its one text: the same answer.
    for row in token_ids[:12]:
        alone = answer(graph, row[None, : np.count_nonzero(row)])
        np.testing.assert_allclose(alone, expected(classifier, row[None]), rtol=0, atol=1e-5)


def test_rows_that_no_tokeniser_makes_are_answered(exported, classifier):
    (graph, _) = map(session, exported)
    (only_padding,) = answer(graph, np.zeros((3, 5), np.int32))[:1]
    assert np.isfinite(only_padding).all() and only_padding.sum() == pytest.approx(1, abs=1e-5)
    longer = np.concatenate([token_rows(7), np.full((7, 30), 9, np.int32)], axis=1)
    longer[0, TOKENS - 1] = 8
    np.testing.assert_allclose(answer(graph, longer)[:1], expected(classifier, longer[:1, :TOKENS]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("rows", [0, 1, 7, 64])
def test_strings_give_the_probabilities_of_keras(classifier, exported, rows):
    given = texts(rows)
    found = client.Classifier(exported[0])(given)
    assert found.shape == (rows, len(LABELS)) and found.dtype == np.float32
    if rows:
        np.testing.assert_allclose(found, expected_of_texts(classifier, given), rtol=0, atol=1e-5)


def test_odd_strings_give_the_probabilities_of_keras_alone_and_in_company(classifier, exported):
    given, answers = list(ODD.values()), client.Classifier(exported[0])
    oracle = expected_of_texts(classifier, given)
    np.testing.assert_allclose(answers(given), oracle, rtol=0, atol=1e-5)
    alone = np.concatenate([answers([text]) for text in given])
    np.testing.assert_allclose(alone, oracle, rtol=0, atol=1e-5)


def test_int8_stays_near_keras(classifier, exported):
    given = texts(400)
    found, oracle = client.Classifier(exported[1])(given), expected_of_texts(classifier, given)
    assert np.abs(found - oracle).mean() < 1e-2
    # Random weights make near ties, which trained ones hardly have.
    first, second = np.sort(oracle, axis=1)[:, :-3:-1].T
    clear = first - second > 0.05
    assert clear.mean() > 0.8
    assert (found.argmax(axis=1) == oracle.argmax(axis=1))[clear].mean() >= 0.99


def test_the_operators_are_the_native_ones(exported):
    operators = [[node.op_type for node in onnx_format.load(path).graph.node] for path in exported]
    assert operators[0].count("LSTM") == operators[1].count("DynamicQuantizeLSTM") == STUDENT.num_layers
    assert not {"Loop", "Scan", "If"} & {*operators[0], *operators[1]}
    assert "LSTM" not in operators[1]


def test_int8_leaves_no_table_and_no_matrix_in_float(exported):
    sizes = [
        tensor.dims
        for tensor in onnx_format.load(exported[1]).graph.initializer
        if tensor.data_type == onnx_format.TensorProto.FLOAT and np.prod(tensor.dims) > 8 * STUDENT.hidden_dim
    ]
    assert sizes == []


def test_input_output_and_metadata_are_the_documented_ones(exported, classifier):
    for path in exported:
        loaded = session(path)
        (given,), (returned,) = loaded.get_inputs(), loaded.get_outputs()
        assert (given.name, given.type, given.shape) == ("token_ids", "tensor(int32)", ["batch", "length"])
        assert (returned.name, returned.type, returned.shape) == ("probabilities", "tensor(float)", ["batch", 4])
        metadata = loaded.get_modelmeta().custom_metadata_map
        assert json.loads(metadata["labels"]) == list(LABELS)
        assert metadata["run_id"] == run_id(classifier)
        assert metadata["max_seq_length"] == str(TOKENS) and metadata["do_lower_case"] == "true"


def test_the_folder_holds_what_a_client_needs(exported):
    folder = os.path.dirname(exported[0])
    companions = ["artefact.json", "client.py", "labels.txt", "vocab.txt"]
    assert sorted(os.listdir(folder)) == sorted(
        [*companions, "fp32.onnx", "fp32.two_threads.zip", "int8.onnx", "int8.two_threads.zip"]
    )
    assert os.listdir(os.path.dirname(folder)) == ["onnx"]
    with open(os.path.join(folder, "artefact.json"), encoding="utf-8") as file:
        assert json.load(file)["files"] == ["fp32.onnx", "int8.onnx"]


def convert(tmp_path, family: str) -> None:
    shape = dict(vocabulary_size=STUDENT.vocabulary_size, num_layers=2, num_heads=2, hidden_dim=16,
                 intermediate_dim=24, max_sequence_length=48)  # fmt: skip
    classifier = make(tmp_path, TeacherArchitecture(family=family, **shape, **FAMILIES[family]), "mean")
    paths = onnx.export(classifier, str(tmp_path / "onnx"))
    given = [*texts(7), *ODD.values()]
    oracle = expected_of_texts(classifier, given)
    assert np.ptp(oracle, axis=0).max() > 0.1
    float_answers, int8_answers = (client.Classifier(path)(given) for path in paths)
    np.testing.assert_allclose(float_answers, oracle, rtol=0, atol=1e-5)
    assert np.abs(int8_answers - oracle).mean() < 2e-2
    (given,) = session(paths[0]).get_inputs()
    assert (given.name, given.type, given.shape) == ("token_ids", "tensor(int32)", ["batch", "length"])


def test_a_bert_gives_the_probabilities_of_keras(tmp_path):
    convert(tmp_path, "bert")


@pytest.mark.slow
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "bert"])
def test_other_transformers_give_the_probabilities_of_keras(tmp_path, family):
    convert(tmp_path, family)


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "tf2onnx"])
def test_a_missing_package_is_named_before_anything_is_written(classifier, tmp_path, monkeypatch, missing):
    find = onnx.importlib.util.find_spec
    monkeypatch.setattr(onnx.importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    advice = rf"--export_formats=onnx needs {missing}: pip install 'chemkd_tf\[onnx\]'"
    with pytest.raises(InputError, match=advice):
        FORMATS["onnx"].export(classifier, str(tmp_path / "onnx"))
    config = ClassificationConfig(
        do_train=True, do_export=True, export_formats="saved_model,onnx", output_dir=str(tmp_path / "run"),
        data_dir=str(tmp_path / "nothing"), init_checkpoint=str(tmp_path / "nothing"),
    )  # fmt: skip
    with pytest.raises(InputError, match=advice):
        classify.run(config)
    assert os.listdir(tmp_path) == []


def test_the_random_classifier_is_hard_enough():
    assert set(random_classifier.CHARACTERS) <= set(random_classifier.PIECES)
    assert {len(text) for text in texts(64)} >= {0, TOKENS}

"""LiteRT files against the Keras model, in LiteRT, and as a stranger uses them: with nothing of this package."""

import builtins
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from ai_edge_litert.interpreter import Interpreter
from export.random_classifier import LABELS, ODD, STUDENT, TOKENS, expected, expected_of_texts, make, texts
from tensorflow.lite.python import schema_py_generated as schema

from chemkd_tf.errors import InputError
from chemkd_tf.export import client, litert, litert_tables
from chemkd_tf.export.artefact import run_id
from chemkd_tf.export.formats import FORMATS, load_predictor
from chemkd_tf.models.architecture import StudentArchitecture, TeacherArchitecture
from chemkd_tf.models.classifier import ClassifierDescription, TextClassifier

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "litert.md"
FILES = ["fp32.tflite", "fp16.tflite", "int8.tflite"]
VARIANTS = {
    "max": ({}, "max"),
    "mean, token embedding": ({"embedding": "token"}, "mean"),
    "cls, wide directions": ({"units_per_direction": 20}, "cls"),
    "last, narrow directions, three layers": ({"units_per_direction": 7, "num_layers": 3, "dropout": 0.5}, "last"),
}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return make(tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def exported(classifier, tmp_path_factory):
    return litert.export(classifier, str(tmp_path_factory.mktemp("export") / "litert"))


def answers_to_ids(model: bytes, rows: list[np.ndarray]) -> np.ndarray:
    interpreter = Interpreter(model_content=model, num_threads=1)
    (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for row in rows:
        interpreter.resize_tensor_input(given["index"], row[None].shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], row[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(answer["index"])[0])
    return np.stack(found)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_graph_of_a_student_gives_the_probabilities_of_keras(tmp_path, variant):
    changes, pooling = VARIANTS[variant]
    architecture = StudentArchitecture(**{**vars(STUDENT), **changes})
    made = make(tmp_path, architecture, pooling)
    rng = np.random.default_rng(4)
    padded = np.zeros((TOKENS, TOKENS), np.int32)
    rows = [rng.integers(1, architecture.vocabulary_size, length).astype(np.int32) for length in range(1, TOKENS + 1)]
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    oracle = expected(made, padded)
    model = litert.convert(made, litert.PRECISIONS["fp32"])
    # Every length by itself, then with padding, then with more padding than the model takes tokens.
    np.testing.assert_allclose(answers_to_ids(model, rows), oracle, rtol=0, atol=1e-5)
    np.testing.assert_allclose(answers_to_ids(model, list(padded)), oracle, rtol=0, atol=1e-5)
    longer = list(np.pad(padded[::5], ((0, 0), (0, 9))))
    np.testing.assert_allclose(answers_to_ids(model, longer), oracle[::5], rtol=0, atol=1e-5)


def test_a_bert_gives_the_probabilities_of_keras(tmp_path):
    made = make(
        tmp_path,
        TeacherArchitecture(
            vocabulary_size=STUDENT.vocabulary_size, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=24,
            max_sequence_length=TOKENS,
        ),
        "mean",
    )  # fmt: skip
    rows = [np.arange(1, length + 1, dtype=np.int32) for length in (2, 3, 7, TOKENS)]
    oracle = np.concatenate([expected(made, row[None]) for row in rows])
    model = litert.convert(made, litert.PRECISIONS["fp32"])
    np.testing.assert_allclose(answers_to_ids(model, rows), oracle, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_strings_give_the_probabilities_of_keras(classifier, exported, rows):
    given = texts(rows)
    oracle = expected_of_texts(classifier, given)
    found = load_predictor(exported[0])(given)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, oracle, rtol=0, atol=1e-5)


def test_odd_strings_and_long_ones_give_the_probabilities_of_keras(classifier, exported):
    given = [*ODD.values(), ("酸碱盐" * 4000).encode()]
    found = client.Classifier(exported[0])(given)
    np.testing.assert_allclose(found, expected_of_texts(classifier, given), rtol=0, atol=1e-5)


@pytest.mark.parametrize("file, mean_difference", [(1, 1e-3), (2, 1e-2)], ids=["fp16", "int8"])
def test_smaller_files_stay_near_keras(classifier, exported, file, mean_difference):
    given = texts(200)
    oracle = expected_of_texts(classifier, given)
    found = client.Classifier(exported[file])(given)
    difference = np.abs(found - oracle)
    assert 0 < difference.mean() < mean_difference
    # Where the answer is clear, it is the same.
    best = np.sort(oracle, axis=1)
    clear = best[:, -1] - best[:, -2] > 20 * mean_difference
    assert clear.sum() > 100
    assert (found.argmax(axis=1) == oracle.argmax(axis=1))[clear].all()


def test_no_row_of_an_int8_table_is_off_by_more_than_half_a_step():
    rng = np.random.default_rng(0)
    table = (rng.normal(size=(30, 8)) * np.logspace(-6, 3, 30)[:, None]).astype(np.float32)
    table[7] = 0
    ids = np.array([29, 0, 7, 7, 12], np.int32)
    found = litert_tables.int8_rows(table, ids).numpy()
    largest = np.abs(table[ids]).max(axis=1, keepdims=True)
    assert (np.abs(found - table[ids]) <= largest / 127 * 0.501).all()


def test_a_student_of_the_papers_size_fits_into_six_megabytes(tmp_path):
    description = ClassifierDescription(StudentArchitecture(), tuple("0123456789"), "max", 128, True)
    paper = TextClassifier.__new__(TextClassifier)  # What lies on disk plays no part.
    paper.description, paper.network = description, description.build()
    paper.vocabulary = type("Vocabulary", (), {"pad_id": 0})()
    assert paper.network.count_params() == 4_974_000 + 201 * 10
    content = litert.convert(paper, litert.PRECISIONS["int8"])
    assert len(content) < 6e6
    row = np.arange(100, 228, dtype=np.int32)
    np.testing.assert_allclose(answers_to_ids(content, [row]), expected(paper, row[None]), rtol=0, atol=1e-2)


def operators(path: str) -> list[list[str]]:
    """Names of the operations of each subgraph, the main one first."""
    with open(path, "rb") as file:
        model = schema.ModelT.InitFromPackedBuf(bytearray(file.read()), 0)
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    return [
        [names[model.operatorCodes[operator.opcodeIndex].builtinCode] for operator in subgraph.operators]
        for subgraph in model.subgraphs
    ]


@pytest.mark.parametrize("file", range(3), ids=FILES)
def test_the_operators_are_built_in_and_each_layer_is_one_loop(exported, file):
    main, *loops = operators(exported[file])
    assert main.count("WHILE") == STUDENT.num_layers
    assert not {"CUSTOM", "UNIDIRECTIONAL_SEQUENCE_LSTM"} & {name for graph in [main, *loops] for name in graph}
    # No table is widened whole.
    assert not [name for name in main if name == "DEQUANTIZE"] or FILES[file] == "fp16.tflite"


def test_input_and_output_are_the_documented_ones(exported):
    for path in exported:
        interpreter = Interpreter(model_path=path)
        signature = interpreter.get_signature_list()
        assert signature == {"serving_default": {"inputs": ["token_ids"], "outputs": ["probabilities"]}}
        (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
        assert given["dtype"] == np.int32 and given["shape_signature"].tolist() == [1, -1]
        assert answer["dtype"] == np.float32 and answer["shape_signature"].tolist() == [1, len(LABELS)]


def test_the_folder_holds_what_a_client_needs(classifier, exported):
    folder = os.path.dirname(exported[0])
    assert [os.path.basename(path) for path in exported] == FILES
    assert sorted(os.listdir(folder)) == sorted([*FILES, "artefact.json", "client.py", "labels.txt", "vocab.txt"])
    description = client.Classifier(exported[0]).description
    assert description["files"] == FILES and description["run_id"] == run_id(classifier)


def test_the_table_of_formats_knows_the_files(exported):
    assert [FORMATS["litert"].is_model(path) for path in exported] == [True] * 3
    assert not FORMATS["litert"].is_model(os.path.dirname(exported[0]))


def test_an_export_without_the_runtime_works_and_an_answer_says_what_is_missing(exported, monkeypatch):
    real = builtins.__import__

    def without_runtime(name, *arguments, **more):
        if name.split(".")[0] == "ai_edge_litert":
            raise ModuleNotFoundError(f"No module named {name!r}", name="ai_edge_litert")
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without_runtime)
    with pytest.raises(InputError, match=r"int8.tflite needs ai_edge_litert: pip install 'chemkd_tf\[litert\]'"):
        load_predictor(exported[2])


def test_a_damaged_model_and_a_model_alone_are_refused_in_one_line(exported, tmp_path):
    alone = str(shutil.copy(exported[0], tmp_path))
    with pytest.raises(InputError, match="artefact.json is missing; keep the exported folder together"):
        load_predictor(alone)
    folder = tmp_path / "damaged"
    shutil.copytree(os.path.dirname(exported[0]), folder)
    (folder / "int8.tflite").write_bytes(b"no model at all")
    with pytest.raises(InputError, match="can.t be read") as refused:
        load_predictor(str(folder / "int8.tflite"))
    assert "\n" not in str(refused.value)


def test_something_else_is_never_replaced(classifier, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="something else is there"):
        litert.export(classifier, str(tmp_path))
    assert os.listdir(tmp_path) == ["thesis.txt"]


def answer_in_threads(path: str, seconds: float) -> int:
    """Eight threads with a model each; returns how many texts they answered, all as one thread does."""
    given = texts(32)
    right = client.Classifier(path)(given)
    models = [client.Classifier(path) for _ in range(8)]
    counts, wrong, end = [0] * 8, [], time.monotonic() + seconds

    def ask(thread):
        order = np.random.default_rng(thread)
        try:
            while time.monotonic() < end or not counts[thread]:
                index = order.integers(len(given))
                if not np.array_equal(models[thread]([given[index]])[0], right[index]):
                    wrong.append(index)
                counts[thread] += 1
        except Exception as error:  # A thread's exception would vanish with it.
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    return sum(counts)


def test_a_new_model_answers_texts_of_growing_length_as_an_old_one(exported):
    # An interpreter whose input grew answered one in some thousand texts wrongly, by up to 0.96; each of eight threads
    # made it ten times likelier.
    given = sorted(texts(32), key=len)
    right = client.Classifier(exported[0])(given)
    wrong, end = [], time.monotonic() + 4

    def ask(model, order):
        for index in np.sort(order.choice(len(given), 4, replace=False)):
            if not np.array_equal(model([given[index]])[0], right[index]):
                wrong.append(index)

    seeds = iter(range(1_000_000))
    while time.monotonic() < end:
        models = [client.Classifier(exported[0]) for _ in range(8)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(ask, models, [np.random.default_rng(next(seeds)) for _ in models]))
    assert not wrong


@pytest.mark.parametrize("file", range(3), ids=FILES)
def test_eight_threads_with_a_model_each_answer_as_one(exported, file):
    assert answer_in_threads(exported[file], seconds=0.7) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("file", range(3), ids=FILES)
def test_eight_threads_for_a_minute_need_no_more_memory(exported, file):
    answer_in_threads(exported[file], seconds=15)
    before = psutil.Process().memory_info().rss
    assert answer_in_threads(exported[file], seconds=60) > 1000
    assert psutil.Process().memory_info().rss < 1.02 * before


@pytest.mark.slow
def test_the_documented_example_runs_where_nothing_but_the_runtime_is_installed(classifier, exported, tmp_path):
    environment, folder = tmp_path / "environment", tmp_path / "litert"
    bare = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    subprocess.run([sys.executable, "-m", "venv", environment], check=True, env=bare)
    python = environment / "bin" / "python"
    requirement = "ai-edge-litert>=2.1,<3"
    subprocess.run([python, "-m", "pip", "install", "-q", requirement], check=True, cwd=tmp_path, env=bare)
    shutil.copytree(os.path.dirname(exported[0]), folder)
    example = re.search(r"```python\n(.+?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL).group(1)
    assert len(example.splitlines()) <= 20
    (folder / "example.py").write_text(example, encoding="utf-8")
    done = subprocess.run([python, "example.py"], cwd=folder, env=bare, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    answers = [line.split("\t") for line in done.stdout.splitlines()]
    oracle = expected_of_texts(classifier, [text for _, _, text in answers])
    assert len(answers) >= 2
    for (label, probability, _), row in zip(answers, oracle, strict=True):
        assert label == LABELS[row.argmax()]
        assert abs(float(probability) - row.max()) < 0.02

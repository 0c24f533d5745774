"""ONNX files as others use them: from many threads, without this package, by the example of the documents."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pipeline
import psutil
import pytest
from export.random_classifier import LABELS, ODD, expected, expected_of_texts, texts, token_rows

from chemkd_tf.errors import InputError
from chemkd_tf.export import client
from chemkd_tf.export.formats import load_predictor
from chemkd_tf.models.classifier import TextClassifier
from chemkd_tf.stages import classify


def test_predict_with_takes_both_files(exported, classifier):
    for path in exported:
        predictor = load_predictor(path)
        assert list(predictor.labels) == list(LABELS)
        np.testing.assert_allclose(predictor(["酸的溶液"]), classifier(["酸的溶液"]), rtol=0, atol=0.05)


def call_from_threads(answers: client.Classifier, seconds: float) -> int:
    """Eight threads ask, each in its own order, until the time is over; returns how many answers there were."""
    given = [*texts(40), *ODD.values()]
    right = [answers([text])[0] for text in given]
    until, counts, wrong = time.monotonic() + seconds, [0] * 8, []

    def ask(number):
        order = np.random.default_rng(number)
        while time.monotonic() < until:
            index = order.integers(len(given))
            if not np.allclose(answers([given[index]])[0], right[index], rtol=0, atol=1e-6):
                wrong.append(index)
            counts[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and min(counts) > 0
    return sum(counts)


@pytest.mark.parametrize("file", [0, 1], ids=["fp32", "int8"])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_eight_threads_share_one_session(exported, file, num_threads):
    answers = client.Classifier(exported[file], num_threads=num_threads)
    assert call_from_threads(answers, seconds=0.5) > 8


def test_batches_are_shared_out_and_come_back_in_order(classifier, exported):
    model = client.OnnxModel(exported[0], 2)
    assert [model.rows_at_once(number) for number in (0, 1, 2, 3, 31, 1000)] == [0, 1, 1, 2, 16, 16]
    rows = token_rows(9)
    for sizes in ([9], [1, 2, 6], [3, 3, 3]):
        starts = np.cumsum([0, *sizes])
        batches = [rows[start : start + size] for start, size in zip(starts, sizes, strict=False)]
        found = model(batches, list)
        assert [len(each) for each in found] == sizes
        np.testing.assert_allclose(np.concatenate(found), expected(classifier, rows), rtol=0, atol=1e-5)


def test_a_large_model_is_in_memory_once_a_small_one_for_each_thread(classifier, exported, monkeypatch):
    monkeypatch.setattr(client, "_MOST_COPIED", 1000)
    model, rows = client.OnnxModel(exported[0], 2), token_rows(5)
    assert model.rows_at_once(40) == 16 and not model._by_rows
    found = np.concatenate(model([slice(0, 2), slice(2, 5)], lambda some: [rows[each] for each in some]))
    np.testing.assert_allclose(found, expected(classifier, rows), rtol=0, atol=1e-5)
    for copies in (1, 2, 3, 100):
        monkeypatch.setattr(client, "_MOST_COPIED", copies * os.path.getsize(exported[0]))
        model = client.OnnxModel(exported[0], 3)
        assert len(model._by_rows) == min(copies, 3)
        found = np.concatenate(model([rows[[number]] for number in range(5)], list))
        np.testing.assert_allclose(found, expected(classifier, rows), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("file", [0, 1], ids=["fp32", "int8"])
def test_eight_threads_for_a_minute_need_no_more_memory(exported, file):
    answers = client.Classifier(exported[file])
    call_from_threads(answers, seconds=15)
    before = psutil.Process().memory_info().rss
    assert call_from_threads(answers, seconds=60) > 1000
    assert psutil.Process().memory_info().rss < 1.02 * before


def test_a_model_without_its_companions_is_refused_in_one_line(exported, tmp_path):
    alone = str(shutil.copy(exported[0], tmp_path))
    with pytest.raises(InputError, match="artefact.json is missing; keep the exported folder together"):
        load_predictor(alone)


@pytest.mark.parametrize("content", [b"no model", b""])
def test_a_damaged_model_is_refused_in_one_line(exported, tmp_path, content):
    folder = shutil.copytree(os.path.dirname(exported[0]), tmp_path / "onnx")
    (folder / "fp32.onnx").write_bytes(content)
    with pytest.raises(InputError, match=r"fp32.onnx: can't be read \(.*\); export it again"):
        load_predictor(str(folder / "fp32.onnx"))


STRANGER = """
import json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("chemkd_tf", "tensorflow", "keras", "keras_nlp", "onnx", "absl", "jieba"):
            raise ModuleNotFoundError(f"{name} is not installed here")

sys.meta_path.insert(0, Absent())
folder, questions, answers = sys.argv[1:]
sys.path.insert(0, folder)
from client import Classifier
classifier = Classifier(folder + "/fp32.onnx", num_threads=1)
with open(questions) as file:
    texts = json.load(file)
streamed = [(label, probabilities.tolist()) for label, probabilities in classifier.stream(iter(texts))]
with open(answers, "w") as file:
    json.dump([classifier.labels, classifier.classify(texts), streamed], file)
"""


def test_a_stranger_without_this_package_gets_the_same_answers(classifier, exported, tmp_path):
    given = texts(50)
    for name, content in {"questions.json": json.dumps(given), "stranger.py": STRANGER}.items():
        (tmp_path / name).write_text(content)
    arguments = [tmp_path / "stranger.py", os.path.dirname(exported[0])]
    arguments += [tmp_path / name for name in ("questions.json", "answers.json")]
    # PYTHONPATH may be where the runtime lies; the package itself is kept out by name.
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    labels, classified, streamed = json.loads((tmp_path / "answers.json").read_text())
    oracle = expected_of_texts(classifier, given)
    best = [LABELS[index] for index in oracle.argmax(axis=1)]
    assert labels == list(LABELS) and classified == best == [label for label, _ in streamed]
    np.testing.assert_allclose([probabilities for _, probabilities in streamed], oracle, rtol=0, atol=1e-5)


def test_streaming_answers_before_the_last_text_is_read(exported, monkeypatch):
    monkeypatch.setattr(client, "_TEXTS_AT_ONCE", 10)
    read = []
    given = texts(35)
    stream = client.Classifier(exported[0]).stream(read.append(text) or text for text in given)
    label, probabilities = next(stream)
    assert len(read) == 10 and label in LABELS and probabilities.shape == (len(LABELS),)
    assert len(list(stream)) == 34


EXAMPLE = re.search(
    r"<!-- example -->\n```python\n(.*?)```", (pipeline.ROOT / "docs/onnx.md").read_text(encoding="utf-8"), re.DOTALL
)[1]


def test_the_example_of_the_documents_is_short():
    assert len(EXAMPLE.strip().splitlines()) <= 20


@pytest.mark.slow
def test_a_user_trains_exports_and_keeps_nothing_but_the_exported_folder(tmp_path_factory, tmp_path):
    """In a fresh environment with onnxruntime alone, the example of docs/onnx.md answers as the trained classifier."""
    built = pipeline.build(tmp_path_factory)
    config = pipeline.classification(built, built.classifier, do_train=False, do_export=True, export_formats="onnx",
                                     export_dir=str(tmp_path / "user" / "export"))  # fmt: skip
    classify.run(config)
    given = [text for text, _ in pipeline.random_texts(5, 30)]
    (tmp_path / "user" / "texts.txt").write_text("".join(text + "\n" for text in given), encoding="utf-8")
    python = str(tmp_path / "venv" / "bin" / "python")
    # What lies on PYTHONPATH would count as installed.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for command in (
        [sys.executable, "-m", "venv", str(tmp_path / "venv")],
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "onnxruntime>=1.22,<2"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
    done = subprocess.run(
        [python, "-I", "-c", EXAMPLE], cwd=tmp_path / "user", capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert lines[0] == str(sorted(pipeline.LABELS))
    oracle = TextClassifier(built.classifier)(given)
    answered = [line.split("\t") for line in lines[-len(given) :]]
    np.testing.assert_allclose([float(best) for _, best in answered], oracle.max(axis=1), rtol=0, atol=0.02)
    names, clear = sorted(pipeline.LABELS), np.ptp(np.sort(oracle, axis=1)[:, -2:], axis=1) > 0.03
    assert clear.any()
    for (label, _), row in zip([answered[i] for i in np.flatnonzero(clear)], oracle[clear], strict=True):
        assert label == names[row.argmax()]

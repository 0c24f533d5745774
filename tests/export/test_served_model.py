"""The SavedModel in a server's hands: any batch, any bytes, many threads, and the tools that come with TensorFlow."""

import dataclasses
import os
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest
import tensorflow as tf
from export import random_classifier
from tensorflow.core.protobuf import saved_model_pb2

from chemkd_tf.atomic import write_json
from chemkd_tf.export import saved_model
from chemkd_tf.models import bilstm
from chemkd_tf.models.classifier import DESCRIPTION_FILE, TextClassifier
from chemkd_tf.workdir import read_json

TOKENS = 128
ARCHITECTURE = dataclasses.replace(random_classifier.STUDENT, hidden_dim=64, max_sequence_length=TOKENS)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """Takes 128 tokens, as the paper's student does."""
    folder = tmp_path_factory.mktemp("classifier")
    random_classifier.make(folder, ARCHITECTURE)
    path = str(folder / DESCRIPTION_FILE)
    write_json(path, {**read_json(path), "max_seq_length": TOKENS})
    return TextClassifier(str(folder))


@pytest.fixture(scope="module")
def exported(classifier, tmp_path_factory):
    (path,) = saved_model.export(classifier, str(tmp_path_factory.mktemp("export") / "1"))
    return path


@pytest.fixture(scope="module")
def loaded(exported):
    return tf.saved_model.load(exported)


def expected(classifier, texts) -> np.ndarray:
    ids = classifier.tokenizer.encode(tf.constant(texts), TOKENS)["token_ids"].numpy()
    return random_classifier.expected(classifier, ids)


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_every_batch_gets_the_probabilities_of_keras(classifier, loaded, rows):
    texts = random_classifier.texts(rows, longest=150)
    found = loaded.signatures["serving_default"](texts=tf.constant(texts))["probabilities"].numpy()
    np.testing.assert_allclose(found, expected(classifier, texts), rtol=0, atol=1e-5)


def test_every_length_gets_the_probabilities_of_keras(classifier, exported):
    lengths = [*range(0, 130, 3), 125, 126, 127, 128, 1000]
    texts = [("酸碱盐水温度压力" * 200)[shift : shift + length] for shift, length in enumerate(lengths)]
    found = saved_model.SavedModelClassifier(exported)(texts)
    np.testing.assert_allclose(found, expected(classifier, texts), rtol=0, atol=1e-5)


def test_no_texts_get_no_answers(exported):
    assert saved_model.SavedModelClassifier(exported)([]).shape == (0, len(random_classifier.LABELS))


def test_ten_thousand_random_byte_strings_get_a_defined_answer(loaded):
    rng = np.random.default_rng(5)
    pieces = [bytes([byte]) for byte in range(256)] + ["酸".encode(), "ａ".encode(), "😀".encode(), b"ab", b" "] * 10
    texts = [b"".join(rng.choice(pieces, rng.integers(0, 40))) for _ in range(9_000)]
    texts += [rng.bytes(rng.integers(0, 300)) for _ in range(1_000)]
    invalid = 0
    for start in range(0, len(texts), 500):
        batch = texts[start : start + 500]
        invalid += sum(1 for text in batch if text.decode("utf-8", "replace").count("\ufffd"))
        answer = {key: value.numpy() for key, value in loaded.signatures["serving_default"](tf.constant(batch)).items()}
        assert set(answer["label"]) <= {label.encode() for label in random_classifier.LABELS}
        assert answer["probabilities"].min() >= 0
        np.testing.assert_allclose(answer["probabilities"].sum(axis=1), 1, atol=1e-5)
    assert invalid > 5_000


def test_a_short_text_costs_less_than_a_long_one(loaded):
    """It is not padded to 128 tokens: 8 tokens are a sixteenth of the steps."""
    classify = loaded.signatures["serving_default"]

    def fastest(text):
        took = []
        for _ in range(30):
            begun = time.perf_counter()
            classify(texts=tf.constant([text]))
            took.append(time.perf_counter() - begun)
        return min(took)

    classify_ids = loaded.signatures["token_ids"]
    assert classify_ids(token_ids=tf.constant([[2, 7, 3]]))["probabilities"].shape == (1, len(random_classifier.LABELS))
    assert fastest("酸碱盐水温度") < 0.8 * fastest("酸碱盐水温度" * 21)


def test_a_host_with_a_gpu_exports_the_same_operations(classifier, exported, tmp_path, monkeypatch):
    monkeypatch.setattr(bilstm, "_fused_kernel_serves", lambda dtype: False)
    elsewhere = TextClassifier(os.path.dirname(classifier.vocabulary_file))
    (path,) = saved_model.export(elsewhere, str(tmp_path / "1"))
    here, there = ([node.op for node in nodes(folder)] for folder in (exported, path))
    assert there.count("BlockLSTMV2") == here.count("BlockLSTMV2") > 0
    assert not {"While", "StatelessWhile"} & {*here, *there}


def nodes(folder):
    model = saved_model_pb2.SavedModel()
    with open(os.path.join(folder, "saved_model.pb"), "rb") as file:
        model.ParseFromString(file.read())
    graph = model.meta_graphs[0].graph_def
    return [*graph.node, *(node for function in graph.library.function for node in function.node_def)]


def test_the_command_line_tool_shows_what_is_documented(exported):
    """Without tensorflow_text, whose operations it does not know."""
    command = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", "show", "--dir", exported, "--all"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"})
    assert done.returncode == 0, done.stderr[-2000:]
    shown = " ".join(done.stdout.split())
    for part in (
        "signature_def['serving_default']",
        "inputs['texts'] tensor_info: dtype: DT_STRING shape: (-1)",
        "signature_def['token_ids']",
        "inputs['token_ids'] tensor_info: dtype: DT_INT32 shape: (-1, -1)",
        "outputs['label'] tensor_info: dtype: DT_STRING shape: (-1)",
        "outputs['label_id'] tensor_info: dtype: DT_INT32 shape: (-1)",
        "outputs['probabilities'] tensor_info: dtype: DT_FLOAT shape: (-1, 4)",
        "Method name is: tensorflow/serving/predict",
    ):
        assert part in shown, part


def answer_in_threads(loaded, seconds: float) -> tuple[int, list]:
    """Eight threads ask one model for so long. Returns how often, and what differed from the answers of one thread."""
    classify = loaded.signatures["serving_default"]
    batches = [random_classifier.texts(rows, longest=150, seed=rows) for rows in (1, 2, 7, 16)]
    alone = [classify(texts=tf.constant(texts))["probabilities"].numpy() for texts in batches]
    asked, wrong, end = [0] * 8, [], time.monotonic() + seconds

    def ask(thread):
        try:
            while time.monotonic() < end:
                index = (asked[thread] + thread) % len(batches)
                found = classify(texts=tf.constant(batches[index]))["probabilities"].numpy()
                asked[thread] += 1
                if not np.allclose(found, alone[index], rtol=0, atol=1e-6):
                    wrong.append(index)
        except Exception as error:  # A thread's exception would vanish with it.
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(asked), wrong


def test_eight_threads_share_one_model(loaded):
    asked, wrong = answer_in_threads(loaded, 2)
    assert asked >= 8 and not wrong


@pytest.mark.slow
def test_eight_threads_for_a_minute_need_no_more_memory(loaded):
    process = psutil.Process()
    answer_in_threads(loaded, 20)
    before = process.memory_info().rss
    asked, wrong = answer_in_threads(loaded, 60)
    assert asked >= 100 and not wrong
    assert process.memory_info().rss < 1.02 * before

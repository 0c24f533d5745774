"""The page in a real browser: the labels and probabilities of Keras, then again with the server gone."""

import http.server
import json
import os
import pathlib
import shutil
import subprocess
import threading
from functools import partial

import numpy as np
import pytest
import tiny

from chemkd_tf.export.formats import FORMATS
from chemkd_tf.models.architecture import StudentArchitecture
from chemkd_tf.models.classifier import ClassifierDescription, ClassifierParts, TextClassifier
from chemkd_tf.text.tokenization import BertTokenizer
from chemkd_tf.text.vocabulary import vocabulary_of

pytestmark = pytest.mark.slow

HERE = pathlib.Path(__file__).parent
WEB = HERE.parents[1] / "web"
SENTENCES = (HERE / "sentences.txt").read_text(encoding="utf-8").splitlines()
LABELS = ("安全", "设备", "工艺", "研发", "<b>环保</b> & 其他")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module", autouse=True)
def installed():
    """Node, its packages and a browser, or the reason why not."""
    pytest.importorskip("onnxruntime")
    if shutil.which("npm") is None:
        pytest.skip("no npm found: install Node 20 or later")
    if not os.environ.get("CHROMIUM") and not any(map(shutil.which, BROWSERS)):
        pytest.skip(
            f"no browser found: install chromium, or name it in CHROMIUM ({', '.join(BROWSERS)} are not in PATH)"
        )
    made = subprocess.run(
        ["make", "--no-print-directory", "web/node_modules/.package-lock.json"],
        cwd=WEB.parent,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        pytest.skip(f"npm ci failed in web/: {' '.join(made.stderr.split())[:200]}")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """Random weights, drawn so that the sentences fall into several classes; or the one named by the environment."""
    if os.environ.get("CHEMKD_REAL_CLASSIFIER"):
        return TextClassifier(os.environ["CHEMKD_REAL_CLASSIFIER"])
    folder = str(tmp_path_factory.mktemp("classifier"))
    # Every third character has no entry.
    characters = sorted(set("".join(SENTENCES).lower()) - set(" "))
    kept = [character for number, character in enumerate(characters) if number % 3]
    vocabulary = vocabulary_of([*kept, *("##" + character for character in kept if character.isascii())])
    description = ClassifierDescription(
        StudentArchitecture(vocabulary_size=vocabulary.size, num_layers=3, hidden_dim=40, max_sequence_length=64),
        LABELS, "mean", 64, True,
    )  # fmt: skip
    network = tiny.randomise(description.build(), seed=5)
    head = network.get_layer("classifier")
    head.kernel.assign(8 * head.kernel)
    # No class is the favourite of all sentences.
    logits = network(BertTokenizer(vocabulary).encode(SENTENCES, description.max_seq_length))
    head.bias.assign_sub(np.mean(logits, axis=0))
    ClassifierParts(description, vocabulary, network).save(folder)
    return TextClassifier(folder)


@pytest.fixture(scope="module")
def exported(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    FORMATS["onnx"].export(classifier, str(folder / "onnx"))
    return folder


def build(exported, out, precision):
    """`make web`, into a folder of the test."""
    command = ["node", WEB / "build.mjs", f"--export={exported}", f"--precision={precision}", f"--out={out}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


class Served:
    """A folder behind Python's own server, as the README serves it."""

    def __init__(self, folder):
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        self.host = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *args):
        self._server.shutdown()
        self._server.server_close()


def visit(url, folder, *options, texts=SENTENCES):
    """What the page answers, asks for and complains about; the visits of one folder share a browser profile."""
    (folder / "texts.json").write_text(json.dumps(texts))
    command = [
        "node", WEB / "tools" / "classify.mjs", f"--url={url}", f"--texts={folder / 'texts.json'}",
        f"--answers={folder / 'answers.json'}", f"--profile={folder / 'profile'}", *options,
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return json.loads((folder / "answers.json").read_text())


def probabilities(found, labels):
    return np.array([[answer["probabilities"][label] for label in labels] for answer in found["answers"]])


def check(found, classifier, host, same_label=1.0, most=1e-3):
    """Compares with `classifier`, Keras's or a runtime's: share of equal labels, largest difference."""
    expected = classifier(SENTENCES)
    assert len(SENTENCES) == len(found["answers"]) == 50
    labels = [classifier.labels[index] for index in expected.argmax(axis=1)]
    assert len(set(labels)) >= 3
    same = [answer["label"] == label for answer, label in zip(found["answers"], labels, strict=True)]
    assert np.mean(same) >= same_label
    assert np.abs(probabilities(found, classifier.labels) - expected).max() <= most
    assert found["complaints"] == []
    assert {url for url in found["requests"] if not url.startswith(host)} == set()


def test_the_page_answers_as_keras_does_and_again_without_a_server(classifier, exported, tmp_path):
    build(exported, tmp_path / "dist", "fp32")
    with Served(tmp_path / "dist") as served:
        online = visit(served.host, tmp_path)
    check(online, classifier, served.host)
    # The same browser profile, the network off, and nobody at the address any more.
    offline = visit(served.host, tmp_path, "--offline")
    assert offline["answers"] == online["answers"]
    assert offline["statuses"] == online["statuses"]
    assert offline["complaints"] == []


def test_the_page_answers_with_the_int8_model_as_the_runtime_in_python_does(exported, tmp_path):
    build(exported, tmp_path / "dist", "int8")
    with Served(tmp_path / "dist") as served:
        found = visit(served.host, tmp_path)
    assert "int8" in found["statuses"][0]["text"]
    # Products of int8 are rounded differently by different processors.
    check(found, FORMATS["onnx"].load(str(exported / "onnx" / "int8.onnx")), served.host, same_label=0.96, most=5e-2)


def test_a_newer_build_is_offered_and_used_when_asked_for(exported, tmp_path):
    build(exported, tmp_path / "dist", "fp32")
    with Served(tmp_path / "dist") as served:
        assert "fp32" in visit(served.host, tmp_path, texts=[])["statuses"][0]["text"]
        build(exported, tmp_path / "dist", "int8")
        before, after = visit(served.host, tmp_path, "--use_newer", texts=[])["statuses"]
    assert "fp32" in before["text"] and "int8" in after["text"]
    assert "int8" in visit(served.host, tmp_path, "--offline", texts=["酸"])["statuses"][0]["text"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model/model.onnx", None, "model/model.onnx: 404 File not found; build the page again"),
        ("model/model.onnx", b"TFL3 not a model", "model/model.onnx: ONNX Runtime can't read it ("),
        ("model/artefact.json", b"<!doctype html>", "model/artefact.json: not JSON; export the classifier again"),
        ("model/vocab.txt", b"[PAD]\n[UNK]\n", "model/vocab.txt: no [CLS] among its 2 entries"),
        ("ort/ort-wasm-simd-threaded.wasm", b"no wasm", "ONNX Runtime can't"),
    ],
)
def test_a_wrong_file_is_named_in_one_line(exported, tmp_path, name, content, message):
    build(exported, tmp_path / "dist", "int8")
    path = tmp_path / "dist" / name
    path.unlink() if content is None else path.write_bytes(content)
    with Served(tmp_path / "dist") as served:
        (status,) = visit(served.host, tmp_path)["statuses"]
    assert status["kind"] == "error"
    assert message in status["text"]
    assert "\n" not in status["text"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--export="], "error: EXPORT is empty"),
        (["--export=nowhere"], "error: EXPORT=nowhere: no nowhere/onnx/int8.onnx; run run_classifier.py --do_export"),
        (["--export={exported}", "--precision=fp16"], "error: PRECISION=fp16: no "),
        (["--export={exported}", "--out={exported}"], "something else is there"),
        (["--shape=3"], "error: Unknown option '--shape'"),
    ],
)
def test_the_build_says_what_is_wrong_in_one_line(exported, arguments, message):
    command = ["node", str(WEB / "build.mjs"), *(argument.format(exported=exported) for argument in arguments)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1
    assert message in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
    assert (exported / "onnx" / "int8.onnx").exists()

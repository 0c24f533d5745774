"""The SavedModel as a stranger loads it: another process, TensorFlow and tensorflow_text, nothing of this package."""

import json
import os
import subprocess
import sys

import numpy as np
import pipeline
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from chemkd_tf.errors import InputError
from chemkd_tf.export import saved_model
from chemkd_tf.models.classifier import TextClassifier
from chemkd_tf.text.vocabulary import load_vocabulary

# What the stranger runs: argv is the SavedModel, a file of questions, a file for the answers.
STRANGER = """
import json, sys

FORBIDDEN = ("chemkd_tf", "data_prep", "keras_nlp", "keras_hub", "jieba")

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in FORBIDDEN:
            raise ModuleNotFoundError(f"{name} is not installed here")

sys.meta_path.insert(0, Absent())
import numpy as np
import tensorflow as tf
import tensorflow_text

path, questions, answers = sys.argv[1:]
loaded = tf.saved_model.load(path)
by_text, by_ids = (loaded.signatures[name] for name in ("serving_default", "token_ids"))
with open(questions) as file:
    questions = json.load(file)
found = {}
for name, texts in questions["texts"].items():
    texts = [bytes.fromhex(text) for text in texts]
    for key, value in by_text(texts=tf.constant(texts, tf.string, [len(texts)])).items():
        found[f"texts/{name}/{key}"] = value.numpy()
for name, rows in questions["token_ids"].items():
    for key, value in by_ids(token_ids=tf.constant(rows, tf.int32)).items():
        found[f"token_ids/{name}/{key}"] = value.numpy()
assert not set(FORBIDDEN) & {name.split(".")[0] for name in sys.modules}
np.savez(answers, **found)
"""

ODD = {
    "nothing": b"",
    "white space": " \t\u3000\n".encode(),
    "emoji": "检修😀👩‍🔬水".encode(),
    "full-width digits": "温度为１２３度，压力４５".encode(),
    "ten thousand characters": ("化学反应温度" * 1667).encode()[:30000],
    "one long word": b"a" * 10_000,
    "formulae": "加入H2SO4溶液与Na₂CO₃，15℃搅拌".encode(),
    "not UTF-8": "酸".encode() + b"\xff\xfe\xc3" + "水".encode(),
    "control characters": b"\x00\x01" + "酸\x1b[0m\u200b\u2028水".encode() + b"\x7f",
    "special tokens": "[CLS] 酸 [MASK] [PAD] [SEP]".encode(),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return pipeline.build(tmp_path_factory)


@pytest.fixture(scope="module")
def classifier(built):
    return TextClassifier(built.classifier)


@pytest.fixture(scope="module")
def exported(classifier, tmp_path_factory):
    (path,) = saved_model.export(classifier, str(tmp_path_factory.mktemp("export") / "saved_model"))
    return path


def texts_by_name() -> dict[str, list[bytes]]:
    many = [text.encode() for text, _ in pipeline.random_texts(9, 64, longest=60)]
    return {"1": many[:1], "7": many[1:8], "64": many, "odd": list(ODD.values())}


def encoded(classifier, texts: list[bytes]) -> np.ndarray:
    return classifier.tokenizer.encode(tf.constant(texts), pipeline.TOKENS)["token_ids"].numpy()


@pytest.fixture(scope="module")
def answers(classifier, exported, tmp_path_factory):
    """Answers of the SavedModel in another process: "texts/64/probabilities" to an array."""
    folder = tmp_path_factory.mktemp("stranger")
    texts = texts_by_name()
    rows = {name: encoded(classifier, texts[name]) for name in texts}
    pad = classifier.vocabulary.pad_id
    assert pad == 0
    short = rows["64"][rows["64"][:, 10] == pad]
    rows["short padded"], rows["short"] = short, short[:, : (short != pad).sum(axis=1).max()]
    assert rows["short"].shape[0] > 5 and rows["short"].shape[1] <= 10
    questions = {
        "texts": {name: [text.hex() for text in texts] for name, texts in texts.items()},
        "token_ids": {name: ids.tolist() for name, ids in rows.items()},
    }
    (folder / "questions.json").write_text(json.dumps(questions))
    (folder / "stranger.py").write_text(STRANGER)
    (folder / "empty").mkdir()
    arguments = [exported, str(folder / "questions.json"), str(folder / "answers.npz")]
    done = subprocess.run(
        [sys.executable, "-I", str(folder / "stranger.py"), *arguments],
        cwd=folder / "empty",
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "gradient" not in done.stderr  # TensorFlow warns of those that a graph should have and has not
    with np.load(folder / "answers.npz", allow_pickle=True) as found:
        return dict(found)


@pytest.mark.parametrize("name", ["1", "7", "64", "odd"])
def test_strings_give_the_probabilities_of_the_keras_model(classifier, answers, name):
    texts = texts_by_name()[name]
    ids = encoded(classifier, texts)
    batch = {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": (ids != 0).astype("int32")}
    logits = classifier.network(batch, training=False).numpy().astype("float64")
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = answers[f"texts/{name}/probabilities"]
    assert found.shape == (len(texts), len(pipeline.LABELS)) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_the_answers_depend_on_the_text(answers):
    assert np.ptp(answers["texts/64/probabilities"], axis=0).max() > 0.01
    assert len(set(answers["texts/64/label_id"].tolist())) > 1


@pytest.mark.parametrize("index", range(len(ODD)), ids=ODD)
def test_an_odd_text_gets_the_same_answer_alone_and_in_company(classifier, answers, index):
    (expected,) = classifier([list(ODD.values())[index]])
    np.testing.assert_allclose(answers["texts/odd/probabilities"][index], expected, rtol=0, atol=1e-5)


def test_labels_are_the_names_of_the_most_probable_classes(answers):
    for name in ("1", "7", "64", "odd"):
        best = answers[f"texts/{name}/probabilities"].argmax(axis=1)
        np.testing.assert_array_equal(answers[f"texts/{name}/label_id"], best)
        assert answers[f"texts/{name}/label_id"].dtype == np.int32
        assert [label.decode() for label in answers[f"texts/{name}/label"]] == [pipeline.LABELS[i] for i in best]


@pytest.mark.parametrize("name", ["1", "7", "64", "odd"])
def test_token_ids_give_the_answers_of_their_strings(answers, name):
    for key in ("label", "label_id"):
        np.testing.assert_array_equal(answers[f"token_ids/{name}/{key}"], answers[f"texts/{name}/{key}"])
    found, expected = (answers[f"{signature}/{name}/probabilities"] for signature in ("token_ids", "texts"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_more_padding_changes_nothing(answers):
    found, padded = (answers[f"token_ids/{name}/probabilities"] for name in ("short", "short padded"))
    np.testing.assert_allclose(padded, found, rtol=0, atol=1e-6)


def test_the_assets_are_the_labels_and_the_vocabulary(built, exported):
    assets = os.path.join(exported, "assets")
    assert sorted(os.listdir(assets)) == ["artefact.json", "labels.txt", "vocab.txt"]
    with open(os.path.join(assets, "labels.txt"), encoding="utf-8") as file:
        assert file.read() == "".join(label + "\n" for label in sorted(pipeline.LABELS))
    assert load_vocabulary(os.path.join(assets, "vocab.txt")).tokens == load_vocabulary(built.vocabulary).tokens


def test_nothing_but_the_saved_model_is_left(exported):
    assert set(os.listdir(exported)) <= {"saved_model.pb", "assets", "variables", "fingerprint.pb"}
    assert os.listdir(os.path.dirname(exported)) == ["saved_model"]


def test_the_variables_are_those_of_encoder_and_classifier_alone(exported):
    """Neither projections nor a masked-LM head: numbers worked out from width 24, 67 tokens, 3 classes."""
    variables = os.path.join(exported, "variables", "variables")
    shapes = [shape for name, shape in tf.train.list_variables(variables) if name.endswith("VARIABLE_VALUE")]
    embeddings = [[67, 24], [pipeline.TOKENS, 24], [2, 24]]
    lstm = [[24, 48], [12, 48], [48]]
    assert sorted(shapes) == sorted([*embeddings, *lstm * 2, [24, 3], [3]])


def meta_graph(exported):
    model = saved_model_pb2.SavedModel()
    with open(os.path.join(exported, "saved_model.pb"), "rb") as file:
        model.ParseFromString(file.read())
    return model.meta_graphs[0]


def test_no_op_needs_cudnn(exported, classifier):
    graph = meta_graph(exported).graph_def
    ops = {node.op for node in graph.node} | {
        node.op for function in graph.library.function for node in function.node_def
    }
    assert "MatMul" in ops
    assert not [op for op in ops if "cudnn" in op.lower()]
    names = [function.signature.name.lower() for function in graph.library.function]
    assert not [name for name in names if "cudnn" in name]
    # On a machine with a GPU it is this setting that keeps Keras from choosing cuDNN.
    lstms = [layer for layer in classifier.network._flatten_layers() if hasattr(layer, "use_cudnn")]
    assert len(lstms) == 2 and not any(layer.use_cudnn for layer in lstms)


def test_the_signatures_are_the_documented_ones(exported):
    signatures = meta_graph(exported).signature_def
    named = {name: signature for name, signature in signatures.items() if name != "__saved_model_init_op"}
    assert set(named) == {"serving_default", "token_ids"}
    inputs = {"serving_default": ("texts", tf.string, [-1]), "token_ids": ("token_ids", tf.int32, [-1, -1])}
    for signature, (name, dtype, shape) in inputs.items():
        ((key, tensor),) = named[signature].inputs.items()
        assert (key, tensor.dtype) == (name, dtype.as_datatype_enum)
        assert [dimension.size for dimension in tensor.tensor_shape.dim] == shape
        outputs = {key: tf.as_dtype(tensor.dtype) for key, tensor in named[signature].outputs.items()}
        assert outputs == {"label": tf.string, "label_id": tf.int32, "probabilities": tf.float32}


@pytest.mark.slow
def test_exporting_again_replaces_the_model(built, classifier, tmp_path):
    path = str(tmp_path / "model")
    assert saved_model.export(classifier, path) == [path]
    first = tf.saved_model.load(path).signatures["serving_default"]
    texts = tf.constant(["酸的溶液"])
    before = first(texts=texts)["probabilities"].numpy()
    other = TextClassifier(built.classifier)
    other.network.get_layer("classifier").bias.assign([5.0, 0.0, 0.0])
    with open(os.path.join(path, "assets", "left_over"), "w"):
        pass
    saved_model.export(other, path)
    after = tf.saved_model.load(path).signatures["serving_default"](texts=texts)["probabilities"].numpy()
    assert before[0, 0] < 0.9 < after[0, 0]
    assert sorted(os.listdir(os.path.join(path, "assets"))) == ["artefact.json", "labels.txt", "vocab.txt"]
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("what", ["a folder with files", "a file"])
def test_what_is_no_saved_model_is_never_replaced(classifier, tmp_path, what):
    target = tmp_path / "mine"
    if what == "a file":
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="mine: something else is there"):
        saved_model.export(classifier, str(target))
    kept = target if what == "a file" else target / "thesis.txt"
    assert kept.read_text() == "mine"
    assert os.listdir(tmp_path) == ["mine"]

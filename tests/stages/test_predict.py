"""Predictions of any model for a file of any size: nothing is lost when the process is."""

import os

import numpy as np
import pytest

from chemkd_tf.config.export import ExportConfig
from chemkd_tf.errors import InputError
from chemkd_tf.stages import predict as stage

TEXTS = [f"{number}号反应釜" for number in range(17)]


class Digits:
    """Answers with the last digit of a text's number; dies when it has been asked `asked` times."""

    labels = tuple(f"尾数{digit}" for digit in range(10))

    def __init__(self, asked=10**9):
        self.texts = []
        self.asked = asked

    def __call__(self, texts):
        self.asked -= 1
        if self.asked < 0:
            raise KeyboardInterrupt
        self.texts += texts
        return np.array([[0.91 if digit == int(text[:-4]) % 10 else 0.01 for digit in range(10)] for text in texts])


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "_TEXTS_AT_ONCE", 4)
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf-8")
    (tmp_path / "model.onnx").write_bytes(b"a model")
    return tmp_path


def predict(files, predictor, model="model.onnx", **settings):
    config = ExportConfig(do_predict=True, predict_file=str(files / "texts.txt"), **settings)
    stage.predict(config, predictor, str(files / model), str(files / "answers" / "predictions.tsv"))
    return (files / "answers" / "predictions.tsv").read_text(encoding="utf-8")


def expected():
    lines = ["\t".join(["label", *(f"p(尾数{digit})" for digit in range(10))])]
    for number in range(17):
        chances = ["0.910000" if digit == number % 10 else "0.010000" for digit in range(10)]
        lines.append("\t".join([f"尾数{number % 10}", *chances]))
    return "".join(line + "\n" for line in lines)


def test_every_text_gets_its_line_in_order(files):
    predictor = Digits()
    assert predict(files, predictor) == expected()
    assert predictor.texts == TEXTS
    assert [path.name for path in (files / "answers").iterdir()] == ["predictions.tsv"]


@pytest.mark.parametrize("cut", [0, 5])
def test_what_is_done_is_not_asked_again(files, cut):
    """`cut` bytes of the last line are missing, as after a kill in the middle of a write."""
    with pytest.raises(KeyboardInterrupt):
        predict(files, Digits(asked=3))
    assert not (files / "answers" / "predictions.tsv").exists()
    partial = files / "answers" / "predictions.tsv.partial"
    partial.write_bytes(partial.read_bytes()[: -cut or None])
    predictor = Digits()
    assert predict(files, predictor) == expected()
    assert predictor.texts == TEXTS[11 if cut else 12 :]


@pytest.mark.parametrize("what", ["texts.txt", "model.onnx"])
def test_other_texts_or_another_model_begin_the_table_anew(files, what):
    with pytest.raises(KeyboardInterrupt):
        predict(files, Digits(asked=3))
    (files / what).write_bytes((files / "texts.txt").read_bytes() * (1 + (what == "model.onnx")))
    os.utime(files / what, (1, 1))
    predictor = Digits()
    assert predict(files, predictor) == expected()
    assert predictor.texts == TEXTS


def test_a_table_that_cannot_be_written_is_named(files):
    (files / "answers").write_text("a file")
    with pytest.raises(InputError, match="--predict_output_file=.*answers/predictions.tsv: can't be written"):
        predict(files, Digits())


def test_no_texts_leave_a_table_with_its_header(files):
    (files / "texts.txt").write_text("")
    assert predict(files, Digits()) == expected().splitlines(keepends=True)[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"export_formats": "saved_model,tflite"}, "--export_formats: tflite is none of saved_model, litert, onnx"),
        ({"export_formats": " , ", "do_export": True}, "--export_formats is empty"),
        ({"export_version": 0}, "--export_version=0: 1 or more"),
        ({"do_predict": True}, "--do_predict needs --predict_file=FILE or --text="),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        ExportConfig(**settings).require_export()


def test_formats_are_taken_once_in_their_order():
    assert ExportConfig(export_formats="onnx, saved_model,onnx").formats == ("onnx", "saved_model")

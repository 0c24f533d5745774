"""The student without distillation (paper section 4.3.1): words, last state, from fresh weights."""

import collections
import json
import logging
import re

import jieba
import numpy as np
import pipeline
import pytest
import tiny

from chemkd_tf.config import ClassificationConfig
from chemkd_tf.errors import InputError
from chemkd_tf.models.classifier import TextClassifier, read_description
from chemkd_tf.stages import classify

SHAPE = dict(model="word_bilstm", num_student_layers=1, student_width=8, min_word_count=1)


def run(output_dir, **changes):
    with tiny.unoptimised_graphs():
        return classify.run(ClassificationConfig(output_dir=str(output_dir), eval_batch_size=8, **changes))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return pipeline.write_labelled(tmp_path_factory.mktemp("words") / "data")


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("words") / "run"
    dictionary = folder.parent / "dictionary.txt"
    dictionary.write_text("化学反应温度 9999\n", encoding="utf-8")
    settings = dict(
        do_train=True, data_dir=data, num_train_epochs=4.0, train_batch_size=8, learning_rate=0.02, max_seq_length=20,
        user_dictionary=str(dictionary), **SHAPE,
    )  # fmt: skip
    reports = run(folder, do_eval=True, **settings)
    dictionary.unlink()
    return folder, reports


def test_it_learns_words_and_is_evaluated(trained, data):
    folder, reports = trained
    assert set(reports) == {"dev", "test"}
    classifier = TextClassifier(str(folder))
    shape = classifier.description.architecture
    assert (shape.embedding, shape.num_layers, shape.hidden_dim) == ("token", 1, 8)
    assert classifier.description.pooling == "last"
    assert classifier.description.tokenizer == "words"
    jieba.setLogLevel(logging.WARNING)
    with open(f"{data}/train.tsv", encoding="utf-8") as file:
        texts = [line.rsplit("\t", 1)[0] for line in file]
    characters = collections.Counter("".join(texts))
    words = classifier.vocabulary.tokens[5:]
    assert any(len(word) > 1 for word in words)
    assert set("".join(words)) == set(characters)
    assert json.loads((folder / "config.json").read_text("utf-8"))["pooling"] == "last"


def test_the_user_dictionary_is_kept_with_the_model(trained):
    folder, _ = trained
    classifier = TextClassifier(str(folder))
    tokens = classifier.tokenizer.tokenize(["化学反应温度"]).to_list()
    assert len(tokens[0]) == 1


def test_it_predicts_a_text_and_a_file(trained, tmp_path, capsys):
    folder, _ = trained
    (tmp_path / "texts.txt").write_text("酸的溶液\n\n水\n", encoding="utf-8")
    run(folder, do_predict=True, text="酸的溶液", predict_file=str(tmp_path / "texts.txt"))
    lines = (folder / "predictions.tsv").read_text("utf-8").splitlines()[1:]
    assert len(lines) == 3
    best = lines[0].split("\t")[0]
    assert re.match(rf"0\.\d+  {best}\n", capsys.readouterr().out)


def test_a_killed_run_has_the_same_vocabulary_when_it_goes_on(trained, data, tmp_path):
    settings = dict(do_train=True, data_dir=data, train_batch_size=8, learning_rate=0.02, **SHAPE)
    run(tmp_path / "run", num_train_epochs=1.0, save_checkpoints_steps=2, **settings)
    before = TextClassifier(str(tmp_path / "run"))
    run(tmp_path / "run", num_train_epochs=1.0, save_checkpoints_steps=2, **settings)
    after = TextClassifier(str(tmp_path / "run"))
    assert before.vocabulary.tokens == after.vocabulary.tokens
    for one, other in zip(before.network.get_weights(), after.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_is_not_exported(trained):
    folder, _ = trained
    with pytest.raises(InputError, match="--do_export: the classifier in .* can't leave Python: .*jieba"):
        run(folder, do_export=True)
    assert not (folder / "export").exists()


def test_settings_of_one_model_are_refused_with_the_other(tmp_path):
    with pytest.raises(InputError, match="--min_word_count=3 is of --model=word_bilstm"):
        ClassificationConfig(output_dir="o", do_eval=True, data_dir="d", min_word_count=3)
    for name, value in {"init_checkpoint": "a", "teacher_dir": "a", "freeze_encoder": True}.items():
        with pytest.raises(InputError, match=f"--{name} with --model=word_bilstm, which begins with fresh weights"):
            ClassificationConfig(output_dir="o", do_train=True, data_dir="d", model="word_bilstm", **{name: value})
    with pytest.raises(InputError, match="--do_export with --model=word_bilstm: its words come from jieba"):
        ClassificationConfig(output_dir="o", do_train=True, data_dir="d", model="word_bilstm", do_export=True)
    with pytest.raises(InputError, match="--student_width=7 can't be halved"):
        ClassificationConfig(output_dir="o", do_train=True, data_dir="d", model="word_bilstm", student_width=7)


def test_a_classifier_of_an_earlier_version_reads_word_pieces(trained, tmp_path):
    folder, _ = trained
    values = json.loads((folder / "classifier.json").read_text("utf-8"))
    del values["tokenizer"], values["architecture"]["embedding_rank"]
    (tmp_path / "classifier.json").write_text(json.dumps(values), encoding="utf-8")
    assert read_description(str(tmp_path)).tokenizer == "wordpiece"
    (tmp_path / "classifier.json").write_text(json.dumps({**values, "tokenizer": "runes"}), encoding="utf-8")
    with pytest.raises(InputError, match="not a classifier this version can read .*runes"):
        read_description(str(tmp_path))

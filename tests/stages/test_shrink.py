"""run_classifier.py --do_shrink: a smaller classifier in a folder of its own, which everything downstream takes."""

import json
import os
import shutil

import numpy as np
import pipeline
import pytest
import tensorflow as tf
import tiny

from chemkd_tf.config import ClassificationConfig
from chemkd_tf.errors import InputError
from chemkd_tf.models.classifier import TextClassifier
from chemkd_tf.stages import classify


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return pipeline.build(tmp_path_factory)


def run(output_dir, **changes):
    with tiny.unoptimised_graphs():
        return classify.run(ClassificationConfig(output_dir=str(output_dir), eval_batch_size=8, **changes))


@pytest.fixture(scope="module")
def shrunk(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shrink") / "small"
    shrinking = dict(
        do_shrink=True, init_checkpoint=built.classifier, shrink_texts=f"{built.data}/*.tsv", embedding_rank=8
    )
    reports = run(folder, do_eval=True, data_dir=built.data, **shrinking)
    return folder, reports


def test_a_smaller_classifier_is_written_and_evaluated(built, shrunk):
    folder, reports = shrunk
    before, after = TextClassifier(built.classifier), TextClassifier(str(folder))
    used = set("".join(text for text, _ in read_rows(built.data))) | {*"0123456789"}
    expected = [token for token in before.vocabulary.tokens if token[0] == "[" or token[-1] in used]
    assert list(after.vocabulary.tokens) == expected
    assert after.description.architecture.embedding_rank == 8
    assert after.network.count_params() < before.network.count_params()
    assert set(reports) == {"dev", "test"}
    assert json.loads((folder / "dev_report.json").read_text("utf-8")) == reports["dev"]
    assert reports["dev"]["tokens"]["unknown_share"] == 0


def read_rows(data):
    for split in ("train", "dev", "test"):
        with open(f"{data}/{split}.tsv", encoding="utf-8") as file:
            yield from (line.rstrip("\n").rsplit("\t", 1) for line in file)


def test_the_cost_on_dev_is_told(built, tmp_path, capsys):
    run(
        tmp_path / "small", do_shrink=True, do_eval=True, init_checkpoint=built.classifier, data_dir=built.data,
        shrink_texts=f"{built.data}/dev.tsv", prune_min_count=3,
    )  # fmt: skip
    shown = capsys.readouterr().out
    classifier = TextClassifier(built.classifier)
    rows = [row for row in read_dev(built.data)]
    answers = classifier([text for text, _ in rows]).argmax(axis=1)
    before = np.mean([classifier.labels[answer] == label for answer, (_, label) in zip(answers, rows, strict=True)])
    assert f"dev accuracy: {before:.4f} before, " in shown
    assert "before: 67 entries, " in shown


def read_dev(data):
    with open(f"{data}/dev.tsv", encoding="utf-8") as file:
        return [tuple(line.rstrip("\n").rsplit("\t", 1)) for line in file]


def test_a_smaller_classifier_predicts_and_is_exported(shrunk, tmp_path):
    folder, _ = shrunk
    (tmp_path / "texts.txt").write_text("酸的溶液\n水\n", encoding="utf-8")
    run(
        folder, do_predict=True, predict_file=str(tmp_path / "texts.txt"),
        predict_output_file=str(tmp_path / "answers.tsv"), do_export=True, export_dir=str(tmp_path / "export"),
        card_latency=False,
    )  # fmt: skip
    expected = TextClassifier(str(folder))(["酸的溶液", "水"])
    lines = (tmp_path / "answers.tsv").read_text("utf-8").splitlines()[1:]
    np.testing.assert_allclose([[float(p) for p in line.split("\t")[1:]] for line in lines], expected, atol=1e-6)
    answer = tf.saved_model.load(str(tmp_path / "export" / "saved_model" / "1")).signatures["serving_default"]
    found = answer(texts=tf.constant(["酸的溶液", "水"]))["probabilities"].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    card = (tmp_path / "export" / "MODEL_CARD.md").read_text("utf-8")
    assert "factorised to rank 8" in card and "24" in card and "## Quality" in card
    assert "`--num_train_epochs` | 2.0" in card, "the training of the larger one"


def test_a_smaller_classifier_is_trained_on(built, shrunk, tmp_path):
    folder, _ = shrunk
    common = dict(do_train=True, data_dir=built.data, init_checkpoint=str(folder), train_batch_size=8)
    run(tmp_path / "on", num_train_epochs=1.0, learning_rate=1e-5, **common)
    before, after = TextClassifier(str(folder)), TextClassifier(str(tmp_path / "on"))
    assert after.vocabulary.tokens == before.vocabulary.tokens
    assert after.description == before.description
    for one, other in zip(before.network.weights, after.network.weights, strict=True):
        assert 0 < np.abs(one.numpy() - other.numpy()).max() < 1e-3, one.path


def test_other_labels_than_those_of_the_classifier_are_refused(shrunk, tmp_path):
    folder, _ = shrunk
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text("酸\t安全\n水\t别的\n", encoding="utf-8")
    with pytest.raises(InputError, match="its labels are .*, those of --data_dir are 别的, 安全: train on the same"):
        run(tmp_path / "run", do_train=True, data_dir=str(tmp_path), init_checkpoint=str(folder))


def test_bad_settings_are_refused(built, tmp_path):
    small = dict(do_shrink=True, init_checkpoint=built.classifier)
    with pytest.raises(InputError, match="--do_shrink: give --shrink_texts=FILES .*, --embedding_rank=R, or both"):
        run(tmp_path / "run", **small)
    with pytest.raises(InputError, match="--embedding_rank=8 needs --do_shrink"):
        run(tmp_path / "run", do_train=True, data_dir=built.data, init_checkpoint=built.student, embedding_rank=8)
    with pytest.raises(InputError, match="--do_shrink and --do_train: shrink first"):
        run(tmp_path / "run", do_train=True, data_dir=built.data, embedding_rank=8, **small)
    with pytest.raises(InputError, match="--shrink_texts: no file matches '.*nothing.txt'"):
        run(tmp_path / "run", shrink_texts=str(tmp_path / "nothing.txt"), **small)
    with pytest.raises(InputError, match="--output_dir=.*: is --init_checkpoint too; name another folder"):
        run(built.classifier, embedding_rank=8, **small)
    with pytest.raises(InputError, match=f"--init_checkpoint={built.student}: no trained classifier there"):
        run(tmp_path / "run", do_shrink=True, init_checkpoint=built.student, embedding_rank=8)
    (tmp_path / "empty.txt").write_text(" \n", encoding="utf-8")
    with pytest.raises(InputError, match="--shrink_texts: no text in .*empty.txt"):
        run(tmp_path / "run", shrink_texts=str(tmp_path / "empty.txt"), **small)
    assert not (tmp_path / "run").exists()


def test_what_was_cut_short_is_no_classifier(built, tmp_path):
    shutil.copytree(built.classifier, tmp_path / "half", ignore=shutil.ignore_patterns("classifier.json", "check*"))
    with pytest.raises(InputError, match="no trained classifier there"):
        run(tmp_path / "half", do_predict=True, text="酸")
    assert "classifier.json" not in os.listdir(tmp_path / "half")

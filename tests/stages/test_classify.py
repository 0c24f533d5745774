"""The classification stage on a tiny pipeline: what it trains, keeps, reports and predicts."""

import json
import re

import numpy as np
import pipeline
import pytest
import sklearn.metrics
import tiny

from chemkd_tf.errors import InputError
from chemkd_tf.models.checkpoints import load_pretrained
from chemkd_tf.models.classifier import TextClassifier, read_description
from chemkd_tf.models.heads import POOLING
from chemkd_tf.stages import classify

NOT_TRAINING = {"do_train": False, "init_checkpoint": "", "data_dir": ""}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return pipeline.build(tmp_path_factory)


def run(built, output_dir, **changes):
    with tiny.unoptimised_graphs():
        return classify.run(pipeline.classification(built, output_dir, **changes))


def metrics_lines(folder, split):
    with open(f"{folder}/metrics.jsonl", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return [line for line in lines if line["split"] == split]


def read_rows(path):
    with open(path, encoding="utf-8") as file:
        return [tuple(line.rstrip("\n").rsplit("\t", 1)) for line in file]


def encoder_weights(encoder) -> dict[str, np.ndarray]:
    return {variable.path: variable.numpy() for variable in encoder.weights}


def weights_of(classifier: TextClassifier, encoder: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights of a classifier's encoder, by the paths of `encoder`."""
    found = {variable.path: variable.numpy() for variable in classifier.network.weights}
    assert set(encoder) < set(found)
    return {path: found[path] for path in encoder}


def difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, float]:
    assert one.keys() == other.keys()
    return {path: float(np.abs(one[path] - other[path]).max()) for path in one}


@pytest.fixture(scope="module")
def pretrained(built):
    return encoder_weights(load_pretrained(built.student, "init_checkpoint").encoder)


@pytest.fixture(scope="module")
def classifier(built):
    return TextClassifier(built.classifier)


def test_a_text_gets_the_same_answer_alone_and_among_many(classifier):
    """150 texts, long and short mixed, go through the network sorted by length, in three batches."""
    texts = ["酸的溶液" * (number * 37 % 12) for number in range(150)]
    together = classifier(texts)
    assert together.shape == (150, 3)
    for text, row in list(zip(texts, together, strict=True))[::7]:
        np.testing.assert_allclose(classifier([text])[0], row, atol=1e-6)
    assert classifier([]).shape == (0, 3)


# --- Training and evaluation ---


def test_training_moves_every_layer_and_lowers_the_loss(built, tmp_path, pretrained):
    run(built, tmp_path / "run", num_train_epochs=20.0, learning_rate=0.03, log_every_steps=1)
    losses = [line["loss"] for line in metrics_lines(tmp_path / "run", "train")]
    assert len(losses) == 60  # 24 texts in batches of 8
    assert np.mean(losses[-6:]) < 0.5 * np.mean(losses[:3])
    assert [line["step"] for line in metrics_lines(tmp_path / "run", "eval")] == list(range(3, 61, 3))
    moved = difference(weights_of(TextClassifier(str(tmp_path / "run")), pretrained), pretrained)
    not_moved = [path for path, largest in moved.items() if largest < 1e-4]
    assert not not_moved


def test_reports_hold_scikit_learns_figures_for_the_kept_weights(built, classifier, capsys):
    reports = run(built, built.classifier, do_train=False, do_eval=True)
    assert set(reports) == {"dev", "test"}
    shown = capsys.readouterr().out
    for split, report in reports.items():
        rows = read_rows(f"{built.data}/{split}.tsv")
        labels = [label for _, label in rows]
        predicted = [pipeline.LABELS[index] for index in classifier([text for text, _ in rows]).argmax(axis=1)]
        assert report["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(labels, predicted))
        expected = sklearn.metrics.f1_score(labels, predicted, average="macro", zero_division=0)
        assert report["macro_f1"] == pytest.approx(expected)
        with open(f"{built.classifier}/{split}_report.json", encoding="utf-8") as file:
            assert json.load(file) == report
        assert f"\n{split}: {built.data}/{split}.tsv\n" in shown
        assert f"accuracy {report['accuracy']:.4f}  macro_f1 {report['macro_f1']:.4f}\n" in shown


def test_a_data_set_without_a_test_split_is_evaluated_on_dev_alone(built, tmp_path):
    rows = read_rows(f"{built.data}/dev.tsv")
    pipeline.write_tsv(tmp_path / "dev.tsv", rows)
    reports = run(built, built.classifier, do_train=False, do_eval=True, data_dir=str(tmp_path))
    assert set(reports) == {"dev"}


@pytest.mark.parametrize("metric", [pytest.param("macro_f1", marks=pytest.mark.slow), "accuracy"])
def test_the_weights_that_were_best_on_dev_are_kept(built, tmp_path, metric):
    """Dev labels that contradict the training set: the more is learned, the worse they are met."""
    data, output_dir = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    pipeline.write_tsv(data / "train.tsv", pipeline.random_texts(1, 24))
    others = dict(zip(pipeline.LABELS, pipeline.LABELS[1:] + pipeline.LABELS[:1], strict=True))
    dev = [(text, others[label]) for text, label in pipeline.random_texts(2, 24)]
    pipeline.write_tsv(data / "dev.tsv", dev)
    run(built, output_dir, data_dir=str(data), metric_for_best=metric, num_train_epochs=14.0)

    curve = [line[metric] for line in metrics_lines(output_dir, "eval")]
    assert max(curve) > curve[-1] + 0.05
    kept = TextClassifier(str(output_dir))
    predicted = kept([text for text, _ in dev]).argmax(axis=1)
    expected = [pipeline.LABELS.index(label) for _, label in dev]
    found = {
        "accuracy": sklearn.metrics.accuracy_score(expected, predicted),
        "macro_f1": sklearn.metrics.f1_score(expected, predicted, average="macro", zero_division=0),
    }
    assert found[metric] == pytest.approx(max(curve))


def test_a_frozen_encoder_stays_bit_identical(built, tmp_path, pretrained):
    run(built, tmp_path / "run", freeze_encoder=True, num_train_epochs=2.0)
    trained = TextClassifier(str(tmp_path / "run"))
    assert set(difference(weights_of(trained, pretrained), pretrained).values()) == {0.0}
    assert np.abs(trained.network.get_layer("classifier").bias.numpy()).max() > 1e-3


def test_random_init_starts_from_other_weights_than_the_checkpoint(built, tmp_path, pretrained):
    """The encoder is frozen, so that what is kept is what it started from."""
    runs = [tmp_path / "one", tmp_path / "other"]
    for output_dir, seed in zip(runs, (1, 2), strict=True):
        run(built, output_dir, random_init=True, freeze_encoder=True, num_train_epochs=0.1, random_seed=seed)
    one, other = (weights_of(TextClassifier(str(output_dir)), pretrained) for output_dir in runs)
    random = [path for path in pretrained if not path.endswith("bias")]  # biases of a fresh LSTM are constants
    for started in (difference(one, pretrained), difference(one, other)):
        assert min(started[path] for path in random) > 1e-3


def test_adversarial_training_logs_both_losses_and_keeps_other_weights(built, tmp_path):
    for name, epsilon in (("without", 0.0), ("with", 2.0)):
        run(built, tmp_path / name, adversarial_epsilon=epsilon, num_train_epochs=1.0, log_every_steps=1)
    one, other = (metrics_lines(tmp_path / name, "train") for name in ("without", "with"))
    assert not any("adversarial_loss" in line for line in one)
    for line in other:
        assert line["adversarial_loss"] > line["classification_loss"]
        assert line["loss"] == pytest.approx((line["adversarial_loss"] + line["classification_loss"]) / 2, rel=1e-5)
    weights = [pipeline.arrays(tmp_path / name / "classifier.weights.h5") for name in ("without", "with")]
    assert max(difference(*weights).values()) > 1e-4


@pytest.mark.parametrize(
    ("encoder", "pooling"),
    [("student", pooling) for pooling in POOLING]
    + [("teacher", "cls"), *(pytest.param("teacher", pooling, marks=pytest.mark.slow) for pooling in POOLING[:-1])],
)
def test_every_pooling_trains_a_student_and_a_teacher(built, tmp_path, encoder, pooling):
    assert POOLING[-1] == "cls"
    changes = {"pooling": pooling, "init_checkpoint": getattr(built, encoder), "num_train_epochs": 0.1}
    (report,) = run(built, tmp_path, **changes, do_eval=True, data_dir=without_test(built, tmp_path)).values()
    description = read_description(str(tmp_path))
    assert (description.pooling, description.architecture.kind) == (pooling, encoder)
    (line,) = metrics_lines(tmp_path, "eval")
    assert np.isfinite(line["loss"])
    # Padded in batches of 8 while training, of 64 afterwards: the same predictions.
    assert report["accuracy"] == pytest.approx(line["accuracy"])


def without_test(built, folder) -> str:
    for split in ("train", "dev"):
        pipeline.write_tsv(folder / f"{split}.tsv", read_rows(f"{built.data}/{split}.tsv"))
    return str(folder)


# --- Replicas ---


@pytest.mark.parametrize("encoder", ["student", pytest.param("teacher", marks=pytest.mark.slow)])
def test_three_updates_on_one_and_two_replicas_give_the_same_classifier(built, tmp_path, encoder):
    """An odd batch of unequal lengths: the second replica has fewer rows, and one that weighs nothing."""
    pretrained = encoder_weights(load_pretrained(getattr(built, encoder), "init_checkpoint").encoder)
    data = pipeline.write_labelled(tmp_path / "data", train=9, dev=5)
    start = without_dropout(built, tmp_path / "teacher") if encoder == "teacher" else built.student
    runs = {replicas: tmp_path / str(replicas) for replicas in (1, 2)}
    for replicas, output_dir in runs.items():
        run(
            built, output_dir, data_dir=data, init_checkpoint=start, num_replicas=replicas, num_train_epochs=1.0,
            train_batch_size=3, eval_batch_size=3, classifier_dropout=0.0, warmup_proportion=0.0, learning_rate=1e-3,
        )  # fmt: skip
        assert metrics_lines(output_dir, "eval")[-1]["step"] == 3
    one, two = (pipeline.arrays(output_dir / "classifier.weights.h5") for output_dir in runs.values())
    apart = difference(one, two)
    assert max(apart.values()) < 1e-6, apart
    moved = difference(weights_of(TextClassifier(str(runs[1])), pretrained), pretrained)
    # The attention of nearly fresh weights is even: what queries and keys are hardly matters yet.
    assert min(moved[path] for path in moved if "query" not in path and "key" not in path) > 1e-4, moved
    losses = [[line["loss"] for line in metrics_lines(output_dir, "eval")] for output_dir in runs.values()]
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-6)


def without_dropout(built, folder) -> str:
    """The teacher with its dropout taken out of its description."""
    folder.mkdir()
    for name in ("model.weights.h5", "vocab.txt", "architecture.json"):
        with open(f"{built.teacher}/{name}", "rb") as file:
            content = file.read()
        (folder / name).write_bytes(re.sub(rb'"dropout": [0-9.]+', b'"dropout": 0.0', content))
    return str(folder)


def test_a_batch_of_one_example_trains_and_is_evaluated_on_two_replicas(built, tmp_path):
    data = pipeline.write_labelled(tmp_path / "data", train=3, dev=5)
    run(
        built,
        tmp_path / "run",
        data_dir=data,
        num_replicas=2,
        train_batch_size=1,
        eval_batch_size=4,
        num_train_epochs=1.0,
    )
    assert [line["step"] for line in metrics_lines(tmp_path / "run", "eval")] == [3]
    assert all(
        np.isfinite(array).all() for array in pipeline.arrays(tmp_path / "run" / "classifier.weights.h5").values()
    )


# --- Prediction ---


TEXTS = [text or "酸" for text, _ in pipeline.random_texts(5, 11)]


def predict(built, tmp_path, name, content):
    path, answers = tmp_path / name, tmp_path / "answers.tsv"
    path.write_text(content, encoding="utf-8")
    changes = dict(NOT_TRAINING, do_predict=True, predict_file=str(path), predict_output_file=str(answers))
    run(built, built.classifier, **changes)
    header, *rows = (line.split("\t") for line in answers.read_text(encoding="utf-8").splitlines())
    assert header == ["label", *(f"p({label})" for label in pipeline.LABELS)]
    return [row[0] for row in rows], np.array([row[1:] for row in rows], float)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("texts.txt", "\n".join(TEXTS) + "\n"),
        ("texts.tsv", "".join(f"{text}\t不详\n" for text in TEXTS)),
        ("texts.csv", "number,text\n" + "".join(f'{index},"{text}"\n' for index, text in enumerate(TEXTS))),
        ("texts.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)),
    ],
)
def test_every_text_of_a_file_gets_its_row_of_predictions(built, classifier, tmp_path, name, content):
    labels, probabilities = predict(built, tmp_path, name, content)
    expected = classifier(TEXTS)
    assert probabilities.shape == expected.shape == (11, 3)
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1.1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=3e-6)
    assert labels == [pipeline.LABELS[index] for index in expected.argmax(axis=1)]


def test_an_empty_line_of_a_text_file_is_a_text(built, classifier, tmp_path):
    labels, probabilities = predict(built, tmp_path, "texts.txt", "酸\n\n水\n")
    assert len(labels) == 3
    np.testing.assert_allclose(probabilities, classifier(["酸", "", "水"]), rtol=0, atol=1.1e-6)


def test_predictions_stand_in_the_run_s_folder_unless_told_otherwise(built, tmp_path, capsys):
    (tmp_path / "texts.txt").write_text("酸\n", encoding="utf-8")
    run(built, built.classifier, **NOT_TRAINING, do_predict=True, predict_file=str(tmp_path / "texts.txt"))
    assert f"predictions: {built.classifier}/predictions.tsv" in capsys.readouterr().out
    assert len(read_rows(f"{built.classifier}/predictions.tsv")) == 2


def test_a_sentence_on_the_command_line_gets_its_labels(built, classifier, capsys):
    run(built, built.classifier, **NOT_TRAINING, do_predict=True, text="酸的溶液")
    (probabilities,) = classifier(["酸的溶液"])
    order = np.argsort(-probabilities)
    expected = "".join(f"{probabilities[index]:.4f}  {pipeline.LABELS[index]}\n" for index in order)
    assert capsys.readouterr().out == expected


def test_no_text_at_all_gives_no_probability(classifier):
    assert classifier([]).shape == (0, 3)


def test_a_saved_model_is_exported_into_the_run_s_folder(built, tmp_path, capsys):
    run(built, built.classifier, **NOT_TRAINING, do_export=True, card_latency=False)
    export = f"{built.classifier}/export"
    assert capsys.readouterr().out == f"saved_model: {export}/saved_model/1\nmodel card: {export}/MODEL_CARD.md\n"


def test_an_exported_model_predicts_where_no_classifier_lies(built, classifier, tmp_path, capsys):
    run(
        built, built.classifier, **NOT_TRAINING, do_export=True, card_latency=False, export_dir=str(tmp_path / "export")
    )
    changes = dict(NOT_TRAINING, do_predict=True, predict_with=str(tmp_path / "export" / "saved_model" / "1"))
    (tmp_path / "texts.txt").write_text("".join(text + "\n" for text in TEXTS), encoding="utf-8")
    run(built, tmp_path / "elsewhere", **changes, predict_file=str(tmp_path / "texts.txt"), text="酸的溶液")
    assert capsys.readouterr().out.endswith(f"predictions: {tmp_path}/elsewhere/predictions.tsv\n")
    _, *rows = (tmp_path / "elsewhere" / "predictions.tsv").read_text(encoding="utf-8").splitlines()
    found = [[float(value) for value in row.split("\t")[1:]] for row in rows]
    np.testing.assert_allclose(found, classifier(TEXTS), rtol=0, atol=1.1e-6)


# --- What it refuses ---


@pytest.mark.parametrize(
    ("name", "message"), [("missing.onnx", "no such file or folder"), ("some", "neither a SavedModel's folder")]
)
def test_a_model_that_is_none_is_refused_before_anything_is_made(built, tmp_path, name, message):
    (tmp_path / "some").mkdir()
    with pytest.raises(InputError, match=f"--predict_with={tmp_path}/{name}: {message}"):
        run(built, tmp_path / "new", **NOT_TRAINING, do_predict=True, text="酸", predict_with=str(tmp_path / name))
    assert not (tmp_path / "new").exists()


def test_a_training_set_with_one_label_is_refused(built, tmp_path):
    (tmp_path / "data").mkdir()
    for split in ("train", "dev"):
        pipeline.write_tsv(tmp_path / "data" / f"{split}.tsv", [("酸", "安全"), ("碱", "安全")])
    with pytest.raises(InputError, match=r"train.tsv: only one label \(安全\); a classifier needs two or more"):
        run(built, tmp_path / "run", data_dir=str(tmp_path / "data"))


@pytest.mark.parametrize("split", ["train", "dev"])
def test_a_missing_split_is_named(built, tmp_path, split):
    data = pipeline.write_labelled(tmp_path / "data", train=3, dev=3)
    (tmp_path / "data" / f"{split}.tsv").unlink()
    with pytest.raises(InputError, match=f"--data_dir={data}: no {split}.tsv, {split}.csv or {split}.jsonl in it"):
        run(built, tmp_path / "run", data_dir=data)


def test_an_evaluation_without_any_split_is_refused(built, tmp_path):
    with pytest.raises(InputError, match="neither a dev nor a test file"):
        run(built, built.classifier, do_train=False, do_eval=True, data_dir=str(tmp_path))


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_label_unseen_in_training_is_named_with_file_and_line(built, tmp_path, split):
    data = pipeline.write_labelled(tmp_path / "data", train=3, dev=3, test=3)
    pipeline.write_tsv(tmp_path / "data" / f"{split}.tsv", [("酸", "安全"), ("碱", "财务")])
    with pytest.raises(InputError, match=f"{split}.tsv, line 2: label '财务' does not occur in the training set"):
        if split == "dev":
            run(built, tmp_path / "run", data_dir=data)
        else:
            run(built, built.classifier, data_dir=data, do_train=False, do_eval=True)


def test_texts_that_are_cut_are_told(built, tmp_path, capsys):
    data = pipeline.write_labelled(tmp_path / "data", train=9, dev=0, test=0)
    # [CLS] and [SEP] take two places: of lengths 3, 4 and 5, one is shorter than 6 tokens, one as long, one longer.
    rows = [("的" * length, label) for length, label in zip((3, 4, 5), pipeline.LABELS, strict=True)]
    for split in ("train", "dev", "test"):
        pipeline.write_tsv(tmp_path / "data" / f"{split}.tsv", rows)
    run(built, tmp_path / "run", data_dir=data, max_seq_length=6, do_eval=True)
    printed = capsys.readouterr().out
    assert printed.count("66.7% of the training texts reach --max_seq_length=6 tokens; what follows there is not") == 1
    assert printed.count("33.3% of the texts are longer than 6 tokens and were cut at the end") == 2
    run(built, tmp_path / "longer", data_dir=data, max_seq_length=8, do_eval=True)
    assert not re.search("% of the (training )?texts", capsys.readouterr().out)


def test_a_folder_without_an_encoder_is_refused(built, tmp_path):
    with pytest.raises(
        InputError, match=f"--init_checkpoint={tmp_path}: no checkpoint there; name an earlier --output_dir"
    ):
        run(built, tmp_path / "run", init_checkpoint=str(tmp_path))


def test_a_folder_without_a_classifier_is_refused(built, tmp_path):
    with pytest.raises(
        InputError, match=f"--output_dir={tmp_path}: no trained classifier there; give --do_train first"
    ):
        run(built, tmp_path, **NOT_TRAINING, do_predict=True, text="酸")


def test_other_settings_than_the_run_began_with_are_refused(built):
    before = pipeline.arrays(f"{built.classifier}/classifier.weights.h5")
    with pytest.raises(InputError, match="this run began with --pooling=max, now it is mean"):
        run(built, built.classifier, pooling="mean", num_train_epochs=2.0)
    after = pipeline.arrays(f"{built.classifier}/classifier.weights.h5")
    assert set(difference(before, after).values()) == {0.0}

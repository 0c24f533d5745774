"""Distillation on a task: labels on labelled texts, the teacher's answers on the others, on any number of replicas."""

import json
import math

import numpy as np
import pipeline
import pytest
import tensorflow as tf
import tiny

from chemkd_tf.distillation.teacher_cache import TeacherCache
from chemkd_tf.errors import InputError
from chemkd_tf.models.classifier import TextClassifier
from chemkd_tf.stages import classify


@pytest.fixture(autouse=True, scope="module")
def _quick():
    with tiny.unoptimised_graphs():
        yield


def distiller(temperature=2.0, prediction_weight=0.5, representation_weight=0.0, **changes):
    config = tiny.classification_config(
        temperature=temperature,
        prediction_loss_weight=prediction_weight,
        representation_loss_weight=representation_weight,
        **changes,
    )
    return tiny.task_distiller(config)


def softmax(logits):
    powers = [math.exp(logit) for logit in logits]
    return [power / sum(powers) for power in powers]


def test_its_losses_are_those_of_plain_arithmetic():
    model, batch = distiller(), tiny.task_batch()
    inputs = {name: batch[name] for name in tiny.ENCODER_INPUTS}
    taught, answered = (
        network(inputs, training=False)["logits"].numpy().tolist() for network in (model.teacher, model.student)
    )
    # training=True: the teacher must not drop out all the same.
    terms = model.compute_terms(tiny.tensors(batch), training=True)
    labelled = [-math.log(softmax(answered[row])[batch["label_ids"][row]]) for row in (0, 1)]
    soft = [
        -sum(
            p * math.log(q)
            for p, q in zip(
                softmax([logit / 2 for logit in taught[row]]),
                softmax([logit / 2 for logit in answered[row]]),
                strict=True,
            )
        )
        for row in (2, 3, 4)
    ]
    assert set(terms.losses) == {"classification_loss", "prediction_loss"}
    total, weight = terms.losses["classification_loss"]
    np.testing.assert_allclose(total, [*labelled, 0, 0, 0, 0], rtol=1e-5)
    assert weight.numpy().tolist() == [1, 1, 0, 0, 0, 0]
    total, weight = terms.losses["prediction_loss"]
    np.testing.assert_allclose(total, soft, rtol=1e-5)  # the teacher is not asked about the others
    assert weight.numpy().tolist() == [1, 1, 1]
    objective = model.objective({name: tf.reduce_sum(pair[0]) for name, pair in terms.losses.items()},
                                {name: tf.reduce_sum(pair[1]) for name, pair in terms.losses.items()})  # fmt: skip
    # Hinton et al. give the gradient back what the temperature takes from it: times 2².
    assert float(objective) == pytest.approx(sum(labelled) / 2 + 0.5 * 4 * sum(soft) / 3, rel=1e-5)
    metrics = {name: float(value) for name, value in model.summarise(terms.statistics).items()}
    alike = [np.argmax(taught[row]) == np.argmax(answered[row]) for row in (2, 3, 4)]
    right = [np.argmax(answered[row]) == batch["label_ids"][row] for row in (0, 1)]
    assert metrics == pytest.approx({"accuracy": np.mean(right), "agreement_with_teacher": np.mean(alike)})


def test_the_loss_of_the_representations_is_that_of_plain_arithmetic():
    model, batch = distiller(representation_weight=3.0), tiny.task_batch()
    inputs = {name: batch[name] for name in tiny.ENCODER_INPUTS}

    def mean_over_tokens(network):
        hidden = network(inputs, training=False)["hidden_2"].numpy()
        return [hidden[row, : batch["padding_mask"][row].sum()].mean(axis=0) for row in range(6)]

    student, teacher = mean_over_tokens(model.student), mean_over_tokens(model.teacher)
    matrix = model.objectives[-1].projections[0].kernel.numpy()
    assert matrix.shape == (len(student[0]), len(teacher[0]))
    taught = (2, 3, 4)  # texts without a label; the last row only fills the batch
    expected = [((student[row] @ matrix - teacher[row]) ** 2).mean() for row in taught]
    plain = distiller().compute_terms(tiny.tensors(batch), training=True)
    terms = model.compute_terms(tiny.tensors(batch), training=True)
    total, weight = terms.losses["representation_loss"]
    np.testing.assert_allclose(total, expected, rtol=1e-4)
    assert weight.numpy().tolist() == [1, 1, 1]
    for name in plain.losses:
        for found, without in zip(terms.losses[name], plain.losses[name], strict=True):
            np.testing.assert_allclose(tf.reduce_sum(found), tf.reduce_sum(without), rtol=1e-5)
    assert model.loss_weights["representation_loss"] == 3.0
    metrics = model.summarise(terms.statistics)
    residual = sum(((student[row] @ matrix - teacher[row]) ** 2).sum() for row in taught)
    variance = 3 * np.var(np.array([teacher[row] for row in taught]), axis=0).sum()
    assert float(metrics["r_squared_representation"]) == pytest.approx(1 - residual / variance, rel=1e-3)


def test_without_unlabelled_texts_the_teacher_is_learnt_from_on_the_labelled_ones():
    model, batch = distiller(unlabelled_file="", representation_weight=1.0), tiny.task_batch()
    batch["has_label"] = np.ones(6, np.float32)
    weights = {name: value.numpy().tolist() for name, value in model.compute_weights(tiny.tensors(batch)).items()}
    everyone = [1, 1, 1, 1, 1, 0]
    assert weights == dict.fromkeys(("prediction_loss", "classification_loss", "representation_loss"), everyone)


def test_only_the_student_and_its_projection_are_trained():
    model = distiller()
    expected = {id(variable) for variable in model.student.trainable_variables}
    assert {id(variable) for variable in model.trainable_variables} == expected
    model = distiller(representation_weight=1.0)
    expected = {id(variable) for variable in model.student.trainable_variables}
    expected.add(id(model.objectives[-1].projections[0].kernel))
    assert {id(variable) for variable in model.trainable_variables} == expected


def test_a_share_of_labelled_texts_alone_asks_the_teacher_nothing():
    """A replica's share may hold no unlabelled text."""
    model, batch = distiller(), tiny.task_batch()
    share = {name: value[:2] for name, value in batch.items()}
    terms = tf.function(model.compute_terms)(tiny.tensors(share), training=True)
    total, weight = terms.losses["prediction_loss"]
    assert total.shape == weight.shape == (0,)
    assert float(tf.reduce_sum(terms.losses["classification_loss"][1])) == 2


def test_answers_asked_for_beforehand_give_the_same_losses():
    model, batch = distiller(), tiny.task_batch()
    inputs = {name: batch[name] for name in tiny.ENCODER_INPUTS}
    taught = model.teacher(inputs, training=False)["logits"].numpy()
    taught[:2] = 0  # labelled texts: nobody asked
    asked_now = model.compute_terms(tiny.tensors(batch), training=True)
    model.teacher = None  # not asked again
    beforehand = model.compute_terms(tiny.tensors({**batch, "taught_logits": taught}), training=True)
    for name in asked_now.losses:
        for one, other in zip(asked_now.losses[name], beforehand.losses[name], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)
    assert asked_now.statistics.keys() == beforehand.statistics.keys()
    for name, value in asked_now.statistics.items():
        np.testing.assert_allclose(value, beforehand.statistics[name])


# --- The stage ---


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return pipeline.build(tmp_path_factory)


@pytest.fixture(scope="module")
def taught(built, tmp_path_factory):
    """A fine-tuned teacher, and a corpus without labels."""
    folder = tmp_path_factory.mktemp("task")
    config = pipeline.classification(built, folder / "teacher", init_checkpoint=built.teacher, num_train_epochs=6.0)
    classify.run(config)
    articles = [text for text, _ in pipeline.random_texts(11, 40)]
    # Two lines an article: they are joined again.
    lines = [f"{text[: len(text) // 2]}\n{text[len(text) // 2 :]}\n" for text in articles]
    (folder / "corpus.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


def run(built, taught, output_dir, **changes):
    values = dict(teacher_dir=str(taught / "teacher"), unlabelled_file=str(taught / "corpus.txt"))
    config = pipeline.classification(built, output_dir, **{**values, "unlabelled_batch_size": 5, **changes})
    return classify.run(config)


def lines_of(output_dir, split):
    with open(f"{output_dir}/metrics.jsonl", encoding="utf-8") as file:
        return [line for line in map(json.loads, file) if line["split"] == split]


@pytest.mark.parametrize("representation_weight", [pytest.param(0.0, marks=pytest.mark.slow), 2.0])
def test_one_replica_and_two_make_the_same_student_and_the_teacher_stays(
    built, taught, tmp_path, representation_weight
):
    teacher = pipeline.arrays(taught / "teacher" / "classifier.weights.h5")
    for replicas in (1, 2):
        run(
            built, taught, tmp_path / str(replicas), num_replicas=replicas, num_train_epochs=0.375, train_batch_size=3,
            classifier_dropout=0.0, warmup_proportion=0.0, learning_rate=1e-3, log_every_steps=1,
            sentence_drop_prob=0.3, token_mask_prob=0.2, shuffle_sentences=True, max_unlabelled_texts=20,
            representation_loss_weight=representation_weight,
        )  # fmt: skip
    one, two = (pipeline.arrays(tmp_path / name / "classifier.weights.h5") for name in "12")
    assert one.keys() == two.keys()
    apart = {path: float(np.abs(one[path] - two[path]).max()) for path in one}
    assert max(apart.values()) < 1e-6, apart
    losses = [[line["prediction_loss"] for line in lines_of(tmp_path / name, "train")] for name in "12"]
    assert len(losses[0]) == 3
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-6)
    again = pipeline.arrays(taught / "teacher" / "classifier.weights.h5")
    assert all((again[path] == teacher[path]).all() for path in teacher)


@pytest.mark.slow
def test_the_student_comes_to_answer_as_its_teacher(built, taught, tmp_path):
    run(built, taught, tmp_path, num_train_epochs=25.0, learning_rate=0.02, unlabelled_batch_size=16, log_every_steps=1)
    lines = lines_of(tmp_path, "train")
    assert {"classification_loss", "prediction_loss", "agreement_with_teacher", "accuracy"} < set(lines[0])
    early, late = (np.mean([line["agreement_with_teacher"] for line in part]) for part in (lines[:5], lines[-10:]))
    assert late > 0.8 and late > early + 0.15, (early, late)
    # The kept classifier is the student alone: nothing of the teacher is in its file.
    assert len(TextClassifier(str(tmp_path)).network.weights) == len(
        pipeline.arrays(tmp_path / "classifier.weights.h5")
    )


def test_the_teacher_is_asked_once_for_each_text_and_its_answers_are_kept(built, taught, tmp_path, monkeypatch):
    asked = []
    ask = TeacherCache._ask

    def count(self, arrays, batches, done, num_texts, progress_file):
        asked.append((done, num_texts))
        return ask(self, arrays, batches, done, num_texts, progress_file)

    monkeypatch.setattr(TeacherCache, "_ask", count)
    arguments = dict(num_train_epochs=2.0, max_unlabelled_texts=7)
    run(built, taught, tmp_path / "run", **arguments)
    (path,) = (tmp_path / "run" / "taught").glob("*/logits.npy")
    kept = np.load(path)
    assert kept.shape == (7, tiny.CLASSES)
    trained = pipeline.arrays(tmp_path / "run" / "classifier.weights.h5")
    run(built, taught, tmp_path / "run", **arguments)  # resumed: nothing left to do
    assert asked == [(0, 7)]
    # Other answers, another student: those in the file are what it learns.
    other = tmp_path / "other" / "taught" / path.parent.name
    other.mkdir(parents=True)
    np.save(other / path.name, kept[:, ::-1])
    (other / "progress.json").write_text('{"done": 7}', encoding="utf-8")
    run(built, taught, tmp_path / "other", **arguments)
    of_other = pipeline.arrays(tmp_path / "other" / "classifier.weights.h5")
    assert asked == [(0, 7)]
    assert max(np.abs(trained[name] - of_other[name]).max() for name in trained) > 1e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_unlabelled_texts": -1}, "--max_unlabelled_texts=-1: 0 \\(all\\) or more"),
        ({"teacher_dir": ""}, "--unlabelled_file needs --teacher_dir"),
        (
            {"teacher_cache_gb": 1e-9},
            "--teacher_cache_gb=1e-09: what the teacher says would take 4.8e-07 GB \\(logits 40x3",
        ),
        ({"teacher_dir": "nowhere"}, "--teacher_dir=nowhere: no classifier.json there; name the --output_dir"),
        ({"unlabelled_file": "nowhere.txt"}, "--unlabelled_file: no file matches 'nowhere.txt'"),
        ({"unlabelled_batch_size": 0}, "--unlabelled_batch_size=0: at least 1"),
        ({"temperature": -1.0}, "--temperature=-1.0: above 0, or 0 for the method's own"),
        ({"method": "magic"}, "--method=magic: one of layered, tinybert"),
        ({"method": "layered"}, "--layer_map=1,3,5 names 3 teacher layers, the student has"),
        ({"prediction_loss_weight": -1.0}, "--prediction_loss_weight=-1.0: 0 \\(off\\) or more"),
        ({"representation_loss_weight": -1.0}, "--representation_loss_weight=-1.0: 0 \\(off\\) or more"),
        ({"token_mask_prob": 0.6}, "--token_mask_prob=0.6: from 0 to 0.5"),
        ({"adversarial_epsilon": -1.0}, "--adversarial_epsilon=-1.0: 0 \\(off\\) or more"),
        ({"adversarial_epsilon": 1.0}, "--adversarial_epsilon can't be combined with --teacher_dir"),
        ({"sentence_drop_prob": 1.0}, "--sentence_drop_prob=1.0: from 0 to below 1"),
        ({"eval_every_epochs": 0}, "--eval_every_epochs=0: at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(built, taught, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        run(built, taught, tmp_path / "run", **changes)
    assert not (tmp_path / "run" / "classifier.weights.h5").exists()


def test_a_teacher_of_other_labels_is_refused(built, taught, tmp_path):
    (tmp_path / "data").mkdir()
    for split in ("train", "dev"):
        pipeline.write_tsv(tmp_path / "data" / f"{split}.tsv", [("酸", "安全"), ("水", "财务")])
    with pytest.raises(InputError, match="its labels are 安全, 环保, 设备, those of --data_dir are 安全, 财务"):
        run(built, taught, tmp_path / "run", data_dir=str(tmp_path / "data"))


def test_a_teacher_of_another_vocabulary_is_refused(built, taught, tmp_path):
    for name in ("classifier.json", "classifier.weights.h5"):
        (tmp_path / name).write_bytes((taught / "teacher" / name).read_bytes())
    vocabulary = (taught / "teacher" / "vocab.txt").read_text(encoding="utf-8").splitlines()
    (tmp_path / "vocab.txt").write_text("\n".join([*vocabulary[:-2], *vocabulary[:-3:-1]]) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="another vocabulary than that of --init_checkpoint"):
        run(built, taught, tmp_path / "run", teacher_dir=str(tmp_path))


def test_a_student_that_reads_further_than_its_teacher_is_refused(built, taught, tmp_path):
    with pytest.raises(InputError, match="=33: the teacher in .* takes at most 32 tokens; fine-tune it with"):
        run(built, taught, tmp_path / "run", max_seq_length=33)


def test_an_empty_corpus_is_refused(built, taught, tmp_path):
    (tmp_path / "empty.txt").write_text("\n \n", encoding="utf-8")
    with pytest.raises(InputError, match="empty.txt: no text in it"):
        run(built, taught, tmp_path / "run", unlabelled_file=str(tmp_path / "empty.txt"))

"""A transformer student goes through every stage: distilled, a classifier's encoder, a teacher in its turn."""

import json
import os

import numpy as np
import pipeline
import pytest
import tiny

from chemkd_tf.errors import InputError
from chemkd_tf.models.architecture import TeacherArchitecture
from chemkd_tf.models.checkpoints import load_pretrained
from chemkd_tf.stages import classify, distill


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return pipeline.build(tmp_path_factory)


@pytest.fixture(scope="module")
def student(built, tmp_path_factory):
    """Two layers of width 12, started from the projected embedding of the teacher (one layer of width 24)."""
    folder = str(tmp_path_factory.mktemp("students") / "transformer")
    settings = pipeline.distillation(
        built, folder, student="transformer", num_student_layers=2, student_width=12, layer_map=(1, 1),
        embedding_init="pca", eval_input_file=built.records,
    )  # fmt: skip
    with tiny.unoptimised_graphs():
        metrics = distill.train_and_evaluate(settings)
    return folder, metrics


def test_it_is_distilled_and_saved_as_an_encoder_of_its_own_shape(built, student):
    folder, metrics = student
    assert {"embedding_loss", "hidden_loss", "prediction_loss", "r_squared_hidden_2"} < set(metrics)
    assert all(np.isfinite(value) for value in metrics.values())
    teacher = load_pretrained(built.teacher, "teacher_dir").architecture
    assert load_pretrained(folder, "init_checkpoint").architecture == TeacherArchitecture(
        vocabulary_size=teacher.vocabulary_size, num_layers=2, num_heads=2, hidden_dim=12, intermediate_dim=48,
        dropout=teacher.dropout, max_sequence_length=pipeline.TOKENS,
    )  # fmt: skip


@pytest.mark.slow
def test_a_classifier_learns_on_it(built, student, tmp_path):
    settings = pipeline.classification(
        built, tmp_path / "classifier", init_checkpoint=student[0], num_train_epochs=1.0, do_eval=True
    )
    with tiny.unoptimised_graphs():
        reports = classify.run(settings)
    assert set(reports) == {"dev", "test"}
    with open(tmp_path / "classifier" / "classifier.json", encoding="utf-8") as file:
        assert json.load(file)["architecture"]["hidden_dim"] == 12


@pytest.mark.slow
def test_it_teaches_a_bilstm_in_its_turn(built, student, tmp_path):
    settings = pipeline.distillation(
        built, tmp_path / "bilstm", teacher_dir=student[0], layer_map=(2,), num_train_steps=1
    )
    with tiny.unoptimised_graphs():
        distill.train_and_evaluate(settings)
    assert load_pretrained(str(tmp_path / "bilstm"), "teacher_dir").architecture.kind == "student"


def test_it_learns_the_attention_scores_of_its_teacher(built, tmp_path):
    settings = pipeline.distillation(
        built, tmp_path / "tinybert", student="transformer", student_width=12, method="tinybert", num_train_steps=1,
        eval_input_file=built.records,
    )  # fmt: skip
    with tiny.unoptimised_graphs():
        metrics = distill.train_and_evaluate(settings)
    assert metrics["attention_loss"] > 0 and np.isfinite(metrics["loss"])


def test_it_starts_from_the_layers_of_its_teacher(built, tmp_path):
    settings = pipeline.distillation(
        built, tmp_path / "copy", student="transformer", student_width=24, student_intermediate_size=32,
        init_student_layers=(1,), num_train_steps=1, learning_rate=1e-9, weight_decay=0.0,
    )  # fmt: skip
    with tiny.unoptimised_graphs():
        distill.train_and_evaluate(settings)
    found, teacher = (
        pipeline.arrays(os.path.join(folder, "model.weights.h5")) for folder in (tmp_path / "copy", built.teacher)
    )
    assert set(found) == set(teacher)
    for name, values in found.items():  # one update of next to nothing
        np.testing.assert_allclose(values, teacher[name][: len(values)], atol=1e-6, err_msg=name)


def test_layers_of_another_shape_are_refused_before_anything_is_written(built, tmp_path):
    settings = pipeline.distillation(
        built, tmp_path / "refused", student="transformer", student_width=12, init_student_layers=(1,)
    )
    with pytest.raises(InputError, match="--init_student_layers=1 needs layers of the teacher's shape"):
        distill.train_and_evaluate(settings)
    assert not os.path.exists(tmp_path / "refused")

"""Methods and schedules through the stages: what a run leaves behind, and that it goes on with the same command."""

import json

import numpy as np
import pipeline
import pytest
import tiny

from chemkd_tf.errors import InputError
from chemkd_tf.models.classifier import TextClassifier
from chemkd_tf.stages import classify, distill


@pytest.fixture(autouse=True, scope="module")
def _quick():
    with tiny.unoptimised_graphs():
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return pipeline.build(tmp_path_factory)


@pytest.fixture(scope="module")
def teacher_classifier(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("taught") / "teacher"
    classify.run(pipeline.classification(built, folder, init_checkpoint=built.teacher, num_train_epochs=3.0))
    return str(folder)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_a_staged_distillation_leaves_a_student_and_the_curves_of_its_phases(built, tmp_path, capsys):
    config = pipeline.distillation(
        built, tmp_path, schedule="gradual_unfreezing", num_train_steps=10, num_warmup_steps=4, log_every_steps=1,
        eval_input_file=built.records, eval_every_steps=100, max_eval_steps=1,
    )  # fmt: skip
    metrics = distill.train_and_evaluate(config)
    assert {"embedding_loss", "hidden_loss", "prediction_loss", "r_squared_hidden_1"} < set(metrics)
    of_training = [line for line in lines(tmp_path) if line["split"] == "train"]
    losses = [sorted(name for name in line if name in ("embedding_loss", "hidden_loss", "prediction_loss"))
              for line in of_training]  # fmt: skip
    assert losses == [["embedding_loss"]] + [["hidden_loss"]] * 5 + [["prediction_loss"]] * 4
    # Each phase ends with an evaluation of everything, and begins with a small learning rate.
    evaluated = [line["step"] for line in lines(tmp_path) if line["split"] == "eval"]
    assert evaluated[:2] == [1, 6] and evaluated[-1] == 10
    rates = [line["learning_rate"] for line in of_training]
    assert rates[1] < max(rates[1:6]) and rates[5] < max(rates[1:6])
    again = distill.train_and_evaluate(config)  # nothing is left to do
    assert again["hidden_loss"] == pytest.approx(metrics["hidden_loss"], rel=1e-5)
    assert "hidden, 2 of 5" in capsys.readouterr().err


@pytest.mark.parametrize(
    "method",
    ["lrc_bert", *(pytest.param(each, marks=pytest.mark.slow) for each in ("distilbert", "bert_pkd", "logits_mse"))],
)
def test_every_method_leaves_a_student_without_projections(built, tmp_path, method):
    config = pipeline.distillation(built, tmp_path, method=method, num_train_steps=5, log_every_steps=1)
    distill.train_and_evaluate(config)
    names = pipeline.arrays(tmp_path / "model.weights.h5")
    plain = pipeline.arrays(f"{built.student}/model.weights.h5")
    assert names.keys() == plain.keys()
    assert all(np.isfinite(line["loss"]) for line in lines(tmp_path))
    classify.run(pipeline.classification(built, tmp_path / "classifier", init_checkpoint=str(tmp_path),
                                         num_train_epochs=1.0))  # fmt: skip


@pytest.mark.slow
def test_all_states_of_the_teacher_are_learnt_on_a_task_from_disk(built, teacher_classifier, tmp_path):
    articles = [text for text, _ in pipeline.random_texts(11, 20)]
    (tmp_path / "corpus.txt").write_text("\n\n".join(articles), encoding="utf-8")
    config = pipeline.classification(
        built, tmp_path / "run", teacher_dir=teacher_classifier, unlabelled_file=str(tmp_path / "corpus.txt"),
        method="layered", schedule="stagewise", layer_map=(1,), representation_loss_weight=0.5, num_train_epochs=4.0,
        unlabelled_batch_size=6, log_every_steps=1,
    )  # fmt: skip
    classify.run(config)
    kept = {path.stem for path in (tmp_path / "run" / "taught").glob("*/*.npy")}
    assert kept == {"embedding", "hidden_1", "logits", "representation"}
    of_training = [line for line in lines(tmp_path / "run") if line["split"] == "train"]
    assert "embedding_loss" in of_training[0] and "hidden_loss" not in of_training[0]
    assert {"prediction_loss", "classification_loss", "accuracy", "agreement_with_teacher"} < set(of_training[-1])
    weights = pipeline.arrays(tmp_path / "run" / "classifier.weights.h5")
    assert len(TextClassifier(str(tmp_path / "run")).network.weights) == len(weights)


def test_students_of_one_teacher_share_what_it_said(built, teacher_classifier, tmp_path, capsys):
    arguments = dict(
        teacher_dir=teacher_classifier,
        num_train_epochs=1.0,
        teacher_cache_dir=str(tmp_path / "shared"),
        log_every_steps=1,
    )
    for name in "ab":
        classify.run(pipeline.classification(built, tmp_path / name, **arguments))
        assert ("asking the teacher" in capsys.readouterr().err) == (name == "a")
        assert not (tmp_path / name / "taught").exists()
    assert lines(tmp_path / "a")[0]["prediction_loss"] == lines(tmp_path / "b")[0]["prediction_loss"]


@pytest.mark.slow
def test_without_unlabelled_texts_the_teacher_speaks_of_the_labelled_ones(built, teacher_classifier, tmp_path):
    arguments = dict(teacher_dir=teacher_classifier, num_train_epochs=2.0, log_every_steps=1)
    classify.run(pipeline.classification(built, tmp_path / "fixed", **arguments))
    (path,) = (tmp_path / "fixed" / "taught").glob("*/*.npy")
    assert np.load(path).shape == (24, len(pipeline.LABELS))
    classify.run(pipeline.classification(built, tmp_path / "asked", teacher_cache_gb=0.0, **arguments))
    assert not (tmp_path / "asked" / "taught").exists()
    # Variants are new each time: nothing to ask beforehand.
    classify.run(pipeline.classification(built, tmp_path / "variants", token_mask_prob=0.2, **arguments))
    assert not (tmp_path / "variants" / "taught").exists()
    one, other = (pipeline.arrays(tmp_path / name / "classifier.weights.h5") for name in ("fixed", "asked"))
    for name in one:
        np.testing.assert_allclose(other[name], one[name], atol=1e-4, err_msg=name)


def test_attention_that_a_bilstm_lacks_is_refused_before_anything_is_written(built, teacher_classifier, tmp_path):
    for run in (
        lambda: distill.train_and_evaluate(pipeline.distillation(built, tmp_path / "run", method="tinybert")),
        lambda: classify.run(
            pipeline.classification(
                built, tmp_path / "run", method="tinybert", teacher_dir=teacher_classifier, layer_map=(1,)
            )
        ),
    ):
        with pytest.raises(InputError, match="--method=tinybert learns attention scores, which a BiLSTM doesn't have"):
            run()
        assert not (tmp_path / "run").exists()

"""Classification figures against scikit-learn."""

import numpy as np
import pytest
import sklearn.metrics

from chemkd_tf.training.classification_metrics import classification_report, confusion_matrix, report_lines

CLASSES = 5
LABELS = ["安全", "环保", "设备", "研发", "销售"]


def never_seen(label_ids, predicted_ids):
    return np.where(label_ids == 2, 0, label_ids), predicted_ids


def never_predicted(label_ids, predicted_ids):
    return label_ids, np.where(predicted_ids == 3, 1, predicted_ids)


def neither(label_ids, predicted_ids):
    return np.where(label_ids == 4, 0, label_ids), np.where(predicted_ids == 4, 1, predicted_ids)


def one_class_alone(label_ids, predicted_ids):
    return np.ones_like(label_ids), np.ones_like(predicted_ids)


def never_right(label_ids, predicted_ids):
    return label_ids, (label_ids + 1) % CLASSES


def as_drawn(label_ids, predicted_ids):
    return label_ids, predicted_ids


@pytest.fixture(params=[as_drawn, never_seen, never_predicted, neither, one_class_alone, never_right])
def drawn(request):
    rng = np.random.default_rng(11)
    label_ids = rng.choice(CLASSES, 60, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    predicted_ids = np.where(rng.random(60) < 0.6, label_ids, rng.integers(0, CLASSES, 60))
    label_ids, predicted_ids = request.param(label_ids, predicted_ids)
    return label_ids, predicted_ids, confusion_matrix(label_ids, predicted_ids, CLASSES)


def test_the_confusion_matrix_is_scikit_learns(drawn):
    label_ids, predicted_ids, matrix = drawn
    expected = sklearn.metrics.confusion_matrix(label_ids, predicted_ids, labels=range(CLASSES))
    np.testing.assert_array_equal(matrix, expected)
    assert classification_report(matrix, LABELS)["confusion_matrix"] == expected.tolist()


def test_accuracy_and_macro_f1_are_scikit_learns(drawn):
    label_ids, predicted_ids, matrix = drawn
    report = classification_report(matrix, LABELS)
    assert report["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(label_ids, predicted_ids))
    expected = sklearn.metrics.f1_score(label_ids, predicted_ids, average="macro", zero_division=0)
    assert report["macro_f1"] == pytest.approx(expected)


def test_the_figures_of_every_class_are_scikit_learns(drawn):
    label_ids, predicted_ids, matrix = drawn
    expected = sklearn.metrics.precision_recall_fscore_support(
        label_ids, predicted_ids, labels=range(CLASSES), zero_division=0
    )
    per_class = classification_report(matrix, LABELS)["per_class"]
    assert list(per_class) == LABELS
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [row[name] for row in per_class.values()] == pytest.approx(list(values))


def test_the_matrix_has_true_classes_in_rows():
    matrix = confusion_matrix(np.array([0, 0, 0, 1]), np.array([1, 1, 0, 2]), 3)
    np.testing.assert_array_equal(matrix, [[1, 2, 0], [0, 0, 1], [0, 0, 0]])


def test_no_example_at_all_gives_zeros():
    report = classification_report(np.zeros((2, 2), int), ["甲", "乙"])
    assert (report["accuracy"], report["macro_f1"]) == (0.0, 0.0)


def test_the_lines_hold_the_figures(drawn):
    *_, matrix = drawn
    report = classification_report(matrix, LABELS)
    lines = report_lines(report)
    assert len(lines) == 1 + CLASSES + 1 + CLASSES + 1
    for label, line in zip(LABELS, lines[1 : 1 + CLASSES], strict=True):
        row = report["per_class"][label]
        numbers = [f"{row[name]:.4f}" for name in ("precision", "recall", "f1")]
        assert line.split() == [*numbers, str(row["support"]), label]
    for label, counts, line in zip(LABELS, matrix, lines[2 + CLASSES : -1], strict=True):
        assert line.split() == [*map(str, counts), label]
    assert lines[-1] == f"accuracy {report['accuracy']:.4f}  macro_f1 {report['macro_f1']:.4f}"

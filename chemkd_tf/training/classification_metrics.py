"""Accuracy, macro-F1, per-class report and confusion matrix, from label numbers (NumPy; agrees with scikit-learn)."""

from typing import Any

import numpy as np


def confusion_matrix(label_ids: np.ndarray, predicted_ids: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts int64 `[C, C]`: row = true class, column = predicted class."""
    matrix = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(matrix, (label_ids, predicted_ids), 1)
    return matrix


def classification_report(matrix: np.ndarray, labels: list[str]) -> dict[str, Any]:
    """Returns accuracy, macro_f1, and per class precision, recall, f1 and support.

    A class counts in macro_f1 if it was seen or predicted; its F1 is 0 where it was never right.

    Args:
        matrix: see `confusion_matrix`.
        labels: name of each class.
    """
    right = np.diag(matrix).astype(float)
    support, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    precision = right / np.maximum(predicted, 1)
    recall = right / np.maximum(support, 1)
    f1 = 2 * right / np.maximum(support + predicted, 1)
    counted = (support + predicted) > 0
    return {
        "accuracy": float(right.sum() / max(matrix.sum(), 1)),
        "macro_f1": float(f1[counted].mean()) if counted.any() else 0.0,
        "per_class": {
            label: {
                "precision": float(precision[index]),
                "recall": float(recall[index]),
                "f1": float(f1[index]),
                "support": int(support[index]),
            }
            for index, label in enumerate(labels)
        },
        "confusion_matrix": matrix.tolist(),
    }


def report_lines(report: dict[str, Any]) -> list[str]:
    """The report as lines for a terminal: a row per class, the confusion matrix, the two summary figures."""
    labels = list(report["per_class"])
    lines = [f"{'precision':>10} {'recall':>8} {'f1':>8} {'support':>8}  class"]
    for label, row in report["per_class"].items():
        lines.append(f"{row['precision']:10.4f} {row['recall']:8.4f} {row['f1']:8.4f} {row['support']:8d}  {label}")
    lines.append("confusion matrix (row: true class, column: predicted class, in the order above)")
    width = max(len(str(cell)) for row in report["confusion_matrix"] for cell in row) + 1
    for label, row in zip(labels, report["confusion_matrix"], strict=True):
        lines.append("".join(f"{cell:{width}d}" for cell in row) + f"  {label}")
    lines.append(f"accuracy {report['accuracy']:.4f}  macro_f1 {report['macro_f1']:.4f}")
    return lines

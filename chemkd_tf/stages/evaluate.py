"""What a trained classifier is worth on held-out texts: reports on dev and test, to the terminal and to files."""

from typing import Any

import numpy as np
import tensorflow as tf

from chemkd_tf.atomic import write_json
from chemkd_tf.data import labelled
from chemkd_tf.errors import InputError
from chemkd_tf.models.classifier import TextClassifier
from chemkd_tf.training.classification_metrics import classification_report, confusion_matrix, report_lines
from chemkd_tf.workdir import WorkingDirectory

_TEXTS_AT_ONCE = 1024


def evaluate(data_dir: str, classifier: TextClassifier, workdir: WorkingDirectory) -> dict[str, dict]:
    """Reports on dev, and on test where there is one, to the terminal and to <split>_report.json.

    Args:
        data_dir: folder with the splits.
        classifier: what is evaluated.
        workdir: where the reports go.

    Returns:
        Reports by split, see `evaluate_split`.

    Raises:
        InputError: neither split is there, or a label that the classifier doesn't know.
    """
    reports = {}
    for split in ("dev", "test"):
        path = labelled.find_split(data_dir, split)
        if path is None:
            continue
        reports[split] = evaluate_split(classifier, data_dir, split)
        write_json(workdir.file(f"{split}_report.json"), reports[split])
        print(f"\n{split}: {path}", *report_lines(reports[split]), sep="\n", flush=True)
        if reports[split]["tokens"]["cut_share"]:
            print(
                f"{reports[split]['tokens']['cut_share']:.1%} of the texts are longer than "
                f"{classifier.description.max_seq_length} tokens and were cut at the end",
                flush=True,
            )
    if not reports:
        raise InputError(f"--data_dir={data_dir}: neither a dev nor a test file (.tsv, .csv or .jsonl) to evaluate on")
    return reports


def evaluate_split(classifier: TextClassifier, data_dir: str, split: str) -> dict[str, Any]:
    """Returns `classification_report` and `tokens` (see `token_statistics`) of a split.

    Raises:
        InputError: it isn't there, or has a label that the classifier doesn't know.
    """
    path = labelled.find_split(data_dir, split)
    if path is None:
        raise InputError(f"--data_dir={data_dir}: no {split}.tsv, {split}.csv or {split}.jsonl in it")
    texts = labelled.read_labelled(path)
    labels = list(classifier.description.labels)
    label_ids = np.array(labelled.label_ids(texts, labels))
    predicted = classifier(texts.texts).argmax(axis=1)
    report = classification_report(confusion_matrix(label_ids, predicted, len(labels)), labels)
    return {**report, "tokens": token_statistics(classifier, texts.texts)}


def token_statistics(classifier: TextClassifier, texts: list[str]) -> dict[str, float]:
    """Returns how well the vocabulary and the length fit these texts.

    Returns:
        `mean` tokens of a text, [CLS] and [SEP] not counted; `unknown_share` of the tokens that are [UNK]; `cut_share`
        of the texts that are longer than the classifier reads.
    """
    unknown, lengths = 0, []
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        tokens = classifier.tokenizer.tokenize(tf.constant(texts[start : start + _TEXTS_AT_ONCE]))
        unknown += int((tokens.flat_values.numpy() == classifier.vocabulary.unknown_id).sum())
        lengths.append(tokens.row_lengths().numpy())
    all_lengths = np.concatenate(lengths)
    return {
        "mean": float(all_lengths.mean()),
        "unknown_share": unknown / max(int(all_lengths.sum()), 1),
        "cut_share": float((all_lengths > classifier.description.max_seq_length - 2).mean()),
    }

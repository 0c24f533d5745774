"""MODEL_CARD.md: what an exported classifier is, what it was made of, what it is worth, what it can't do.

Mitchell et al. 2019, "Model Cards for Model Reporting" (arXiv:1810.03993), say what belongs into one; the header is the
one that Hugging Face reads. Every figure is measured here or read from what the runs left behind; what they did not
leave is said to be missing.
"""

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

from chemkd_tf.atomic import atomic_write
from chemkd_tf.export import artefact
from chemkd_tf.export.measurements import file_sizes, latencies, machine
from chemkd_tf.export.run_history import RunHistory, read_history
from chemkd_tf.models.classifier import TextClassifier

CARD_FILE = "MODEL_CARD.md"
_SETTINGS = (
    "num_train_epochs", "train_batch_size", "learning_rate", "weight_decay", "pooling", "max_seq_length",
    "classifier_dropout", "token_mask_prob", "sentence_drop_prob", "shuffle_sentences", "random_init",
    "freeze_encoder", "random_seed", "metric_for_best",
)  # fmt: skip


def write_model_card(
    classifier: TextClassifier, export_dir: str, models: dict[str, list[str]], measure_latency: bool = True
) -> str:
    """Writes the card beside the exported models.

    Args:
        classifier: what was exported.
        export_dir: folder of all formats, where the card goes.
        models: paths of the models by format.
        measure_latency: load each and time it; otherwise the card has no latencies.

    Returns:
        Path of the card.
    """
    history = read_history(classifier.directory)
    paths = [path for of_format in models.values() for path in of_format]
    times = latencies(classifier, paths) if measure_latency else {}
    parts = [
        _front_matter(classifier, history, list(models)),
        _what_it_is(classifier, history),
        _labels(classifier, history),
        _data(history),
        _quality(history),
        _training(history),
        _files(export_dir, models),
        _speed(export_dir, times),
        _limits(classifier, history),
    ]
    path = os.path.join(export_dir, CARD_FILE)
    with atomic_write(path) as file:
        file.write("\n\n".join(part for part in parts if part) + "\n")
    return path


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Returns a Markdown table; what stands in a cell can't end it."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) else f"{value:.4f}" if isinstance(value, float) else str(value)
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _front_matter(classifier: TextClassifier, history: RunHistory, formats: list[str]) -> str:
    """YAML; strings as JSON has them, which YAML reads."""
    lines = [
        "---",
        "language: zh",
        "library_name: chemkd_tf",
        "pipeline_tag: text-classification",
        f"tags: {json.dumps(['text-classification', 'knowledge-distillation', *formats])}",
    ]
    if history.reports:
        lines += ["model-index:", f"  - name: {json.dumps(_title(classifier))}", "    results:"]
    for split, report in history.reports.items():
        lines += [
            "      - task: {type: text-classification}",
            f"        dataset: {{name: {json.dumps(_data_name(history), ensure_ascii=False)}, type: text, "
            f"split: {split}}}",
            "        metrics:",
            f"          - {{type: accuracy, value: {report['accuracy']:.4f}}}",
            f"          - {{type: f1, name: macro-F1, value: {report['macro_f1']:.4f}}}",
        ]
    return "\n".join([*lines, "---"])


def _title(classifier: TextClassifier) -> str:
    return f"chemkd_tf classifier {artefact.run_id(classifier)}"


def _data_name(history: RunHistory) -> str:
    return os.path.basename(str(history.settings.get("data_dir", "")).rstrip("/")) or "unknown"


def _what_it_is(classifier: TextClassifier, history: RunHistory) -> str:
    description = classifier.description
    shape = description.architecture
    rank = getattr(shape, "embedding_rank", 0)
    rows = [
        ("architecture", f"{_KINDS[shape.kind]}, {shape.num_layers} layers, width {shape.layer_width}"),
        ("token embedding", f"{shape.vocabulary_size:,} entries" + (f", factorised to rank {rank}" if rank else "")),
        ("one vector of a text", f"pooling: {description.pooling}"),
        ("parameters", classifier.network.count_params()),
        ("reads", f"Chinese text, at most {description.max_seq_length} tokens with [CLS] and [SEP]"),
        ("answers", f"probabilities of {len(description.labels)} classes"),
        ("id of the training run", f"`{artefact.run_id(classifier)}` (the same in artefact.json)"),
    ]
    cuts = [
        f"- vocabulary cut to entries that `{settings['shrink_texts']}` holds {settings['prune_min_count']} or more of"
        for settings in history.shrinking
        if settings.get("shrink_texts")
    ]
    parts = [f"# {_title(classifier)}", markdown_table(("what", "value"), rows), "\n".join(cuts)]
    return "\n\n".join(part for part in parts if part)


_KINDS = {"student": "stacked bidirectional LSTMs", "teacher": "transformer encoder"}


def _labels(classifier: TextClassifier, history: RunHistory) -> str:
    """Labels, and how many texts of each the splits have."""
    splits: dict[str, dict[str, int]] = {split: data["per_class"] for split, data in history.data.items()}
    for split, report in history.reports.items():
        splits[f"{split} (reported)"] = {label: row["support"] for label, row in report["per_class"].items()}
    rows = [
        (number, label, *(counts.get(label, 0) for counts in splits.values()))
        for number, label in enumerate(classifier.description.labels)
    ]
    totals = ("", "all", *(sum(counts.values()) for counts in splits.values()))
    header = ("id", "label", *(f"texts, {split}" for split in splits))
    return "## Labels\n\n" + markdown_table(header, [*rows, totals] if splits else rows)


def _data(history: RunHistory) -> str:
    lines = ["## Data", ""]
    lines.append(f"- labelled texts: `{history.settings.get('data_dir') or 'not recorded'}`")
    lines += [f"- {split}: `{data['file']}`, {data['texts']:,} texts" for split, data in history.data.items()]
    if not history.data:
        lines.append("- numbers of training texts: not recorded by the version that trained this classifier")
    if history.settings.get("unlabelled_file"):
        lines.append(f"- unlabelled texts that the teacher answered for: `{history.settings['unlabelled_file']}`")
    return "\n".join(lines)


def _quality(history: RunHistory) -> str:
    if not history.reports:
        return "## Quality\n\nNot evaluated: `run_classifier.py --do_eval` before `--do_export` puts figures here."
    parts = ["## Quality"]
    for split, report in history.reports.items():
        per_class = [
            (label, row["precision"], row["recall"], row["f1"], row["support"])
            for label, row in report["per_class"].items()
        ]
        labels = list(report["per_class"])
        confusion = [(label, *row) for label, row in zip(labels, report["confusion_matrix"], strict=True)]
        parts += [
            f"### On {split}",
            f"Accuracy {report['accuracy']:.4f}, macro-F1 {report['macro_f1']:.4f}.",
            markdown_table(("class", "precision", "recall", "F1", "texts"), per_class),
            "Confusion: a row for the true class, a column for the predicted one.",
            markdown_table(("true class", *labels), confusion),
        ]
    if history.settings.get("metric_for_best"):
        parts.append(
            f"The weights with the best {history.settings['metric_for_best']} on dev were kept, so figures on the dev "
            "set of the training lean to the high side."
        )
    return "\n\n".join(parts)


def _training(history: RunHistory) -> str:
    settings, encoder = history.settings, history.encoder
    lines = ["## Training", ""]
    if history.command:
        lines += ["```", history.command, "```", ""]
    if settings.get("init_checkpoint"):
        lines.append(f"- begun with: `{settings['init_checkpoint']}`")
    if encoder.get("stage") == "shrink":
        lines.append(f"- which was made of `{encoder['init_checkpoint']}`: {_cuts(encoder)}")
    if encoder.get("stage") == "distill":
        lines.append(
            f"- which was distilled from `{encoder.get('teacher_dir')}`, method {encoder.get('method', 'layered')}, "
            f"{encoder.get('num_train_steps', 0):,} updates, seed {encoder.get('random_seed')}"
        )
    if settings.get("teacher_dir"):
        lines.append(f"- teacher on the task: `{settings['teacher_dir']}`, method {settings.get('method')}")
    lines += [f"- then made smaller: {_cuts(smaller)}" for smaller in history.shrinking]
    versions = ", ".join(f"{name} {version}" for name, version in history.versions.items())
    lines.append(f"- versions: {versions or 'not recorded'}")
    rows = [(f"`--{name}`", json.dumps(settings[name])) for name in _SETTINGS if name in settings]
    return "\n".join(lines) + ("\n\n" + markdown_table(("setting", "value"), rows) if rows else "")


def _cuts(settings: dict[str, Any]) -> str:
    return " ".join(f"`--{name}={settings[name]}`" for name in ("shrink_texts", "prune_min_count", "embedding_rank"))


def _files(export_dir: str, models: dict[str, list[str]]) -> str:
    rows = []
    for name in models:
        for path, size in file_sizes(os.path.join(export_dir, name)).items():
            rows.append((f"`{name}/{path}`", size))
    return "## Files\n\n" + markdown_table(("file", "bytes"), rows)


def _speed(export_dir: str, times: dict[str, dict[int, float]]) -> str:
    if not times:
        return "## Speed\n\nNot measured at export."
    where = machine()
    lengths = list(next(iter(times.values())))
    rows = [
        (f"`{os.path.relpath(path, export_dir)}`", *(f"{found[tokens]:.2f}" for tokens in lengths))
        for path, found in times.items()
    ]
    return "\n\n".join(
        [
            "## Speed",
            f"Median milliseconds for one text, from string to probabilities, measured at export on {where['threads']} "
            f"cores of: {where['processor']}.",
            markdown_table(("model", *(f"{tokens} tokens" for tokens in lengths)), rows),
        ]
    )


def _limits(classifier: TextClassifier, history: RunHistory) -> str:
    description = classifier.description
    lines = [
        f"- It is for texts like those that it was trained on (`{_data_name(history)}`), and for the classes listed "
        "above. A text that belongs to none of them gets one of them all the same.",
        f"- It reads the first {description.max_seq_length - 2} tokens of a text, the rest is not seen.",
        f"- It reads Chinese. Its vocabulary has {classifier.vocabulary.size:,} entries; what it can't spell is [UNK].",
        "- Its probabilities are those of a softmax; nobody has checked whether 0.9 means nine in ten.",
    ]
    for split, report in history.reports.items():
        if tokens := report.get("tokens"):
            lines.append(
                f"- On {split}, a text has {tokens['mean']:.1f} tokens on average, {tokens['unknown_share']:.2%} of "
                f"the tokens are [UNK], and {tokens['cut_share']:.1%} of the texts are cut."
            )
    return "\n".join(["## Intended use and limits", "", *lines])

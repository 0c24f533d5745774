"""The model card: valid Markdown, and figures that the folder of the run holds."""

import json
import os

import classifiers
import pytest
import yaml

from chemkd_tf.config import ClassificationConfig
from chemkd_tf.export import measurements, saved_model
from chemkd_tf.export.artefact import run_id
from chemkd_tf.export.model_card import markdown_table, write_model_card

PER_CLASS = {
    "安全": {"precision": 0.5, "recall": 1.0, "f1": 0.6667, "support": 2},
    "设|备": {"precision": 1.0, "recall": 0.5, "f1": 0.6667, "support": 4},
    "环保": {"precision": 0.25, "recall": 0.3333, "f1": 0.2857, "support": 3},
}
REPORT = {
    "accuracy": 0.5556,
    "macro_f1": 0.5397,
    "per_class": PER_CLASS,
    "confusion_matrix": [[2, 0, 0], [1, 2, 1], [1, 1, 1]],
    "tokens": {"mean": 8.5, "unknown_share": 0.0125, "cut_share": 0.25},
}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("card") / "run"
    classifier = classifiers.on_disk(folder)
    settings = {"stage": "classify", "data_dir": "data/adverts", "init_checkpoint": "", "random_seed": 7,
                "learning_rate": 0.001, "metric_for_best": "macro_f1", "teacher_dir": "runs/teacher",
                "method": "layered"}  # fmt: skip
    written = {
        "config.json": settings,
        "run.json": {"argv": ["run_classifier.py", "--data_dir=data/my adverts"], "versions": {"keras": "3.15.1"}},
        "data.json": {"train": {"file": "train.tsv", "texts": 1234, "per_class": {"安全": 1000, "设|备": 234}}},
        "dev_report.json": REPORT,
    }
    for name, value in written.items():
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
    return classifier


@pytest.fixture(scope="module")
def exported(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    return str(folder), {"saved_model": saved_model.export(classifier, str(folder / "saved_model" / "1"))}


@pytest.fixture(scope="module")
def card(classifier, exported):
    folder, models = exported
    path = write_model_card(classifier, folder, models)
    assert path == os.path.join(folder, "MODEL_CARD.md")
    with open(path, encoding="utf-8") as file:
        return file.read()


def rows_below(card: str, heading: str) -> list[list[str]]:
    """Cells of the first table below a heading."""
    lines = [part.strip() for part in card.split(f"{heading}\n", 1)[1].split("\n\n")]
    table = next(part for part in lines if part.startswith("|"))
    marked = [line.replace("\\|", "\0") for line in table.split("\n")]
    return [[cell.strip().replace("\0", "|") for cell in line.strip("|").split("|")] for line in marked]


def test_the_header_is_what_hugging_face_reads(card, classifier):
    _, header, _ = card.split("---\n", 2)
    values = yaml.safe_load(header)
    assert values["language"] == "zh"
    assert values["pipeline_tag"] == "text-classification"
    assert values["library_name"]
    (found,) = values["model-index"][0]["results"]
    assert found["dataset"] == {"name": "adverts", "type": "text", "split": "dev"}
    assert [(metric["type"], metric["value"]) for metric in found["metrics"]] == [("accuracy", 0.5556), ("f1", 0.5397)]
    assert run_id(classifier) in values["model-index"][0]["name"]


def test_labels_come_with_the_numbers_of_their_texts(card):
    header, _, *rows = rows_below(card, "## Labels")
    assert header == ["id", "label", "texts, train", "texts, dev (reported)"]
    assert rows[:2] == [["0", "安全", "1,000", "2"], ["1", "设|备", "234", "4"]]
    assert rows[-1] == ["", "all", "1,234", "9"]


def test_quality_is_that_of_the_report(card):
    _, _, *rows = rows_below(card, "### On dev")
    assert rows[0] == ["安全", "0.5000", "1.0000", "0.6667", "2"]
    confusion = rows_below(card, "Confusion: a row for the true class, a column for the predicted one.")
    assert confusion[0] == ["true class", "安全", "设|备", "环保"]
    assert confusion[3] == ["设|备", "1", "2", "1"]
    assert "1.25% of the tokens are [UNK], and 25.0% of the texts are cut" in card.replace("\n", " ")


def test_the_training_is_told(card):
    assert "run_classifier.py '--data_dir=data/my adverts'" in card
    assert "teacher on the task: `runs/teacher`, method layered" in card
    assert "| `--random_seed` | 7 |" in card
    assert "keras 3.15.1" in card


def test_every_file_is_listed_with_its_size(card, exported):
    folder, _ = exported
    _, _, *rows = rows_below(card, "## Files")
    found = {name.strip("`"): int(size.replace(",", "")) for name, size in rows}
    expected = {}
    for directory, _, names in os.walk(os.path.join(folder, "saved_model")):
        for name in names:
            path = os.path.join(directory, name)
            expected[os.path.relpath(path, folder)] = os.path.getsize(path)
    assert found == expected and len(found) > 4


def test_every_model_is_timed(card, classifier):
    header, _, row = rows_below(card, "## Speed")
    assert header == ["model", "12 tokens"]
    assert row[0] == "`saved_model/1`" and 0 < float(row[1]) < 10_000


def test_the_text_that_is_timed_has_the_length_that_the_card_says(classifier):
    for tokens in (3, 7, 12):
        batch = classifier.tokenizer.encode([measurements.text_of(classifier, tokens)], 100)
        assert batch["padding_mask"].numpy().sum() == tokens


def test_an_unevaluated_classifier_says_so_and_nothing_is_timed_unless_asked_for(tmp_path):
    classifier = classifiers.on_disk(tmp_path / "run")
    path = write_model_card(classifier, str(tmp_path), {}, measure_latency=False)
    with open(path, encoding="utf-8") as file:
        card = file.read()
    assert "Not evaluated: `run_classifier.py --do_eval`" in card
    assert "Not measured at export." in card
    assert "model-index" not in card
    assert yaml.safe_load(card.split("---\n", 2)[1])["pipeline_tag"] == "text-classification"


def test_what_stands_in_a_cell_cannot_end_it():
    assert markdown_table(("a",), [("x|y",), ("line\nbreak",), (1234,), (0.5,)]).split("\n")[2:] == [
        "| x\\|y |", "| line break |", "| 1,234 |", "| 0.5000 |"
    ]  # fmt: skip


def test_the_flag_is_free_to_change():
    from chemkd_tf.workdir import FREE_TO_CHANGE

    assert ClassificationConfig(output_dir="o", do_export=True).card_latency
    assert "card_latency" in FREE_TO_CHANGE

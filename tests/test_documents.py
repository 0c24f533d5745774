"""The documents tell the truth about the tree: tables are those of docs/results, what they name exists."""

import json
import pathlib
import re

import pytest

from benchmarks import tasks
from benchmarks.results_table import table

ROOT = pathlib.Path(__file__).parent.parent


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_table_of_the_readme_is_that_of_the_measured_results():
    results = json.loads(read("docs/results/demo.json"))
    between = re.search(r"<!-- demo table -->\n(.*?)<!-- end of demo table -->", read("README.md"), re.DOTALL)[1]
    assert between.strip("\n`") == table(results["results"])


@pytest.mark.parametrize("task", ["hazard_class", "regulation_type"])
def test_the_tables_of_real_tasks_are_those_of_the_measured_results(task):
    results = json.loads(read(f"docs/results/{task}.json"))["results"]
    pattern = rf"<!-- {task} table -->\n(.*?)<!-- end of {task} table -->"
    assert re.search(pattern, read("README.md"), re.DOTALL)[1].strip() == tasks.table(results)


@pytest.mark.parametrize("row", json.loads(read("docs/results/demo.json"))["results"], ids=lambda row: row["model"])
def test_means_are_those_of_the_seeds(row):
    for key in ("accuracy", "macro_f1"):
        scores = [score[key] for score in row["scores"]]
        assert len(scores) == 3
        assert row[key] == pytest.approx(sum(scores) / 3)


def test_every_test_that_the_paper_map_names_exists():
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", read("docs/paper_map.md"))
    assert len(named) > 15
    for path, function in named:
        assert (ROOT / path).is_file(), path
        assert not function or f"def {function}(" in read(path), (path, function)


def test_every_module_that_the_paper_map_names_exists():
    for path in re.findall(r"`(chemkd_tf/[\w/]+\.py)", read("docs/paper_map.md")):
        assert (ROOT / path).is_file(), path


def test_every_flag_that_the_readme_gives_exists():
    defined = read("chemkd_tf/config.py") + read("data_prep/sample_corpus.py")
    for flag in set(re.findall(r"--([a-z_0-9]+)", read("README.md"))) - {"helpfull", "logdir"}:
        assert re.search(rf"\b{flag}\b", defined), flag

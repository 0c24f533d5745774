"""The file of a comparison: what is in it, in what order it is done, and what is refused."""

import json
import pathlib
import re

import pipeline
import pytest

from benchmarks.experiment import read_experiment
from benchmarks.experiment_runs import ExperimentRuns
from benchmarks.results_markdown import tables
from benchmarks.results_overview import overview
from benchmarks.splits import make_splits
from chemkd_tf import flags
from chemkd_tf.config import ClassificationConfig, DistillationConfig
from chemkd_tf.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIGS = {"run_classifier.py": ClassificationConfig, "run_distill.py": DistillationConfig}


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """The shipped example, read where its task is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tasks").mkdir()
    pipeline.write_labelled(tmp_path / "tasks" / "hazard_class", train=300, dev=40)
    return ExperimentRuns(read_experiment(str(ROOT / "benchmarks" / "methods.toml")), "out")


def test_every_command_of_the_shipped_example_is_one_that_its_script_takes(shipped):
    for run in shipped.all:
        if run.script in CONFIGS:
            config = flags.config_of(CONFIGS[run.script], run.arguments)
            assert config.output_dir == run.output_dir == f"out/{run.folder}" and "{" not in " ".join(run.arguments)
    # 6 distillations; 2 baselines in one run; teacher, undistilled, layered twice at 200 and all; 5 ablations at 200.
    assert len(shipped.all) == 6 + 3 * 5 * (1 + 4) * 2 + 3 * 5 * 5
    assert len({run.folder for run in shipped.all}) == len(shipped.all)


def test_whatever_a_run_needs_stands_before_it_and_few_labels_come_first(shipped):
    place = {run: index for index, run in enumerate(shipped.all)}
    for run in shipped.all:
        assert all(place[needed] < place[run] for needed in run.needs)
    asked = [(run.cell.size or 10**9, run.cell.seed) for run in shipped.all if run.cell and not run.needs]
    assert asked == sorted(asked)
    (taught,) = {run.needs for run in shipped.all if run.method == "layered_and_task" and str(run.cell).startswith(
        "hazard_class, 200 labels, seed 2, fold 3")}  # fmt: skip
    assert [(needed.method, needed.script, needed.seed) for needed in taught] == [
        ("layered", "run_distill.py", 1), ("teacher", "run_classifier.py", 2),
    ]  # fmt: skip
    assert taught[1].cell.fold == 3


MINIMAL = """
seeds = [1, 2]
[corpus]
records = "records"
[teacher]
dir = "teacher"
[[tasks]]
name = "hazards"
data_dir = "labelled"
num_train = [12]
"""


@pytest.fixture
def planned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pipeline.write_labelled(tmp_path / "labelled", train=40)

    def plan(text, output_dir="out"):
        (tmp_path / "methods.toml").write_text(text, encoding="utf-8")
        return ExperimentRuns(read_experiment("methods.toml"), output_dir)

    return plan


def test_folders_follow_flags_texts_and_what_they_stand_on_and_nothing_else(planned, tmp_path):
    method = '[[methods]]\nname = "ours"\ndistill_flags = "{0}"\nclassifier_flags = "--init_checkpoint={{student}} {1}"'

    def folders(text, **elsewhere):
        return {run.folder.rpartition("-")[0]: run.folder for run in planned(text, **elsewhere).all}

    before = folders(MINIMAL + method.format("", ""))
    assert before == folders("# a remark\n" + MINIMAL + method.format(" ", " "), output_dir="/other/place")
    fine_tuned = folders(MINIMAL + method.format("", "--num_train_epochs=3"))
    distilled = folders(MINIMAL + method.format("--layer_map=2,4,6", ""))
    changed = [{name for name in before if before[name] != other[name]} for other in (fine_tuned, distilled)]
    of_ours = {name for name in before if name.startswith("runs/ours/")}
    assert changed[0] == {name for name in of_ours if "classified" in name}
    assert changed[1] == of_ours and len(of_ours) == 3  # the classifiers stand on the distillation
    pipeline.write_tsv(tmp_path / "labelled" / "dev.tsv", pipeline.random_texts(9, 20))
    other = folders(MINIMAL + method.format("", ""))
    assert {name for name in before if before[name] != other[name]} == {name for name in before if "hazards" in name}


def test_a_distillation_that_names_the_task_is_made_for_each_of_its_parts(planned):
    runs = planned(
        MINIMAL + '[[methods]]\nname = "ours"\ndistill_flags = "--extra={classifier:teacher}"\n'
        'classifier_flags = "--init_checkpoint={student}"'
    )
    distilled = [run for run in runs.all if run.script == "run_distill.py"]
    assert [str(run.cell) for run in distilled] == [f"hazards, 12 labels, seed {seed}, fold 0" for seed in (1, 2)]
    assert [run.needs[0].method for run in distilled] == ["teacher", "teacher"]


def test_distillation_seeds_go_round(planned):
    method = '[[methods]]\nname = "ours"\ndistill_flags = ""\nclassifier_flags = "--init_checkpoint={student}"'
    text = MINIMAL.replace("seeds = [1, 2]", "seeds = [1, 2, 3]\ndistillation_seeds = [7, 8]") + method
    needed = {run.seed: run.needs[0].seed for run in planned(text).all if run.method == "ours" and run.cell}
    assert needed == {1: 7, 2: 8, 3: 7}


METHOD = '[[methods]]\nname = "ours"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds = [", r"methods.toml: not TOML \("),
        (MINIMAL.replace('dir = "teacher"', ""), r"\[teacher\]: dir is missing"),
        (MINIMAL.replace("[12]", "12"), r"\[\[tasks\]\] hazards: num_train = 12: expected a list of whole"),
        (MINIMAL.replace('"labelled"', '"nowhere"'), "data_dir = nowhere: no such folder"),
        (MINIMAL.replace("[12]", "[3]"), r"hazards: 3 of 40 labels can't be drawn: there are 3 classes"),
        (MINIMAL + METHOD + "flag = 1", r"\[\[methods\]\] ours: unknown key 'flag'; known are .*distill_flags"),
        (MINIMAL + METHOD + "table = 4", "table = 4: 2, 3"),
        (MINIMAL + METHOD + "sizes = [13]", "ours: 13 is no num_train of any task"),
        (MINIMAL + METHOD + 'task_flags = {risks = ""}', "ours: 'risks' is no task"),
        (MINIMAL + METHOD + METHOD, "two methods are called 'ours'"),
        ('compare_with = "tfidf"\n' + MINIMAL + METHOD, "compare_with = 'tfidf': no method or baseline is called so"),
        (MINIMAL + '[[methods]]\nname = "teacher"', "two methods are called 'teacher'"),
        (MINIMAL + '[[methods]]\nname = "a/b"', "name = 'a/b': letters, digits"),
        (MINIMAL + METHOD + 'classifier_flags = "--a={b}"', r"method ours: \{b\} stands for nothing here; there are"),
        (MINIMAL + METHOD + 'classifier_flags = "{heldout}"', r"\{heldout\} stands for nothing"),
        (MINIMAL + METHOD + 'classifier_flags = "{student}"', r"a \{student\} of 'ours' is asked for"),
        (MINIMAL + METHOD + 'classifier_flags = "{classifier:b}"', "there is no method of that name"),
        (MINIMAL + METHOD + 'classifier_flags = "{classifier:ours}"', "ours need each other"),
        (MINIMAL + METHOD + 'classifier_flags = "\'"', 'classifier_flags = "\'": No closing quotation'),
    ],
)
def test_what_is_wrong_is_said_in_one_line(planned, text, message):
    with pytest.raises(InputError, match=message) as raised:
        planned(text)
    assert "\n" not in str(raised.value)


def test_rare_classes_are_in_every_part_and_seeds_draw_different_labels():
    labels = ["甲"] * 300 + ["乙"] * 80 + ["丙"] * 4
    train = ([f"{number}" for number in range(384)], labels)
    dev = (["a", "b", "c"], ["甲", "乙", "丙"])
    chosen = {}
    for seed in range(8):
        (split,) = make_splits(train, dev, 0, 20, seed)
        parts = [set(split[part][0]) for part in ("train", "dev")]
        assert not parts[0] & parts[1] and len(parts[0] | parts[1]) == 20
        label = dict(zip(*train, strict=True))
        for part in ("train", "dev"):
            assert set(split[part][1]) == {"甲", "乙", "丙"}
            assert [label[text] for text in split[part][0]] == list(split[part][1])
        chosen[seed] = frozenset(parts[0] | parts[1])
    assert len(set(chosen.values())) == 8
    for split in make_splits(train, (["a", "b"] * 4, ["甲", "丙"] * 4), 4, 20, 3):
        assert len(split["train"][0]) == 17 and len(split["dev"][0]) == 3 and len(split["test"][0]) in (97, 98, 99)


def test_the_tables_hold_what_results_json_holds_and_no_more():
    unknown = dict(
        student=None, parameters=None, size_bytes=None, latency_ms=None, scores=[], accuracy=None, macro_f1=None,
        share_of_teacher=None, against=None, costs={"distillation": None, "fine_tuning": None}, encoders=0,
        task="hazards", num_train=0, seeds_wanted=3, runs_wanted=15,
    )  # fmt: skip
    rows = [
        unknown | {"method": "teacher", "tables": [2], "seeds": [], "runs_done": 4},
        unknown | {
            "method": "ours", "tables": [2, 3], "seeds": [1, 2], "runs_done": 12, "student": "student, 3 layers",
            "parameters": 4974000, "size_bytes": 20000000, "latency_ms": 3.14, "encoders": 1,
            "accuracy": {"mean": 0.75, "deviation": 0.0123},
            "macro_f1": {"mean": 0.5, "deviation": None, "interval": [0.45, 0.55]},
            "share_of_teacher": {"share": 0.987, "seeds": [1, 2]},
            "against": {"seeds": [1], "difference": 0.05, "interval": [-0.01, 0.11], "p": 0.0004, "p_holm": 0.0112},
            "costs": {
                "distillation": {"seconds": 7200, "cpu_seconds": None, "updates": 5000, "tokens": 12340000},
                "fine_tuning": {"seconds": 15.4, "cpu_seconds": 30.2, "updates": 57, "tokens": None},
            },
        },
    ]  # fmt: skip
    results = {"seeds": [1, 2, 3], "distillation_seeds": [1], "compare_with": "undistilled", "rows": rows}
    text = tables(json.loads(json.dumps(results)))
    lines = [line for line in text.splitlines() if line.startswith(("|", "#"))]
    assert [line for line in lines if line.startswith("#")] == [
        "## Table 2: methods; hazards, all labels",
        "## Table 3: what is distilled, and from which layers; hazards, all labels",
    ]
    missing = "| – " * 12
    assert lines[3] == f"| teacher {missing}| 0 of 3 seeds (4 of 15 runs) |"
    ours = (
        "| ours | student, 3 layers | 4,974,000 | 20,000,000 | 3.1 | 0.750 ± 0.012 | 0.500 | 0.450 to 0.550 | 98.7 % | "
        "+0.050 (-0.010 to +0.110) [seed 1] | < 0.001 (0.011) | 5,000 updates, 12.34 M tokens, 120 min | "
        "57 updates, 15 s, 30 s CPU | 2 of 3 seeds (12 of 15 runs); 1 encoder |"
    )
    assert lines[4] == ours and lines[-1] == ours
    assert {line.count("|") for line in lines if line.startswith("|")} == {15}
    assert re.search("Fine-tuning seeds 1, 2, 3; distillation seeds 1", text)


def test_the_overview_takes_means_over_tasks_and_orders_by_them():
    def row(method, task, scores, shown=(2,), share=None):
        return {
            "method": method, "task": task, "num_train": 200, "tables": list(shown), "seeds": list(scores),
            "scores": [{"seed": seed, "macro_f1": score} for seed, score in scores.items()],
            "macro_f1": {"mean": sum(scores.values()) / len(scores), "deviation": None} if scores else None,
            "share_of_teacher": share and {"share": share},
        }  # fmt: skip

    rows = [
        row("teacher", "a", {1: 0.8}, (2, 3), 1.0), row("teacher", "b", {1: 0.6}, (2, 3), 1.0),
        row("undone", "a", {1: 0.9}, (2,), 1.1), row("undone", "b", {}),
        row("worse", "a", {1: 0.1}, (2,), 0.1), row("worse", "b", {1: 0.2}, (2,), 0.3),
        row("paper", "a", {1: 0.5, 2: 0.7}, (2, 3), 0.75), row("paper", "b", {1: 0.4, 2: 0.4}, (2, 3), 0.65),
        row("nothing", "a", {}), row("nothing", "b", {}), row("no_map", "a", {}, (3,)), row("no_map", "b", {}, (3,)),
        row("no_embedding", "a", {1: 0.49}, (3,), 0.6), row("no_embedding", "b", {1: 0.4}, (3,), 0.6),
        row("no_hidden", "a", {1: 0.3, 2: 0.6, 3: 0.9}, (3,), 0.6), row("no_hidden", "b", {2: 0.35}, (3,), 0.6),
    ]  # fmt: skip
    lines = overview({"rows": rows}).splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        "## Macro-F1 of all tasks, 200 labels",
        "## Macro-F1 against paper, 200 labels",
    ]
    table = [line for line in lines if line.startswith("|")]
    methods, ablations = table[2:8], table[10:]
    order = ["teacher", "paper", "no_hidden", "no_embedding", "worse", "undone"]
    assert [line.split(" | ")[0].strip("| ") for line in methods] == order
    assert "| worse | 1 | 0.100 | 0.200 | 0.150 | 20.0 % |" in methods
    assert "| undone | 0 to 1 | 0.900 | – | – | – |" in methods
    assert [line.split(" | ")[1] for line in methods[1:3]] == ["2", "1 to 3"]
    assert ablations == ["| no_hidden | -0.150 | -0.050 | -0.100 |", "| no_embedding | -0.010 | +0.000 | -0.005 |"]
    assert overview({"rows": [each for each in rows if each["task"] == "a"]}) == ""
    assert overview({"rows": [each for each in rows if not each["scores"]]}) == ""
    assert "against" not in overview({"rows": [each for each in rows if each["method"][:3] != "no_"]})

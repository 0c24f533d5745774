"""The comparison of methods with scripts that stand in for the real ones: what is run, when and how often."""

import collections
import gzip
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time

import fake_scripts
import pipeline
import pytest
from sklearn.metrics import accuracy_score, f1_score

from benchmarks import kept_runs
from chemkd_tf.atomic import write_json
from chemkd_tf.errors import InputError
from chemkd_tf.workdir import read_json

FILE = """
seeds = {seeds}
baselines = []

[corpus]
records = "{folder}/records"

[teacher]
dir = "{folder}/teacher"
classifier_flags = "--share_right=0.9"

[[tasks]]
name = "安全" # no name for a folder: replaced below
data_dir = "{folder}/labelled"
num_train = [30, 0]
classifier_flags = "--max_seq_length=24"

[[methods]]
name = "undistilled"
student_of = "layered"
classifier_flags = "--init_checkpoint={{student}} --random_init --share_right=0.4 --salt=u"

[[methods]]
name = "layered"
table = [2, 3]
sizes = [30]
distill_flags = "--layer_map=1,3,5"
classifier_flags = "--init_checkpoint={{student}} --teacher_dir={{teacher_classifier}} --share_right=0.7 {more}"
""".replace('"安全" # no name for a folder: replaced below', '"hazards"')


class Comparison:
    def __init__(self, folder):
        self.folder = folder
        self.output = folder / "output"
        (folder / "teacher").mkdir()
        (folder / "teacher" / "model.weights.h5").write_text("weights")
        (folder / "records.manifest.json").write_text("{}")
        pipeline.write_labelled(folder / "labelled", train=60, dev=45)
        self.scripts = fake_scripts.write(folder / "scripts")
        self.describe()

    def describe(self, seeds=(1, 2), more="", extra=""):
        text = FILE.format(folder=self.folder, seeds=list(seeds), more=more) + extra
        (self.folder / "methods.toml").write_text(text, encoding="utf-8")

    def start(self, *flags):
        environment = {**os.environ, "FAKE_LOG": str(self.folder / "log"), "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(
            [
                sys.executable, "-m", "benchmarks.compare_methods", f"--experiment={self.folder}/methods.toml",
                f"--output_dir={self.output}", f"--script_dir={self.scripts}", *flags,
            ],
            cwd=pipeline.ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            # A shell's background job ignores Ctrl-C, and so does all that it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def run(self, *flags, status=0):
        process = self.start(*flags)
        printed, _ = process.communicate(timeout=300)
        assert process.returncode == status, printed[-3000:]
        return printed

    def made(self):
        """Folders of the runs in the order in which they were started, without their digests."""
        if not (self.folder / "log").exists():
            return []
        lines = (self.folder / "log").read_text().splitlines()
        return [re.sub(r"-[0-9a-f]{10}$", "", line.split()[0].partition("/runs/")[2]) for line in lines]

    def results(self):
        return json.loads((self.output / "results.json").read_text(encoding="utf-8"))

    def row(self, method, size=30):
        (row,) = [row for row in self.results()["rows"] if (row["method"], row["num_train"]) == (method, size)]
        return row

    def tables(self):
        return (self.output / "TABLES.md").read_text(encoding="utf-8")


@pytest.fixture
def comparison(tmp_path):
    return Comparison(tmp_path)


def runs_of(seed, size="30"):
    cell = f"classified/hazards_{size}/seed{seed}_fold0"
    teacher, undistilled, layered = (f"{method}/{cell}" for method in ("teacher", "undistilled", "layered"))
    return [teacher, undistilled, layered] if size == "30" else [teacher, undistilled]


def test_few_labels_and_the_first_seed_come_first_and_nothing_is_made_twice(comparison):
    comparison.run("--parallel=1")
    distillation = "layered/distilled/corpus/seed1"
    first, *rest = runs_of(1)
    assert comparison.made() == [first, distillation, *rest, *runs_of(2), *runs_of(1, "all"), *runs_of(2, "all")]
    assert "0 of them done" not in comparison.run() and len(comparison.made()) == 11
    comparison.describe(seeds=(1, 2, 3))
    printed = comparison.run()
    assert "16 runs, 11 of them done" in printed
    assert sorted(comparison.made()[11:]) == sorted([*runs_of(3), *runs_of(3, "all")])
    assert comparison.row("layered")["encoders"] == 1
    assert "3 of 3 seeds; 1 encoder |" in comparison.tables()


def test_the_figures_are_those_of_the_predictions(comparison):
    comparison.run()
    scores = collections.defaultdict(list)
    for seed in (1, 2):
        for method in ("teacher", "layered"):
            (folder,) = (comparison.output / "runs" / method / "classified" / "hazards_30").glob(f"seed{seed}_*/")
            found = [line.split("\t")[0] for line in (folder / "predictions.tsv").read_text().splitlines()[1:]]
            (data,) = (comparison.output / "data" / "hazards_30").glob(f"seed{seed}_*")
            true = [line.split("\t")[1] for line in (data / "test.tsv").read_text().splitlines()]
            assert true == [label for _, label in pipeline.random_texts(1, 45)]
            assert len((data / "train.tsv").read_text().splitlines()) == 27
            scores[method].append((accuracy_score(true, found), f1_score(true, found, average="macro")))
    for method, by_seed in scores.items():
        row = comparison.row(method)
        for key, values in zip(("accuracy", "macro_f1"), zip(*by_seed, strict=True), strict=True):
            assert row[key]["mean"] == pytest.approx(statistics.mean(values))
            assert row[key]["deviation"] == pytest.approx(statistics.stdev(values))
        assert row["parameters"] == 17 and row["student"] == "student, 3 layers, width 200"
        low, high = row["macro_f1"]["interval"]
        assert low < row["macro_f1"]["mean"] < high
        cost = row["costs"]["fine_tuning"]
        assert (cost["updates"], cost["tokens"], cost["seconds"]) == (10, 400, 4)
    mean = {method: statistics.mean(score[1] for score in by_seed) for method, by_seed in scores.items()}
    row = comparison.row("layered")
    assert row["share_of_teacher"]["share"] == pytest.approx(mean["layered"] / mean["teacher"])
    assert row["against"]["seeds"] == [1, 2] and row["against"]["p"] < 0.05
    assert row["against"]["difference"] == pytest.approx(
        mean["layered"] - comparison.row("undistilled")["macro_f1"]["mean"]
    )
    # Two tests in the family, the teacher's and this one.
    p_values = sorted(comparison.row(method)["against"]["p"] for method in ("teacher", "layered"))
    assert comparison.row("teacher")["against"]["p_holm"] == pytest.approx(min(1, 2 * p_values[0]))
    assert row["costs"]["distillation"]["updates"] == 10
    assert comparison.row("undistilled")["costs"]["distillation"] is None  # fresh weights
    assert not list(comparison.output.glob("runs/**/checkpoints"))


@pytest.mark.slow
def test_changed_flags_make_new_runs_and_old_ones_are_never_reported(comparison):
    comparison.run()
    before = comparison.row("layered")["accuracy"]
    comparison.describe(more="--share_right=0.1")
    printed = comparison.run("--report_only")
    assert "not used: 2 runs of other flags" in printed
    assert comparison.row("layered")["accuracy"] is None and "0 of 2 seeds (0 of 2 runs)" in comparison.tables()
    comparison.run()
    assert sorted(comparison.made()[11:]) == sorted([runs_of(1)[2], runs_of(2)[2]])
    assert comparison.row("layered")["accuracy"]["mean"] < before["mean"]


def test_other_texts_make_new_runs_and_another_teacher_is_refused(comparison):
    comparison.run("--only=teacher.*_30/seed1")
    pipeline.write_tsv(comparison.folder / "labelled" / "dev.tsv", pipeline.random_texts(7, 30))
    comparison.run("--only=teacher.*_30/seed1")
    assert comparison.made() == [runs_of(1)[0]] * 2
    (comparison.folder / "teacher" / "model.weights.h5").write_text("other weights")
    assert "teacher has changed since the first run" in comparison.run(status=2)


def wait_for(condition, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_runner_leaves_nothing_running_and_goes_on(comparison):
    comparison.describe(more="--sleep=20")
    process = comparison.start("--parallel=1", "--only=_30/seed1")
    wait_for(lambda: runs_of(1)[2] in comparison.made())
    pid = int((comparison.folder / "log").read_text().split()[-1])
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), 15)
    comparison.describe(more="--sleep=20 ")  # the same flags
    (comparison.folder / "scripts" / "run_classifier.py").write_text(
        fake_scripts.SCRIPT.replace("time.sleep", "float"), encoding="utf-8"
    )
    comparison.run("--only=_30/seed1")
    assert comparison.made() == [runs_of(1)[0], "layered/distilled/corpus/seed1", *runs_of(1)[1:], runs_of(1)[2]]
    (log,) = (comparison.output / "runs" / "layered" / "classified" / "hazards_30").glob("*.log")
    assert log.read_text().splitlines() == ["begins", "goes on"]


def test_ctrl_c_gives_the_locks_back(comparison):
    comparison.describe(more="--sleep=60")
    process = comparison.start("--only=_30/seed1")
    wait_for(lambda: runs_of(1)[2] in comparison.made())
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command goes on" in printed
    assert os.listdir(comparison.output / "locks") == [".takeovers"]


def test_ctrl_c_while_the_tables_are_written_ends_in_a_line_and_keeps_the_runs(comparison):
    comparison.run("--only=_30/seed1")
    done, kept = comparison.results()["runs_done"], comparison.folder / "kept.jsonl.gz"
    interrupted = (
        "from absl import app; from benchmarks import compare_methods as c; c.define_flags(); "
        "c.report = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt); app.run(c.main)"
    )
    flags = [f"--experiment={comparison.folder}/methods.toml", f"--output_dir={comparison.output}", "--report_only"]
    found = subprocess.run(
        [sys.executable, "-c", interrupted, *flags, f"--kept_runs={kept}"],
        cwd=pipeline.ROOT, text=True, capture_output=True, timeout=300,
    )  # fmt: skip
    assert found.returncode == 130 and found.stderr.splitlines()[-1] == "interrupted; the same command goes on"
    assert "Traceback" not in found.stderr and f"{done} runs kept in {kept}" in found.stdout and done > 2


@pytest.mark.slow
def test_two_runners_at_once_share_the_runs(comparison):
    comparison.describe(seeds=(1, 2, 3), more="--sleep=0.5")
    both = [comparison.start("--parallel=2") for _ in range(2)]
    printed = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    assert len(comparison.made()) == len(set(comparison.made())) == 16
    assert all(": done in " in text for text in printed)
    assert comparison.results()["runs_done"] == 16


@pytest.mark.slow
def test_a_failed_run_is_named_and_the_others_go_on(comparison):
    needs_it = "--init_checkpoint={classifier:layered} --share_right=1"
    after = f'\n[[methods]]\nname = "after"\nclassifier_flags = "{needs_it}"\nsizes = [30]\n'
    comparison.describe(more="--fail", extra=after)
    printed = comparison.run(status=1)
    (log, _) = sorted((comparison.output / "runs" / "layered" / "classified" / "hazards_30").glob("*.log"))
    assert f"FAILED layered: hazards, 30 labels, seed 1, fold 0: error: no such luck\n  its log: {log}" in printed
    assert "4 runs failed:" in printed and "after: hazards, 30 labels, seed 2, fold 0: not started" in printed
    assert comparison.row("undistilled")["seeds"] == [1, 2] and comparison.row("layered")["seeds"] == []
    comparison.run(status=1)  # tried again
    assert comparison.made().count(runs_of(1)[2]) == 2 and comparison.made().count(runs_of(1)[1]) == 1


@pytest.mark.slow
def test_a_plan_runs_nothing_and_a_budget_starts_nothing_late(comparison):
    printed = comparison.run("--dry_run")
    assert "11 runs, about 0 min" in printed and "11 of them are of a kind that was never timed" in printed
    printed = comparison.run("--max_minutes=1e-9")
    assert "--max_minutes is over; left:" in printed and comparison.made() == []
    comparison.run("--only=undistilled.*all.*seed1")
    assert comparison.made() == ["layered/distilled/corpus/seed1", runs_of(1, "all")[1]]
    assert re.search(r"\n +\d+\.\d min  runs/undistilled/classified/hazards_all/seed2", comparison.run("--dry_run"))


def test_seeds_draw_their_own_labels_the_same_for_every_method(comparison):
    comparison.run("--only=_30/")
    data = {}
    for path in comparison.output.glob("runs/*/classified/hazards_30/*.run.json"):
        arguments = json.loads(path.read_text())["arguments"]
        seed = next(argument for argument in arguments if argument.startswith("--random_seed"))
        data.setdefault(seed, set()).add(next(argument for argument in arguments if argument.startswith("--data_dir")))
    (one,), (two,) = data["--random_seed=1"], data["--random_seed=2"]
    texts = [open(f"{folder.removeprefix('--data_dir=')}/train.tsv").read() for folder in (one, two)]
    assert texts[0] != texts[1]


ANOTHER = """
[[methods]]
name = "another"
sizes = [30]
student_of = "layered"
classifier_flags = "--init_checkpoint={student} --teacher_dir={teacher_classifier} --share_right=0.8"
"""


@pytest.mark.slow
def test_kept_runs_stand_for_those_of_another_machine(comparison):
    kept = comparison.folder / "kept.jsonl.gz"
    comparison.run(f"--kept_runs={kept}")
    rows, made, before = comparison.results()["rows"], comparison.made(), kept.read_bytes()
    shutil.rmtree(comparison.output)

    printed = comparison.run(f"--kept_runs={kept}")
    assert "11 runs restored" in printed and comparison.made() == made
    assert comparison.results()["rows"] == rows and comparison.results()["runs_done"] == 11
    assert kept.read_bytes() == before
    assert all(row["costs"]["fine_tuning"]["updates"] == 10 for row in rows) and rows[2]["costs"]["distillation"]

    # A new method needs the weights of some of them; the answers of the others still count.
    comparison.describe(extra=ANOTHER)
    comparison.run(f"--kept_runs={kept}")
    cells = [f"classified/hazards_30/seed{seed}_fold0" for seed in (1, 2)]
    again = [
        "layered/distilled/corpus/seed1",
        *(f"{method}/{cell}" for method in ("teacher", "another") for cell in cells),
    ]
    assert sorted(comparison.made()[len(made) :]) == sorted(again)
    assert [row for row in comparison.results()["rows"] if row["method"] == "undistilled"] == [
        row for row in rows if row["method"] == "undistilled"
    ]
    assert "13 runs restored" not in comparison.run(f"--kept_runs={kept}")


def test_kept_runs_of_something_else_are_refused(tmp_path):
    kept, inputs = str(tmp_path / "kept.jsonl.gz"), str(tmp_path / "inputs.json")
    write_json(inputs, {"runs/teacher": "abc"})
    assert kept_runs.keep(kept, inputs, []) == 0
    kept_runs.restore_inputs(kept, str(tmp_path / "new.json"))
    assert read_json(str(tmp_path / "new.json")) == {"runs/teacher": "abc"}
    write_json(inputs, {"runs/teacher": "abd"})
    with pytest.raises(InputError, match="its runs were made with another runs/teacher: name another file"):
        kept_runs.restore_inputs(kept, inputs)
    whole = (tmp_path / "kept.jsonl.gz").read_bytes()
    for content in (b"no gzip", gzip.compress(b"no JSON"), gzip.compress(b"{}\n"), whole[:-12], b""):
        (tmp_path / "kept.jsonl.gz").write_bytes(content)
        with pytest.raises(InputError, match=f"--kept_runs={kept}: "):
            kept_runs.restore(kept, [])

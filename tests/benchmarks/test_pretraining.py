"""The benchmarks of pretraining run end to end on a small corpus, and their figures follow from what was measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from data.record_oracles import random_corpus, write_corpus, write_vocabulary

from benchmarks import reference_curves

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_the_figures_follow_from_the_updates(tmp_path):
    write_corpus(tmp_path / "small.txt", random_corpus(7, 60, longest=90))
    vocabulary = write_vocabulary(tmp_path)
    printed = run(
        "-m", "benchmarks.pretraining", "--peer_python=", "--num_layers=1", "--hidden_size=64", "--num_updates=2",
        "--train_batch_size=4", f"--corpus={tmp_path}/small.txt", f"--vocab_file={vocabulary}",
        f"--output_file={tmp_path}/figures.json",
    )  # fmt: skip
    figures = json.loads((tmp_path / "figures.json").read_text())
    found = figures["packing"]["small"]
    for row in (found["padded"], found["grouped"]):
        assert len(row["seconds"]) == 2 and row["peak_memory_bytes"] > 10**8
        assert row["tokens_per_second"] == pytest.approx(2 * row["mean_tokens"] / sum(row["seconds"]), rel=2e-2)
    assert found["padded"]["mean_tokens"] < 4 * 128 and found["grouped"]["mean_tokens"] <= 4 * 128
    perfect = 128 / (found["padded"]["mean_tokens"] / 4)
    gain = found["grouped"]["tokens_per_second"] / found["padded"]["tokens_per_second"]
    assert found["packing_efficiency"] == pytest.approx(gain / perfect)
    last = json.loads(printed.splitlines()[-1])
    assert last == {"packing_efficiency": round(found["packing_efficiency"], 3)}
    assert str(tmp_path) not in figures["command"]


@pytest.mark.slow
def test_reference_curves_are_those_of_the_runs(tmp_path, monkeypatch):
    write_corpus(tmp_path / "small.txt", random_corpus(8, 120, longest=60))
    command = (
        "-m", "benchmarks.reference_curves", f"--input_file={tmp_path}/small.txt", f"--output_dir={tmp_path}/runs",
        "--vocab_size=80", "--num_train_steps=4", "--eval_every_steps=2", f"--output_file={tmp_path}/curves.json",
        "--corpus_name=small",
    )  # fmt: skip
    printed = run(*command)
    sizes = json.loads((tmp_path / "curves.json").read_text())["corpora"]["small"]["sizes"]
    assert set(sizes) == set(reference_curves.SHAPES)
    for name, size in sizes.items():
        lines = [json.loads(line) for line in (tmp_path / "runs" / name / "metrics.jsonl").read_text().splitlines()]
        held_out = [(line["step"], round(line["masked_lm_loss"], 4)) for line in lines if line["split"] == "eval"]
        assert [(point["step"], point["loss"]) for point in size["held_out"]] == held_out
        assert [step for step, _ in held_out] == [2, 4]
        assert size["median_tokens_per_second"] > 0 and size["peak_memory_bytes"] > 10**8
    assert reference_curves.table(sizes) in printed
    again = run(*command)  # what is done is not done again
    assert "data_prep/" not in again and "$ python" not in again

"""The benchmark of inference: its arithmetic, its texts, its table, and a run of the smallest models."""

import json
import math
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from export.random_classifier import make, token_rows

from benchmarks import (
    inference,
    inference_cells,
    inference_figures,
    inference_profile,
    inference_runtimes,
    inference_table,
)
from benchmarks.inference_cells import LATENCY, THROUGHPUT
from benchmarks.inference_plot import plot
from benchmarks.inference_rounds import Rounds
from benchmarks.inference_side import padded, timer
from chemkd_tf.errors import InputError
from chemkd_tf.export import onnx

ROOT = Path(__file__).resolve().parents[2]
RATIOS = ["latency_ratio_bert_base", "latency_ratio_tinybert", "throughput_ratio_bert_base",
          "throughput_ratio_tinybert", "best_latency_ratio_bert_base", "size_ratio_bert_base",
          "size_ratio_tinybert"]  # fmt: skip
CHARACTERS = "安全生产责任制危险化学品反应釜检修工艺设备操作规程"
TEXTS = [CHARACTERS[start:] + "。PLC控制" + CHARACTERS[:start] for start in range(1, 20)]


@pytest.fixture
def vocab_file(tmp_path) -> str:
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "。", "plc", *dict.fromkeys(CHARACTERS + "控")]
    path = tmp_path / "vocab.txt"
    path.write_text("".join(entry + "\n" for entry in entries), encoding="utf-8")
    return str(path)


@pytest.fixture
def texts_file(tmp_path) -> str:
    path = tmp_path / "texts.txt"
    path.write_text("".join(text + "\n" for text in TEXTS), encoding="utf-8")
    return str(path)


def by_character(text: str) -> list[str]:
    """A tokeniser for tests: a token for each character that isn't a space."""
    return ["[CLS]", *text.replace(" ", "")[:126], "[SEP]"]


def synthetic() -> dict:
    """Seconds of two rounds: BERT-base 90 and 100 ms, TinyBERT 8, ours 2 in fp32 and 1 in int8."""
    seconds = {
        "bert_base/onnx_fp32": [[0.09] * 3, [0.1] * 3],
        "tinybert/onnx_fp32": [[0.008] * 3, [0.008, 0.008, 9.0]],
        "ours/onnx_fp32": [[0.002] * 3, [0.002, 0.001, 0.002]],
        "ours/onnx_int8": [[0.001] * 3, [0.001] * 3],
    }
    return {"onnx": {side: {LATENCY.name: found, THROUGHPUT.name: found} for side, found in seconds.items()}}


SIZES = {"bert_base/onnx_fp32": 400, "tinybert/onnx_int8": 12, "ours/onnx_int8": 5, "ours/onnx_fp32": 20}


def synthetic_results() -> dict:
    measured = synthetic()
    cells = {side: {name: inference_figures.cell_figures(found, 1) for name, found in each.items()}
             for side, each in measured["onnx"].items()}  # fmt: skip
    return {
        "processor": "a processor, avx2", "threads": 2, "rounds": 2, "load_before": 0.1, "load_after": 0.2,
        "corpus_tokens": [3, 40, 128], "tokeniser": {"ours_microseconds": 50.0, "tokenizers_microseconds": 90.0},
        "titles": {"bert_base": "BERT-base", "tinybert": "TinyBERT", "ours": "ours"},
        "results": {side: {"size_bytes": 4_000_000, "peak_memory_bytes": 9_000_000, "cells": found}
                    for side, found in cells.items()},
        "profile": {"ours/onnx_fp32": {size: dict.fromkeys(inference_profile.PARTS, 0.25) for size in ("1", "32")}},
        "summary": inference_figures.summary(measured, SIZES),
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(seed):
    draw = random.Random(seed)
    values = [draw.random() for _ in range(draw.randrange(1, 150))]
    for share in (0.5, 0.95, 0.99, 1.0):
        expected = min(value for value in values if sum(other <= value for other in values) >= share * len(values))
        assert inference_figures.percentile(values, share) == expected


def test_figures_of_a_cell_are_those_of_its_calls():
    found = inference_figures.cell_figures([[0.2, 0.4, 0.1], [0.8, 0.4, 0.6], [0.3]], 32)
    assert found["median_ms"] == pytest.approx(300)  # the medians of the rounds: 0.2, 0.6 and 0.3
    assert found["texts_per_second"] == pytest.approx(32 / 0.3)
    assert (found["fastest_ms"], found["p99_ms"]) == (pytest.approx(100), pytest.approx(800))
    assert found["num_calls"] == 7 and found["spread"] == pytest.approx(3)


def test_a_ratio_is_the_median_of_the_rounds():
    found = inference_figures.ratio([[6.0, 2.0, 4.0], [9.0], [8.0]], [[1.0, 2.0, 9.0], [1.0], [2.0]])
    assert found["ratio"] == 4 and (found["lowest"], found["highest"]) == (2, 9)
    assert found["of_fastest"] == 2 / 1


def test_the_last_line_holds_the_ratios_of_the_acceptance_and_rounds_none_up():
    found = inference_figures.json_line(inference_figures.summary(synthetic(), SIZES))
    assert list(found) == RATIOS
    assert found["latency_ratio_bert_base"] == 47.5 and found["latency_ratio_tinybert"] == 4  # 45 and 50; 4 and 4
    assert found["best_latency_ratio_bert_base"] == 95  # int8: 90 and 100
    assert found["size_ratio_bert_base"] == 80 and found["size_ratio_tinybert"] == 2.4
    assert inference_figures.json_line({"size_ratio_tinybert": {"ratio": 2.19999}}) == {"size_ratio_tinybert": 2.199}


def test_what_was_not_measured_has_no_ratio():
    measured = {"onnx": {"bert_base/onnx_fp32": synthetic()["onnx"]["bert_base/onnx_fp32"]}}
    assert inference_figures.summary(measured, {}) == {}


def test_texts_have_the_tokens_that_were_asked_for_and_none_comes_twice():
    for tokens in inference_cells.TOKENS:
        found = inference_cells.texts_of_length(TEXTS, tokens, by_character, 5)
        assert [len(by_character(text)) for text in found] == [tokens] * 5
        assert all(len(by_character(text[:-1])) < tokens for text in found)  # no more characters than it takes
        assert "".join(found).replace(" ", "") in "".join(TEXTS * 40)


def test_batches_hold_texts_of_like_length_and_every_text_once():
    texts = [CHARACTERS[:length] for length in (9, 1, 5, 3, 7, 2, 8)]
    batches = inference_cells.batches_of(texts, list(map(len, texts)), 2)
    assert [list(map(len, batch)) for batch in batches] == [[1, 2], [3, 5], [7, 8]]
    assert inference_cells.batches_of(texts, list(map(len, texts)), 1) == [[text] for text in texts]


def test_a_file_without_texts_is_refused(tmp_path):
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(InputError, match=r"--texts_file=.*no text in it"):
        inference_cells.sample_texts(str(tmp_path / "empty.txt"), 1)


def test_a_turn_calls_as_often_as_it_was_told_to_and_goes_through_all_texts():
    met = []

    def answer(token_ids):
        met.append(token_ids.tolist())
        return np.eye(3, dtype=np.float32)[token_ids[:, 0] % 3]

    cell = {"start": "strings", "tokens": 4, "batches": [["a"], ["bb"], ["ccc"]]}
    turn = timer(cell, answer, lambda text, tokens: [len(text)] * min(len(text), tokens), "xyz")
    assert len(turn(5, 0.0)["seconds"]) == 5
    assert met == [[[number] * number] for number in (1, 2, 3, 1, 2, 3)]  # the first doesn't count
    cell = {"start": "ids", "tokens": 2, "batches": [["a", "ccc"]]}
    assert len(timer(cell, answer, lambda text, tokens: [7] * min(len(text), tokens), "xyz")(5, 0.0)["seconds"]) == 1
    assert met[-1] == [[7, 0], [7, 7]] == padded([[7], [7, 7]]).tolist()


def test_an_interrupted_run_goes_on_with_the_rounds_of_the_same_conditions(tmp_path):
    rounds = Rounds(str(tmp_path), {"threads": 2})
    rounds.add("onnx", 0, {"ours/onnx_fp32": {"heavy": [3.0], "light": [1.0, 2.0]}})
    rounds.add("onnx", 1, {"ours/onnx_fp32": {"light": [4.0]}})
    again = Rounds(str(tmp_path), {"threads": 2})
    assert again.has("onnx", 1) and not again.has("onnx", 2)
    assert again.by_side("onnx", 2) == {"ours/onnx_fp32": {"heavy": [[3.0]], "light": [[1.0, 2.0], [4.0]]}}
    assert not Rounds(str(tmp_path), {"threads": 1}).has("onnx", 0)
    again.remove()
    assert not rounds.has("onnx", 0)


def test_a_model_that_computes_something_else_ends_the_benchmark():
    with pytest.raises(SystemExit, match=r"ours/xla differs from Keras by up to 1\.00e-03"):
        inference.require_agreement("ours/xla", {"probabilities": [[0.501, 0.499]]}, [[0.5, 0.5]])
    ready = {"probabilities": [[0.51, 0.49]]}
    inference.require_agreement("ours/onnx_int8", ready, [[0.5, 0.5]])
    assert ready == {"largest_difference": pytest.approx(0.01)}


@pytest.mark.parametrize("num_sessions", [1, 2])
def test_rows_shared_among_threads_have_the_answers_of_one_session(tmp_path, num_sessions):
    paths = onnx.export(make(tmp_path), str(tmp_path / "onnx"))
    session = inference_runtimes.onnx_session(paths[0], 1)
    for rows in (1, 2, 31, 100):
        token_ids = token_rows(rows)
        token_ids[:, 0] = np.maximum(token_ids[:, 0], 1)  # no row without a token
        found = inference_runtimes._by_rows(paths[0], 2, num_sessions)(token_ids)
        (whole,) = session.run(None, inference_runtimes.onnx_inputs(session, token_ids))
        np.testing.assert_allclose(found, whole, rtol=0, atol=1e-6)


def test_the_quickest_way_is_chosen_by_its_best_call(monkeypatch):
    now, taken = [0.0], {"first": iter([9.0, 2.0, 9.0]), "second": iter([3.0, 3.0, 3.0])}
    monkeypatch.setattr(inference_runtimes.time, "perf_counter", lambda: now[0])

    def way(name: str):
        def answer(token_ids: np.ndarray) -> None:
            now[0] += next(taken[name])

        return answer

    ways = [way("first"), way("second")]
    assert inference_runtimes._quickest(*ways) is ways[0]


def test_the_profile_is_summed_by_part():
    operators = (("LSTM", 500), ("LSTM", 1500), ("Gemm", 300), ("Gather", 10), ("Softmax", 4))
    events = [{"cat": "Node", "name": f"n_{kind}_kernel_time", "dur": dur, "args": {"op_name": kind}}
              for kind, dur in operators]  # fmt: skip
    events.append({"cat": "Session", "name": "model_run", "dur": 9999})
    found = inference_profile.sums_by_part(events, 2)
    assert found == {"matrix products": 0.15, "attention": 0, "recurrence": 1.0, "embedding": 0.005,
                     "other operators": 0.002}  # fmt: skip


def test_the_table_shows_the_figures_and_goes_between_the_marks(tmp_path):
    results = synthetic_results()
    shown = inference_table.table(results)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown.splitlines() if line.startswith("|")]
    title = "one text, BERT-base over ours, ONNX Runtime fp32"
    assert [title, "47.50", "45.0 to 50.0", "90.0", "40", "45"] in rows
    header = next(row for row in rows if "MB" in row)
    ours = next(row for row in rows if row[:2] == ["ours", "ONNX Runtime fp32"] and len(row) == len(header))
    assert dict(zip(header, ours, strict=True))["string to label, ms"] == "2.00"
    document = tmp_path / "inference.md"
    document.write_text("before\n\n<!-- inference tables -->\nold\n<!-- end of inference tables -->\nafter\n")
    inference_table.write_into(str(document), results)
    text = document.read_text(encoding="utf-8")
    assert inference_table.between_marks(text) == shown and text.startswith("before") and text.endswith("after\n")


def test_the_plot_is_a_picture(tmp_path):
    plot(synthetic_results(), str(tmp_path / "inference.png"))
    assert (tmp_path / "inference.png").read_bytes()[1:4] == b"PNG"


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "benchmarks.inference", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_what_is_missing_is_said_in_one_line(vocab_file, texts_file):
    for flags, message in (
        ((), r"--vocab_file=\(empty\): no such file"),
        ((f"--vocab_file={vocab_file}", f"--texts_file={texts_file}", "--only=nothing"), "matches no model/runtime"),
    ):
        done = run(*flags)
        assert done.returncode == 1 and re.fullmatch(
            rf"error: .*{message}.*\n", done.stderr[-500:].splitlines()[-1] + "\n"
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("only", "ratios"),
    [
        (("--only=ours/(keras|onnx)", "--noreference"), []),
        (("--only=ours/onnx|bert_base/keras",), [name for name in RATIOS if "tinybert" not in name]),
    ],
)
def test_tiny_models_run_from_strings_to_the_last_line(tmp_path, vocab_file, texts_file, only, ratios):
    if ratios:
        pytest.importorskip("torch", reason="BERT comes from transformers")
    output = tmp_path / "figures.json"
    done = run("--tiny", *only, "--rounds=2", "--seconds=0.01", "--repetitions=5", f"--vocab_file={vocab_file}",
               f"--texts_file={texts_file}", f"--cache_dir={tmp_path}/cache", f"--output_json={output}")  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(output.read_text(encoding="utf-8"))
    expected = {name: math.floor(1000 * figures["summary"][name]["ratio"]) / 1000 for name in ratios}
    assert json.loads(done.stdout.splitlines()[-1]) == expected
    assert any(side.endswith("/keras") for side in figures["results"])
    for found in figures["results"].values():
        cell = found["cells"]["strings_128x1"]
        assert 0 < cell["fastest_ms"] <= cell["median_ms"] <= cell["p99_ms"] and cell["num_calls"] >= 2 * 5
        assert found["cells"]["ids_16x256"]["texts_per_second"] > 0 and found["peak_memory_bytes"] > 1e7
    expected_lengths = sorted(len(text) for text in TEXTS)  # PLC is one token, the special ones are two
    assert set(figures["corpus_tokens"]) == set(expected_lengths)
    assert inference_table.table(figures) in done.stdout
    assert (tmp_path / "figures.png").is_file() and str(tmp_path) not in figures["command"]

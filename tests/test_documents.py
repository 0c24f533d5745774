"""The documents tell the truth about the tree: tables are those of docs/results, what they name exists."""

import gzip
import json
import math
import pathlib
import re

import pytest

from benchmarks import (
    data_prep,
    distiller,
    inference_figures,
    inference_table,
    input_pipeline,
    litert_choices,
    pretraining,
    reference_curves,
    results_markdown,
    results_overview,
    smaller,
    smaller_sizes,
    tasks,
    word_baseline,
)
from benchmarks.results_table import table
from chemkd_tf.distillation.recipes import RECIPES
from chemkd_tf.distillation.schedules import SCHEDULES

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


@pytest.mark.parametrize(
    ("name", "table_of"),
    [
        ("data preparation", lambda results: data_prep.table(results["results"])),
        ("input pipeline", input_pipeline.table),
    ],
)
def test_the_tables_of_data_preparation_are_those_of_the_measured_results(name, table_of):
    results = json.loads(read(f"docs/results/{name.replace(' ', '_')}.json"))
    pattern = rf"<!-- {name} table -->\n(.*?)<!-- end of {name} table -->"
    between = re.search(pattern, read("docs/data.md"), re.DOTALL)[1]
    assert between.strip("\n`") == table_of(results)


def test_the_table_of_vocabulary_extensions_is_that_of_the_measured_results():
    pattern = r"<!-- vocabulary extension table -->\n.*?\n.*?\n(.*?)\n<!-- end of vocabulary extension table -->"
    rows = []
    for row in json.loads(read("docs/results/vocabulary_extension.json"))["results"]:
        before, after = (row["held_out_text"][when]["unknown_tokens"] for when in ("before", "after"))
        words = row["training_text"]["latin_words"]
        pieces = " to ".join(f"{words[f'mean_pieces_{when}']:.2f}" for when in ("before", "after"))
        added = f"{row['characters_added']} + {row['words_added']}"
        share = (before - after) / before
        rows.append(f"| {row['vocabulary']} | {added} | {before:,} | {after:,} | {share:.1%} | {pieces} |")
    assert re.search(pattern, read("docs/data.md"), re.DOTALL)[1].split("\n") == rows


def test_the_ratios_of_the_readme_are_those_of_the_measured_results():
    results = json.loads(read("docs/results/data_preparation.json"))
    keys = ("tokens_per_second_ratio", "tokens_per_second_ratio_one_worker", "tokens_per_second_ratio_whole_word")
    two, one, whole = (round(results[key]) for key in keys)
    words = " ".join(read("README.md").split())
    assert f"{two} times as many tokens a second, {one} times with one worker, {whole} times with whole words" in words


def test_the_tables_of_training_are_those_of_the_measured_results():
    text = read("docs/training.md")
    between = re.search(r"<!-- pretraining table -->\n(.*?)<!-- end of pretraining table -->", text, re.DOTALL)[1]
    assert between.strip("\n`") == pretraining.table(json.loads(read("docs/results/pretraining.json")))
    between = re.search(r"<!-- distillation table -->\n(.*?)<!-- end of distillation table -->", text, re.DOTALL)[1]
    assert between.strip("\n`") == distiller.table(json.loads(read("docs/results/distiller.json")))
    corpora = json.loads(read("docs/results/reference_curves.json"))["corpora"]
    tables = re.findall(r"<!-- curves of (.+?) -->\n(.*?)<!-- end of curves -->", text, re.DOTALL)
    assert {name for name, _ in tables} == set(corpora)
    for name, shown in tables:
        assert shown.strip() == reference_curves.table(corpora[name]["sizes"]), name


def test_the_tables_of_inference_are_those_of_the_measured_results():
    path = ROOT / "docs" / "results" / "inference.json"
    shown = inference_table.between_marks(read("docs/inference.md"))
    assert shown == (
        inference_table.table(json.loads(path.read_text("utf-8"))) if path.exists() else "Not measured yet."
    )


def test_the_ratios_of_inference_in_the_readme_are_those_of_the_measured_results():
    results = json.loads(read("docs/results/inference.json"))
    ratio = {name: found["ratio"] for name, found in results["summary"].items()}
    words = " ".join(read("README.md").split())
    sides = [results["results"][f"ours/onnx_{precision}"] for precision in ("fp32", "int8")]
    fp32, int8 = (side["cells"]["strings_128x1"]["median_ms"] for side in sides)
    assert f"the paper's student takes {fp32:.1f} ms a text" in words
    assert f"takes {ratio['latency_ratio_bert_base']:.0f} times as long" in words
    assert f"TinyBERT {ratio['latency_ratio_tinybert']:.1f} times" in words
    batch = [ratio[f"throughput_ratio_{name}"] for name in ("bert_base", "tinybert")]
    assert f"for 32 texts at once {batch[0]:.0f} and {batch[1]:.1f} times" in words
    assert f"In int8 it takes {int8:.1f} ms and 1/{math.floor(ratio['size_ratio_bert_base'])} of" in words


def test_the_longer_comparison_with_tinybert_is_the_measured_one():
    words = " ".join(read("docs/inference.md").split())
    summary = json.loads(read("docs/results/inference_tinybert.json"))["summary"]
    one, many = summary["latency_ratio_tinybert"], summary["throughput_ratio_tinybert"]
    spreads = [
        f"{found['lowest']:.1f} to {found['highest']:.1f}; floor {floor}" for found, floor in ((one, 3.3), (many, 8))
    ]
    assert f"a ratio of {one['ratio']:.2f} for one text (rounds from {spreads[0]})" in words
    assert f"{many['ratio']:.2f} for 32 ({spreads[1]})" in words


def test_the_newer_comparison_in_onnx_runtime_is_the_measured_one():
    results = json.loads(read("docs/results/inference_onnx_avx512.json"))
    ratio = {name: found["ratio"] for name, found in results["summary"].items()}
    assert set(ratio) == set(inference_figures.TARGETS)
    shown = re.search(r"<!-- onnx ratios -->\n(.*?)\n<!-- end of onnx ratios -->", read("docs/inference.md"), re.DOTALL)
    assert shown[1] == inference_table.ratios(results["summary"])
    fp32, int8 = (results["results"][f"ours/onnx_{precision}"]["cells"] for precision in ("fp32", "int8"))
    texts = f"{fp32['strings_128x1']['median_ms']:.1f} ms a text (int8: {int8['strings_128x1']['median_ms']:.1f})"
    one = f"BERT-base {ratio['latency_ratio_bert_base']:.0f} and TinyBERT {ratio['latency_ratio_tinybert']:.1f} times"
    many = f"{ratio['throughput_ratio_bert_base']:.0f} and {ratio['throughput_ratio_tinybert']:.1f} times"
    words = " ".join(read("README.md").split())
    assert f"{texts}, {one}; for 32 texts {many}" in words
    assert f"of our {fp32['strings_128x32']['median_ms']:.1f} ms" in " ".join(read("docs/inference.md").split())


def test_what_is_said_of_the_soak_is_what_was_measured():
    words = " ".join(read("docs/inference.md").split())
    models = json.loads(read("docs/results/soak.json"))["models"].values()
    grown = [f"{found['growth_percent']:.2f} %" for found in models]
    speeds = [f"{found['texts_per_second']:,.0f}" for found in models]
    assert f"grew by {grown[0]} (SavedModel), {grown[1]} (LiteRT) and {grown[2]} (ONNX Runtime)" in words
    assert f"{speeds[0]}, {speeds[1]} and {speeds[2]} texts a second" in words
    assert not any(found["errors"] or found["wrong"] for found in models)


def test_the_table_of_litert_graphs_is_that_of_the_measured_results():
    shown = re.search(r"<!-- graphs table -->\n(.*?)<!-- end of graphs table -->", read("docs/litert.md"), re.DOTALL)[1]
    assert shown.strip() == litert_choices.table(json.loads(read("docs/results/litert.json"))["files"])


def test_the_curve_of_a_healthy_distillation_is_the_measured_one():
    pattern = r"<!-- healthy distillation table -->\n.*?\n.*?\n(.*?)\n<!-- end of healthy distillation table -->"
    rows = []
    for row in json.loads(read("docs/results/real_corpus.json"))["student"]["held_out"]:
        fits = [f"{row[f'r_squared_{state}']:.2f} ({row[f'cosine_{state}']:.2f})"
                for state in ("embedding", "hidden_1", "hidden_2", "hidden_3")]  # fmt: skip
        losses = f"{row['embedding_loss']:.3f}, {row['hidden_loss']:.2f}, {row['prediction_loss']:.2f}"
        found = f"{row['masked_lm_accuracy_student']:.2f} of {row['masked_lm_accuracy_teacher']:.2f}"
        rows.append(f"| {row['step']:,} | {losses} | {' | '.join(fits)} | {found} |")
    assert re.search(pattern, read("docs/distillation.md"), re.DOTALL)[1].split("\n") == rows


def test_the_tables_of_smaller_students_are_those_of_the_measured_results():
    text, results = read("docs/smaller.md"), json.loads(read("docs/results/smaller.json"))
    tables = {task: smaller.task_table(rows) for task, rows in results["tasks"].items()}
    tables["sizes"] = smaller_sizes.table(results["sizes"])
    tables["word baseline"] = word_baseline.table(json.loads(read("docs/results/word_baseline.json"))["results"])
    for name, expected in tables.items():
        shown = re.search(rf"<!-- {name} table -->\n(.*?)<!-- end of {name} table -->", text, re.DOTALL)
        assert shown[1].strip() == expected, name


def test_the_table_of_pauses_is_that_of_the_measured_results():
    runs = json.loads(read("docs/results/onnx_pauses.json"))["runs"]
    found = {(run["file"], run["way"], run["pause_ms"]): run["median_ms"] for run in runs if run["rows"] == 1}
    cells = [(f"{precision}.onnx", pause) for precision in ("fp32", "int8") for pause in (0.0, 10.0)]
    rows = [
        f"| {way} | {' | '.join(f'{found[file, way, pause]:.2f}' for file, pause in cells)} |"
        for way in dict.fromkeys(way for _, way, _ in found)
    ]
    shown = re.search(r"<!-- pauses table -->\n(.*?)<!-- end of pauses table -->", read("docs/onnx.md"), re.DOTALL)[1]
    assert shown.strip().split("\n")[2:] == rows


def test_the_tables_of_methods_are_those_of_the_measured_results():
    results = json.loads(read("docs/results/methods.json"))
    pattern = r"<!-- methods tables -->\n(.*?)<!-- end of methods tables -->"
    shown = re.search(pattern, read("docs/distillation.md"), re.DOTALL)[1]
    assert shown.strip() == results_overview.overview(results).replace("## ", "### ").strip()
    assert read("docs/results/methods.md") == results_markdown.tables(results)


def test_what_is_said_of_methods_is_what_was_measured():
    rows = [row for row in json.loads(read("docs/results/methods.json"))["rows"] if row["num_train"] == 200]
    by_method = {}
    for row in rows:
        if row["macro_f1"]:
            by_method.setdefault(row["method"], []).append((row["macro_f1"]["mean"], row["share_of_teacher"]["share"]))
    points = {name: 100 * sum(mean for mean, _ in found) / 3 for name, found in by_method.items()}
    shares = {name: 100 * sum(share for _, share in found) / 3 for name, found in by_method.items()}
    words = " ".join(read("docs/distillation.md").split())
    assert f"keeps {shares['layered_pca_long']:.1f} % of the teacher's macro-F1" in words
    assert f"kept {shares['layered_pca_long']:.1f} % of the teacher's macro-F1" in " ".join(read("README.md").split())
    assert f"as well makes {shares['layered_pca_long_task']:.1f} %" in words
    assert f"{points['layered_pca_long'] - points['undistilled']:.1f} points above the same network" in words
    assert f"answers alone give {points['undistilled_task'] - points['undistilled']:.1f} points" in words
    assert f"is worth {points['layered_pca'] - points['paper']:.1f} points against fresh weights" in words

    def mean_of(name: str, *seeds: int) -> float:
        found = [score for row in rows if row["method"] == name for score in row["scores"] if score["seed"] in seeds]
        assert len(found) == 3 * len(seeds), name
        return sum(score["macro_f1"] for score in found) / len(found)

    said = dict(re.findall(r"`(\w+)` (0\.\d{3})", words))
    assert {"logits_only", "bert_pkd", "lrc_bert", "stagewise", "distilbert", "gradual_unfreezing"} < set(said)
    for name, value in said.items():
        assert value == f"{mean_of(name, 1, 2, 3):.3f}", name
    assert f"three seeds (mean of the tasks; teacher {mean_of('teacher', 1, 2, 3):.3f})" in words
    tang, undistilled = (mean_of(name, 1, 2, 3) for name in ("logits_mse", "undistilled"))
    assert f"is at {tang:.3f}, the undistilled student at {undistilled:.3f}" in words
    three = {
        name: f"{mean_of(name, 1, 2, 3):.3f}"
        for name in (
            "layered_transformer", "tinybert_transformer", "layered_pca", "layered_pca_long", "layered_pca_long_task"
        )
    }  # fmt: skip
    by_maximum = {
        name: f"{mean_of(name, *seeds):.3f}"
        for name, seeds in {
            "layered_transformer_max": (1, 2, 3), "tinybert_transformer_max": (1,), "layered_pca_long_max": (1, 2, 3)
        }.items()
    }  # fmt: skip
    assert (
        f"three seeds: {three['layered_transformer']} by the paper's losses, {three['tinybert_transformer']} by "
        f"TinyBERT's two stages; the BiLSTM {three['layered_pca']}, with more updates {three['layered_pca_long']}, and "
        f"with the task as well {three['layered_pca_long_task']}. Pooled by maximum, three seeds, the transformer of "
        f"the paper's losses has {by_maximum['layered_transformer_max']}, the BiLSTM with more updates "
        f"{by_maximum['layered_pca_long_max']} (TinyBERT's, first seed, {by_maximum['tinybert_transformer_max']}):"
        in words
    )
    latency = {row["method"]: row["latency_ms"] for row in rows if row["task"] == "hazard_class"}
    assert f"{latency['tinybert_transformer']:.1f} ms a text in Keras against {latency['paper']:.1f} ms" in words
    transformer, bilstm = "layered_transformer_256_max", "layered_pca_256_max"
    assert (
        f"the transformer of the paper's losses has {mean_of(transformer, 1, 2, 3):.3f} in "
        f"{latency[transformer]:.1f} ms a text (hazard classes, idle machine), the BiLSTM after as many updates of "
        f"distillation (`{bilstm}`) {mean_of(bilstm, 1, 2, 3):.3f} in {latency[bilstm]:.1f} ms;" in words
    )
    assert f"By the mean (first seed) it has {mean_of('layered_transformer_256', 1):.3f}." in words
    assert f"The teacher on 64 tokens takes {latency['teacher']:.1f} ms." in words
    assert (
        f"student had {mean_of(bilstm, 1, 2, 3):.3f} in {latency[bilstm]:.1f} ms a text, a transformer of 4 layers "
        f"{mean_of(transformer, 1, 2, 3):.3f} in {latency[transformer]:.1f} ms."
    ) in " ".join(read("README.md").split())
    apart = sorted(100 * (mean_of(bilstm, seed) - mean_of(transformer, seed)) for seed in (1, 2, 3))
    assert f"with each seed, by {apart[0]:.1f} to {apart[-1]:.1f} points" in words
    of_task = {(row["method"], row["task"]): row["macro_f1"]["mean"] for row in rows if row["macro_f1"]}
    assert all(of_task[bilstm, task] > of_task[transformer, task] for task in ("job_category", "regulation_type"))
    hazards = [f"{of_task[name, 'hazard_class']:.3f}" for name in (transformer, bilstm, "layered_transformer_max")]
    assert "hazard classes, {} against {}, where the transformer loses".format(*hazards[:2]) in words
    assert f"longer text ({hazards[2]} with 64 tokens)" in words
    by = [f"{points[name] - points['layered_pca']:+.1f}" for name in ("stagewise", "logits_only")]
    assert f"(`stagewise` by {by[0]} points, `logits_only` by {by[1]}, three seeds)" in words
    assert f"updates gave {points['layered_pca_long'] - points['layered_pca']:.1f} points" in words
    by_seed = {
        name: [
            100 * sum(row["scores"][number]["macro_f1"] for row in rows if row["method"] == name) / 3
            for number in range(3)
        ]
        for name in ("paper", "no_hidden", "no_embedding", "no_prediction")
    }
    said = {}
    for name, found in by_seed.items():
        apart = sorted(abs(one - whole) for one, whole in zip(found, by_seed["paper"], strict=True))
        said[name] = f"{abs(points['paper'] - points[name]):.1f}", f"{apart[0]:.1f} to {apart[-1]:.1f}"
    assert (
        "without the hidden layers {} points less (by seed {}), without the embedding {} less ({}), without the "
        "predictions {} more ({})".format(*said["no_hidden"], *said["no_embedding"], *said["no_prediction"])
        in words
    )
    weights = [points[f"layered_pca{ending}"] / 100 for ending in ("", "_small_prediction", "_no_prediction")]
    assert "{:.3f} with the paper's weight, {:.3f} with a tenth of it, {:.3f} without".format(*weights) in words
    assert f"1, 3, 5 give {points['shallow_only'] - points['paper']:.1f} points more, 4, 5, 6 as much" in words
    assert points["deep_only"] == pytest.approx(points["paper"], abs=0.1)
    with gzip.open(ROOT / "docs/results/methods_runs.jsonl.gz", "rt", encoding="utf-8") as file:
        kept = {
            line["folder"].rpartition("-")[0]: line["summary"] for line in map(json.loads, file) if "folder" in line
        }
    pca, fresh = (kept[f"runs/{name}/distilled/corpus/seed1"]["held_out"] for name in ("layered_pca", "paper"))
    followed = kept["runs/no_prediction/distilled/corpus/seed1"]["held_out"]["r_squared_hidden_3"]
    assert f"(R² {followed:.2f} instead of {fresh['r_squared_hidden_3']:.2f} held out)" in words
    found = [100 * each["masked_lm_accuracy_student"] for each in (pca, fresh)]
    teacher = 100 * pca["masked_lm_accuracy_teacher"]
    assert (
        f"finds {found[0]:.0f} instead of {found[1]:.0f} % of the masked tokens held out (teacher: {teacher:.0f} %)"
        in words
    )


def test_what_is_said_of_longer_texts_and_pooling_is_what_was_measured():
    every, first, all_labels, seeds_of_all = {}, {}, {}, {}
    for row in json.loads(read("docs/results/methods.json"))["rows"]:
        if row["macro_f1"] and row["num_train"] != 200:
            all_labels.setdefault(row["method"], []).append(row["macro_f1"]["mean"])
            for score in row["scores"]:
                of_seeds = seeds_of_all.setdefault(row["method"], {})
                of_seeds[score["seed"]] = of_seeds.get(score["seed"], 0.0) + score["macro_f1"] / 3
        if row["num_train"] == 200 and row["macro_f1"]:
            every.setdefault(row["method"], {})[row["task"]] = row["macro_f1"]["mean"]
            by_seed = {score["seed"]: score["macro_f1"] for score in row["scores"]}
            first.setdefault(row["method"], {})[row["task"]] = by_seed[1]
    as_it_is, by_maximum, longer, both = (f"layered_pca_long{ending}" for ending in ("", "_max", "_256", "_256_max"))
    for name in ("character_tfidf", "teacher", "undistilled_256"):
        assert all(every[both][task] > every[name][task] for task in every[both]), name
    mean = {name: sum(found.values()) / 3 for name, found in every.items() if len(found) == 3}
    begun = {name: sum(found.values()) / 3 for name, found in first.items() if len(found) == 3}
    of_all = {name: sum(found) / 3 for name, found in all_labels.items() if len(found) == 3}
    for name in (both, "layered_pca_long_task", "teacher", "undistilled", "character_tfidf"):
        assert sorted(seeds_of_all[name]) == [1, 2, 3], name
    ahead = sorted(100 * (seeds_of_all[both][seed] - seeds_of_all["character_tfidf"][seed]) for seed in (1, 2, 3))
    against = {
        (row["num_train"], row["task"]): row
        for row in json.loads(read("docs/results/methods_against_characters.json"))["rows"]
        if row["method"] == both
    }
    assert all(row["seeds"] == [1, 2, 3] for row in against.values())
    for number, task in enumerate(every[both]):
        of_few, of_many = against[200, task]["difference"], against[0, task]["difference"]
        assert of_few == pytest.approx(every[both][task] - every["character_tfidf"][task]), task
        assert of_many == pytest.approx(all_labels[both][number] - all_labels["character_tfidf"][number]), task
    tested = [
        "{:+.1f} points ({:+.1f} to {:+.1f}, p {:.2f}".format(
            *(100 * figure for figure in (row["difference"], *row["interval"])), row["p"]
        )
        for (size, _), row in against.items()
        if not size
    ]
    few = [100 * row["difference"] for (size, _), row in against.items() if size]
    highest = max(row["p_holm"] for (size, _), row in against.items() if size)
    undistilled = mean["undistilled_256"]
    assert undistilled == max(mean[f"undistilled{ending}"] for ending in ("", "_max", "_256", "_256_max"))

    def gain(new: str, old: str, task: str) -> str:
        return f"{100 * (first[new][task] - first[old][task]):+.1f}"

    words, readme = (" ".join(read(path).split()) for path in ("docs/distillation.md", "README.md"))
    for said in (
        f"{mean[both]:.3f} in the mean of the tasks, on each of them ahead of a bag of characters "
        f"({mean['character_tfidf']:.3f} in the mean; by ",
        f"The teacher ({mean['teacher']:.3f}), which ends",
        f"by maximum it has {mean['teacher_max']:.3f}, and {every['teacher_max']['regulation_type']:.3f} on "
        f"regulations against {every[both]['regulation_type']:.3f}.",
        f"by the pooling that suits it better, reaches {undistilled:.3f}.",
        f"from 64 to 256 tokens {gain(both, by_maximum, 'job_category')} points on job adverts and "
        f"{gain(both, by_maximum, 'hazard_class')} on hazard classes by maximum; "
        f"{gain(longer, as_it_is, 'job_category')} and {gain(longer, as_it_is, 'hazard_class')} by the mean",
        f"{gain(by_maximum, as_it_is, 'hazard_class')} on hazard classes, "
        f"{gain(by_maximum, as_it_is, 'job_category')} on job adverts, "
        f"{gain(by_maximum, as_it_is, 'regulation_type')} on regulations. The mean of the tasks goes from "
        f"{begun[as_it_is]:.3f} to {begun[by_maximum]:.3f} so, without distillation from {begun['undistilled']:.3f} to "
        f"{begun['undistilled_max']:.3f}, and with 256 tokens from {begun['undistilled_256']:.3f} to "
        f"{begun['undistilled_256_max']:.3f}",
        f"first seed) has {begun['teacher_256']:.3f} by the mean and {begun['teacher_256_max']:.3f} by maximum, its "
        f"student {begun[longer]:.3f} by the mean and {begun[both]:.3f} by maximum.",
        "the best row has {:.3f}, {:.3f} and {:.3f}".format(*all_labels[both]),
        "a bag of characters {:.3f}, {:.3f} and {:.3f}".format(*all_labels["character_tfidf"]),
        f"({of_all[both]:.3f} against {of_all['character_tfidf']:.3f}, by seed {ahead[0]:.1f} to {ahead[-1]:.1f} "
        "points). By task: hazard classes {}), job adverts {}), regulations {}; a bag of words has ".format(*tested)
        + f"{all_labels['word_tfidf'][-1]:.3f} there): the last two are not told apart.",
        "by {:.1f}, {:.1f} and {:.1f} points, each p {:.4f} adjusted".format(*few, highest),
        "teacher {teacher:.3f}, distilled with the task {layered_pca_long_task:.3f}, undistilled {undistilled:.3f}; "
        "first seed alone: distilled without the task {layered_pca_long:.3f}, undistilled on 256 tokens by maximum "
        "{undistilled_256_max:.3f}.".format(**of_all),
    ):
        assert said in words
    assert (
        f"a macro-F1 of {mean[both]:.3f} in the mean, its teacher, which ends at 64 tokens, {mean['teacher']:.3f}, a "
        f"bag of characters {mean['character_tfidf']:.3f}, the same network without distillation at most "
        f"{undistilled:.3f};" in readme
    )
    reached = of_all[both], of_all["character_tfidf"]
    assert "labels the student reached {:.3f}, a bag of characters {:.3f}, which is ahead".format(*reached) in readme
    assert f"(first seed), it had at most {begun['teacher_256']:.3f} and the student {begun[both]:.3f}." in readme


def test_what_is_said_of_regulations_by_document_is_what_was_measured():
    measured = json.loads(read("docs/results/regulation_documents.json"))
    found, apart, adjusted = {}, [], []
    for row in measured["rows"]:
        for score in row["scores"]:
            found.setdefault(row["method"], {}).setdefault(score["seed"], []).append(score["macro_f1"])
        if row["method"] == "layered_pca_long":
            apart.append(100 * row["against"]["difference"])
            adjusted.append(row["against"]["p_holm"])
    assert all(len(folds) == 5 for seeds in found.values() for folds in seeds.values())
    by_seed = {name: {seed: sum(folds) / 5 for seed, folds in seeds.items()} for name, seeds in found.items()}
    mean = {name: sum(seeds.values()) / len(seeds) for name, seeds in by_seed.items()}
    student, characters = mean["layered_pca_long"], mean["character_tfidf"]
    distilled, undistilled = by_seed["layered_pca_long"], by_seed["undistilled"]
    gained = sorted(100 * (distilled[seed] - undistilled[seed]) for seed in (1, 2, 3))
    assert sum(difference < 0 and p <= 0.02 for difference, p in zip(apart, adjusted, strict=True)) == 2
    assert sum(p <= 0.05 for p in adjusted) == 2
    looks = {look["flags"]: look["macro_f1"] for look in measured["settings"]["distilled"]}
    assert max(score for seeds in looks.values() for score in seeds.values()) == max(looks[""].values())
    assert looks[""]["1"] > measured["settings"]["character_tfidf"]
    words, readme = (" ".join(read(path).split()) for path in ("docs/distillation.md", "README.md"))
    for said in (
        f"student {student:.3f}, characters {characters:.3f}, words {mean['word_tfidf']:.3f}.",
        f"between {-min(apart):.1f} points behind and {max(apart):.1f} ahead",
        f"has {mean['undistilled']:.3f}: by seed the student is {gained[0]:.1f} to {gained[-1]:.1f} points ahead of it",
        f"3 passes {looks['']['1']:.3f}, 2 passes {looks['--num_train_epochs=2']['1']:.3f}, "
        f"1 pass {looks['--num_train_epochs=1']['1']:.3f}",
        "By seed the first of them has {:.3f}, {:.3f} and {:.3f}:".format(*looks[""].values()),
        f"(characters there: {measured['settings']['character_tfidf']:.3f})",
        f"(`--token_mask_prob=0.15`) {looks['--token_mask_prob=0.15']['1']:.3f}",
        *(
            f"`{flag}` {looks[flag]['1']:.3f}"
            for flag in (
                "--learning_rate=2e-3",
                "--classifier_dropout=0.5",
                "--weight_decay=0.1",
                "--learning_rate=5e-4",
            )
        ),
    ):
        assert said in words, said
    assert f"and by {100 * (characters - student):.1f} over five folds of its documents" in readme


def test_every_method_and_schedule_is_described():
    text = read("docs/distillation.md")
    for name in (*RECIPES, *SCHEDULES):
        assert f"| `{name}` |" in text, name


def test_the_speed_of_pretraining_in_the_readme_is_what_was_measured():
    results = json.loads(read("docs/results/pretraining.json"))
    ours = results["against_hugging_face"]["ours"]["tokens_per_second"]
    gains = [corpus["gain"] for corpus in results["packing"].values()]
    words = " ".join(read("README.md").split())
    assert f"two CPU cores train on {ours:.0f} tokens a second, {results['tokens_per_second_ratio']:.1f} times" in words
    assert f"({math.floor(10 * min(gains)) / 10} to {max(gains):.1f} times as many on three real corpora)" in words


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
    defined = (
        "".join(path.read_text("utf-8") for path in sorted((ROOT / "chemkd_tf" / "config").glob("*.py")))
        + read("data_prep/sample_corpus.py")
        + read("benchmarks/data_prep.py")
    )
    ours = re.sub(r" -- --.*?(?=\n    \S|\n\n)", "", read("docs/data.md"), flags=re.DOTALL)  # Beam's stand behind --.
    ours += read("docs/training.md") + read("docs/augmentation.md") + read("docs/smaller.md")
    not_ours = {"helpfull", "logdir", "setup_file", "no"}
    for flag in set(re.findall(r"--([a-z_0-9]+)", read("README.md") + ours)) - not_ours:
        assert re.search(rf"\b{flag}\b", defined), flag

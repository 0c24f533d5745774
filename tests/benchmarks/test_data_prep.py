"""The comparison with Google's script: the text that both get, what is counted, what is watched, what is printed."""

import collections
import json
import os
import random
import subprocess
import sys

import pytest
import tensorflow as tf

from benchmarks import data_prep
from chemkd_tf.errors import InputError
from chemkd_tf.text.vocabulary import save_vocabulary, vocabulary_of

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CHARACTERS = "酸碱盐水火土金木阀泵管罐检修安全"
RATIOS = tuple(f"tokens_per_second_ratio{name}" for name in ("", "_one_worker", "_whole_word"))

# As Google's, it takes its flags from tf.flags and finds the module beside it; it writes one record, of 6 tokens.
STUB = """
import tokenization
import tensorflow as tf

FLAGS = tf.flags.FLAGS
for name in ("input_file", "output_file", "vocab_file"):
    tf.flags.DEFINE_string(name, None, "")
for name in ("max_seq_length", "max_predictions_per_seq", "random_seed", "dupe_factor"):
    tf.flags.DEFINE_integer(name, None, "")
tf.flags.DEFINE_float("masked_lm_prob", None, "")

def main(_):
    mask = [1] * tokenization.TOKENS + [0] * (FLAGS.max_seq_length - tokenization.TOKENS)
    feature = tf.train.Feature(int64_list=tf.train.Int64List(value=mask))
    with tf.python_io.TFRecordWriter(FLAGS.output_file) as writer:
        writer.write(tf.train.Example(features=tf.train.Features(feature={"input_mask": feature})).SerializeToString())

if __name__ == "__main__":
    tf.app.run()
"""


def random_articles(seed: int, number: int) -> list[str]:
    """Articles of 1 to 8 sentences, no two alike."""
    rng = random.Random(seed)
    return [
        "\n".join(
            "".join(rng.choices(CHARACTERS, k=rng.randint(5, 40))) + f"{seed}之{article}"
            for _ in range(rng.randint(1, 8))
        )
        for article in range(number)
    ]


@pytest.fixture
def corpus(tmp_path):
    """Two files, one about three times as large as the other: path to articles."""
    articles = {str(tmp_path / "a.txt"): random_articles(1, 50), str(tmp_path / "b.txt"): random_articles(2, 150)}
    for path, texts in articles.items():
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n\u3000\n\n".join(texts))  # an ideographic space is blank, too
    return articles


def draw(corpus, num_bytes: int, seed: int, path: str) -> tuple[list[str], int]:
    """The articles of the text drawn, and its size."""
    drawn = data_prep.draw_articles(data_prep.find_articles(list(corpus)), num_bytes, seed)
    data_prep.write_articles(drawn, path)
    with open(path, encoding="utf-8") as file:
        return file.read().removesuffix("\n\n").split("\n\n"), os.path.getsize(path)


# --- The text ---


@pytest.mark.parametrize("seed", range(5))
def test_whole_articles_are_drawn_from_every_file_in_proportion(corpus, tmp_path, seed):
    longest = max(len(text.encode()) + 2 for texts in corpus.values() for text in texts)
    drawn, size = draw(corpus, 20_000, seed, f"{tmp_path}/text.txt")
    assert len(set(drawn)) == len(drawn)
    assert drawn == [text for texts in corpus.values() for text in texts if text in set(drawn)]
    assert 20_000 <= size < 20_000 + longest
    sizes = {path: os.path.getsize(path) for path in corpus}
    for path, texts in corpus.items():
        of_file = sum(len(text.encode()) + 2 for text in drawn if text in texts)
        assert of_file == pytest.approx(20_000 * sizes[path] / sum(sizes.values()), abs=longest)


def test_the_seed_decides_which_articles_are_drawn(corpus, tmp_path):
    first, again, other = (draw(corpus, 20_000, seed, f"{tmp_path}/text.txt")[0] for seed in (1, 1, 2))
    assert first == again != other


def test_a_corpus_too_small_is_repeated(corpus, tmp_path):
    num_bytes = round(2.5 * sum(map(os.path.getsize, corpus)))
    drawn, size = draw(corpus, num_bytes, 1, f"{tmp_path}/text.txt")
    times = collections.Counter(drawn)
    assert set(times) == {text for texts in corpus.values() for text in texts}
    assert set(times.values()) == {2, 3}
    assert size == pytest.approx(num_bytes, rel=0.02)


# --- What is counted and watched ---


def write_records(path: str, lengths: list[int], max_seq_length: int) -> None:
    """Records of Google's schema, as far as tokens and their mask go."""
    with tf.io.TFRecordWriter(path) as writer:
        for length in lengths:
            padding = [0] * (max_seq_length - length)
            feature = {"input_ids": [7] * length + padding, "input_mask": [1] * length + padding}
            feature = {
                name: tf.train.Feature(int64_list=tf.train.Int64List(value=values)) for name, values in feature.items()
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def test_tokens_that_are_not_padding_are_counted(tmp_path):
    paths = [f"{tmp_path}/P-0", f"{tmp_path}/P-1"]
    write_records(paths[0], [3, 128, 77], 128)
    write_records(paths[1], [5, 16], 16)
    assert data_prep.count_records(paths) == (5, 3 + 128 + 77 + 5 + 16)


def test_the_memory_of_a_child_is_seen(tmp_path):
    child = "import time; text = b'x' * 50_000_000; time.sleep(0.5)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    usage = data_prep.run_watched([sys.executable, "-c", parent], f"{tmp_path}/log", "parent")
    assert len(usage.peaks) == 2
    assert usage.peaks[0] > 50_000_000 > usage.peaks[1] > 1_000_000
    assert usage.seconds > 0.5


def test_a_command_that_fails_shows_the_end_of_its_log(tmp_path):
    command = [sys.executable, "-c", "import sys; print('what went wrong'); sys.exit(3)"]
    with pytest.raises(SystemExit, match="(?s)ours failed with exit status 3:.*what went wrong"):
        data_prep.run_watched(command, f"{tmp_path}/log", "ours")


# --- What is refused ---


@pytest.mark.parametrize("how", [("-m", "benchmarks.data_prep"), ("benchmarks/data_prep.py",)])
def test_a_folder_without_googles_script_is_refused_in_one_line(tmp_path, how):
    (tmp_path / "create_pretraining_data.py").write_text(STUB)
    done = subprocess.run(
        [sys.executable, *how, f"--baseline_dir={tmp_path}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: --baseline_dir={tmp_path}: no tokenization.py in it")


@pytest.mark.parametrize(
    "change",
    [{"megabytes": 0}, {"baseline_megabytes": 11}, {"memory_megabytes": 5}, {"num_workers": 0}, {"repeats": 0}],
)
def test_sizes_that_make_no_sense_are_refused(change):
    (name,) = change
    with pytest.raises(InputError, match=f"--{name}="):
        data_prep.DataPrepBenchmarkConfig(**change)


# --- The whole ---


@pytest.fixture
def baseline_dir(tmp_path):
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "create_pretraining_data.py").write_text(STUB)
    (folder / "tokenization.py").write_text("TOKENS = 6\n")
    return str(folder)


@pytest.fixture
def vocabulary(tmp_path):
    path = str(tmp_path / "vocab.txt")
    save_vocabulary(vocabulary_of(CHARACTERS), path)
    return path


@pytest.fixture
def instead_of_running(monkeypatch):
    """Every script writes 2 records of 10 tokens; Google's takes 8 s, one worker 4 s, all others 2 s."""
    outputs = []

    def run(name, command, folder):
        if name == "warm_up":
            return None
        (output,) = [flag.partition("=")[2] for flag in command if flag.startswith("--output_file=")]
        assert os.listdir(os.path.dirname(output)) == [] and output not in outputs
        outputs.append(output)
        write_records(output + "-00000-of-00001", [10, 10], 128)
        with open(output + ".manifest.json", "w") as file:
            file.write("not a record")
        seconds = {"google": 8.0, "ours_packed_one_worker": 4.0}.get(name, 2.0)
        peak = 600 if any("memory.txt" in flag for flag in command) else 500
        return data_prep.Usage(seconds, (peak, 200))

    monkeypatch.setattr(data_prep, "_run", run)
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))  # main changes it
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    return outputs


def test_ratios_are_those_on_the_same_text(
    corpus, vocabulary, baseline_dir, instead_of_running, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(sys, "argv", ["data_prep.py", "--repeats=2"])
    config = data_prep.DataPrepBenchmarkConfig(
        baseline_dir=baseline_dir,
        input_file=",".join(corpus),
        vocab_file=vocabulary,
        megabytes=0.03,
        baseline_megabytes=0.01,
        memory_megabytes=0.1,
        repeats=2,
        work_dir=str(tmp_path / "work"),
        output_file=str(tmp_path / "result.json"),
    )
    data_prep.main(config)
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [summary[name] for name in RATIOS] == [4, 2, 4]
    assert summary["peak_memory_bytes"] == 600 and summary["total_memory_bytes"] == 800
    assert summary["memory_growth"] == 1.2
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert {name: result[name] for name in summary} == summary
    assert result["command"] == "python -m benchmarks.data_prep --repeats=2"
    rows = [(row["what"], row["text"], len(row["seconds_of_all_runs"])) for row in result["results"]]
    ours = ["ours_packed", "ours_packed_one_worker", "ours_packed_whole_word", "ours_sentence"]
    assert rows == [
        ("google", "baseline", 2),
        *[(name, text, 2) for text in ("baseline", "full") for name in ours],
        ("ours_one_pass", "full", 1),
        ("ours_one_pass", "memory", 1),
    ]
    assert all(row["tokens"] == 20 and row["records"] == 2 for row in result["results"])
    assert len(instead_of_running) == 2 * 9 + 2
    assert sorted(os.listdir(tmp_path / "work")) == ["baseline.txt", "full.txt", "memory.txt"]


def test_without_googles_script_ratios_are_null(corpus, vocabulary, instead_of_running, capsys):
    data_prep.main(
        data_prep.DataPrepBenchmarkConfig(
            input_file=",".join(corpus), vocab_file=vocabulary, megabytes=0.03, memory_megabytes=0
        )
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "no --baseline_dir: only ours is measured, every ratio is null"
    summary = json.loads(lines[-1])
    assert [summary[name] for name in (*RATIOS, "memory_growth")] == [None] * 4
    assert summary["peak_memory_bytes"] == 500


@pytest.mark.slow
def test_both_scripts_are_run_and_compared(baseline_dir, tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "benchmarks/data_prep.py",
            f"--baseline_dir={baseline_dir}",
            "--megabytes=0.05",
            "--memory_megabytes=0",
            f"--work_dir={tmp_path}/work",
            f"--output_file={tmp_path}/result.json",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert all(summary[name] > 0 for name in RATIOS)
    assert 1 << 30 > summary["peak_memory_bytes"] > 100_000_000
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    google, *ours = result["results"]
    assert (google["records"], google["tokens"]) == (1, 6)
    assert all(row["tokens"] > 10 * 0.05e6 / 3 / 2 for row in ours)  # ten passes; a character has three bytes
    assert not [name for name in os.listdir(tmp_path / "work") if name.startswith("records_")]

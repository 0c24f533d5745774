"""The folder of a run: what it refuses, what it keeps."""

import dataclasses
import json

import pytest

from chemkd_tf.config import DistillationConfig, PretrainingConfig
from chemkd_tf.errors import InputError
from chemkd_tf.workdir import WorkingDirectory, read_json


def config(folder, **changes):
    values = dict(input_file="records", teacher_dir="teacher", output_dir=str(folder), random_seed=17)
    return DistillationConfig(**{**values, **changes})


@pytest.fixture
def begun(tmp_path):
    workdir = WorkingDirectory(str(tmp_path / "run"))
    workdir.begin("distill", config(workdir.path))
    return workdir


def test_the_settings_and_the_run_are_written_at_once(begun):
    settings = read_json(begun.file("config.json"))
    assert settings["stage"] == "distill"
    assert settings["layer_map"] == [1, 3, 5]
    assert set(settings) == {"stage", *(field.name for field in dataclasses.fields(DistillationConfig))}
    run = read_json(begun.file("run.json"))
    assert run["random_seed"] == 17
    assert {"tensorflow", "keras", "keras-nlp", "numpy", "chemkd_tf", "python"} <= set(run["versions"])
    assert isinstance(run["argv"], list)


def test_the_same_settings_go_on(begun):
    begun.begin("distill", config(begun.path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.5}, "--learning_rate=0.002, now it is 0.5"),
        ({"layer_map": (2, 4, 6)}, r"--layer_map=\[1, 3, 5\], now it is \[2, 4, 6\]"),
        ({"random_seed": 18}, "--random_seed=17, now it is 18"),
        ({"train_batch_size": 64}, "--train_batch_size=32, now it is 64"),
        ({"share_projection": True}, "--share_projection=False, now it is True"),
    ],
)
def test_a_changed_setting_is_refused_with_its_flag_and_both_values(begun, changes, message):
    before = read_json(begun.file("config.json"))
    with pytest.raises(InputError, match=f"config.json: this run began with {message}"):
        begun.begin("distill", config(begun.path, **changes))
    assert read_json(begun.file("config.json")) == before


def test_the_folder_of_another_stage_is_refused(begun):
    pretraining = PretrainingConfig(input_file="records", vocab_file="vocab.txt", output_dir=begun.path)
    with pytest.raises(InputError, match="config.json belongs to a run of 'distill': choose another --output_dir"):
        begun.begin("pretrain", pretraining)


@pytest.mark.parametrize(
    "changes", [{"num_replicas": 2}, {"save_checkpoints_steps": 7}, {"log_every_steps": 1}, {"eval_batch_size": 8}]
)
def test_settings_that_do_not_change_what_is_learned_may_change(begun, changes):
    begun.begin("distill", config(begun.path, **changes))


def test_a_folder_that_moved_goes_on(begun, tmp_path):
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    moved = WorkingDirectory(str(tmp_path / "elsewhere"))
    moved.begin("distill", config(moved.path))


def test_a_damaged_config_is_named(begun):
    with open(begun.file("config.json"), "w") as file:
        file.write('{"stage": "dist')
    with pytest.raises(InputError, match="config.json: not JSON"):
        begun.begin("distill", config(begun.path))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"--output_dir={tmp_path}/file/run: can't be created"):
        WorkingDirectory(str(tmp_path / "file" / "run"))


def metrics_lines(workdir):
    with open(workdir.file("metrics.jsonl")) as file:
        return [json.loads(line) for line in file]


def test_metrics_beyond_the_restored_update_are_dropped(begun):
    begun.truncate_metrics(0)  # nothing there yet
    for step in (1, 2, 3, 4):
        begun.append_metrics(step, "train", {"loss": 1 / step})
    with open(begun.file("metrics.jsonl"), "a") as file:
        file.write('{"step": 2, "spl')
    begun.truncate_metrics(2)
    begun.append_metrics(3, "train", {"loss": 0.25})
    expected = [(1, 1.0), (2, 0.5), (3, 0.25)]
    assert [(line["step"], line["loss"]) for line in metrics_lines(begun)] == expected
    begun.truncate_metrics(0)
    assert metrics_lines(begun) == []


def test_a_last_line_without_its_end_does_not_swallow_the_next(begun):
    begun.append_metrics(1, "train", {"loss": 1.0})
    with open(begun.file("metrics.jsonl"), "a") as file:
        file.write('{"step": 2, "split": "train", "loss": 0.5}')
    begun.truncate_metrics(2)
    begun.append_metrics(3, "train", {"loss": 0.25})
    assert [line["step"] for line in metrics_lines(begun)] == [1, 2, 3]

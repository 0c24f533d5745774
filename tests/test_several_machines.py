"""Two processes on loopback, each a worker of TF_CONFIG, against one process with two replicas."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pipeline
import pytest

pytestmark = pytest.mark.slow

LIMIT = 240  # seconds
STEPS = 30


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return pipeline.build(tmp_path_factory)


def free_addresses(count: int) -> list[str]:
    """Addresses whose ports the system has just given out: all held at once, so that no two are the same."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    finally:
        for each in sockets:
            each.close()


def start(script: str, config, addresses: list[str] | None = None, index: int = 0, **environment) -> subprocess.Popen:
    tf_config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    return subprocess.Popen(
        [sys.executable, script, *pipeline.flags_of(config)],
        cwd=pipeline.ROOT,
        env={
            # What importing chemkd_tf set here is for one machine.
            **{name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"},
            "CUDA_VISIBLE_DEVICES": "-1",
            **({"TF_CONFIG": json.dumps(tf_config)} if addresses else {}),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes: subprocess.Popen, status: int = 0) -> list[tuple[str, str]]:
    """(standard output, standard error) of each; none survives a failure."""
    try:
        outputs = [process.communicate(timeout=LIMIT) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, stderr) in zip(processes, outputs, strict=True):
        assert process.returncode == status, "\n\n".join(stderr[-3000:] for _, stderr in outputs)
    return outputs


def stage_of(built, stage: str, output_dir, **changes):
    """Script and settings: dropout, a batch of 5 that two replicas fill up, evaluations, checkpoints."""
    common = dict(
        eval_input_file=built.records, train_batch_size=5, eval_batch_size=8, max_eval_steps=2, num_train_steps=STEPS,
        eval_every_steps=10, save_checkpoints_steps=5, log_every_steps=1,
    )  # fmt: skip
    if stage == "pretraining":
        return "run_pretraining.py", pipeline.pretraining(
            built, output_dir, **{**common, "hidden_dropout_prob": 0.2, **changes}
        )
    return "run_distill.py", pipeline.distillation(built, output_dir, **{**common, **changes})


def require_same_weights(found_dir, expected_dir):
    found, expected = (pipeline.arrays(folder / "model.weights.h5") for folder in (found_dir, expected_dir))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # A bias of the keys changes no attention: its gradient is rounding errors alone, which Adam makes larger.
        without_gradient = "key_dense" in name or "key" in name.split("/")
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-3 if without_gradient else 1e-5, err_msg=name)


def metrics_of(folder) -> list[dict]:
    with open(folder / "metrics.jsonl", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def newest_checkpoint(folder) -> int:
    return max((int(path.stem.split("-")[1]) for path in (folder / "checkpoints").glob("ckpt-*.index")), default=0)


@pytest.fixture(scope="module")
def one_process(built, tmp_path_factory):
    """Folders of what one process with two replicas makes, by stage."""
    folders = {}
    for stage in ("pretraining", "distillation"):
        folders[stage] = tmp_path_factory.mktemp("one") / stage
        finish(start(*stage_of(built, stage, folders[stage], num_replicas=2)))
    return folders


@pytest.mark.parametrize("stage", ["pretraining", "distillation"])
def test_two_workers_make_the_model_of_one_process_with_two_replicas(built, one_process, tmp_path, stage):
    addresses = free_addresses(2)
    # Each has a folder of its own: only the chief's is used.
    folders = [tmp_path / "chief", tmp_path / "other"]
    runs = [start(*stage_of(built, stage, folder), addresses, index) for index, folder in enumerate(folders)]
    (chief, other) = finish(*runs)
    require_same_weights(folders[0], one_process[stage])
    assert not folders[1].exists()
    assert "held out: loss" in chief[0] and other[0] == ""
    found, expected = (metrics_of(folder) for folder in (folders[0], one_process[stage]))
    assert [(line["step"], line["split"]) for line in found] == [(line["step"], line["split"]) for line in expected]
    for one, two in zip(found, expected, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)


def test_a_worker_whose_others_never_come_says_so_in_one_line(built, tmp_path):
    addresses = free_addresses(2)
    alone = start(*stage_of(built, "pretraining", tmp_path / "run"), addresses, CHEMKD_TF_WORKER_WAIT_SECONDS="3")
    ((_, stderr),) = finish(alone, status=2)
    waiting, error = stderr.splitlines()
    assert waiting == f"worker 0 ({addresses[0]}) of 2 workers: waiting for the others, at most 3 s"
    assert error.startswith(f"error: worker 1 ({addresses[1]}) did not come within 3 s: start the same command")
    assert not (tmp_path / "run").exists()


def test_workers_with_different_flags_are_refused_on_both_machines(built, tmp_path):
    addresses = free_addresses(2)
    rates = (1e-3, 2e-3)
    runs = [
        start(*stage_of(built, "pretraining", tmp_path / "run", learning_rate=rate), addresses, index)
        for index, rate in enumerate(rates)
    ]
    (_, chief), (_, other) = finish(*runs, status=2)
    assert chief.splitlines()[1:] == [
        "error: another worker has other settings or records than the chief: see what it says"
    ]
    assert other.splitlines()[1:] == [
        "error: --learning_rate=0.002 here, but the chief has 0.001: give every machine the same command"
    ]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("stage", "killed"), [("pretraining", 1), ("distillation", 0)])
def test_a_worker_that_is_killed_and_started_again_is_waited_for(built, one_process, tmp_path, stage, killed):
    addresses, folder = free_addresses(2), tmp_path / "run"
    script, config = stage_of(built, stage, folder)
    runs = [start(script, config, addresses, index) for index in (0, 1)]
    until = time.monotonic() + LIMIT
    while newest_checkpoint(folder) < 10 and runs[killed].poll() is None and time.monotonic() < until:
        time.sleep(0.001)
    runs[killed].send_signal(signal.SIGKILL)
    runs[killed].communicate()
    assert runs[killed].returncode == -signal.SIGKILL
    assert runs[1 - killed].poll() is None and not (folder / "model.weights.h5").exists()
    runs[killed] = start(script, config, addresses, killed)
    (chief, _) = outputs = finish(*runs)
    assert f"worker {killed} ({addresses[killed]}) can't be reached" in outputs[1 - killed][1]
    assert "resuming" in chief[0]
    require_same_weights(folder, one_process[stage])
    steps = [line["step"] for line in metrics_of(folder) if line["split"] == "train"]
    assert steps == list(range(1, STEPS + 1))

import pytest

from chemkd_tf import progress
from chemkd_tf.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves by hand."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(clock, capsys):
    job = Progress("masking", 1000, "records")
    for done in range(10, 310, 10):
        clock[0] += 1.0
        job.update(done)
    job.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "masking  100/1,000 records  10%  10 records/s  0:01:30 left",
        "masking  200/1,000 records  20%  10 records/s  0:01:20 left",
        "masking  300/1,000 records  30%  10 records/s  0:01:10 left",
    ]


def test_a_resumed_run_counts_only_its_own_steps(clock, capsys):
    job = Progress("training", 1000, initial=900)
    clock[0] += 20.0
    job.update(950, loss=2.34567, phase="joint")
    assert (
        capsys.readouterr().err
        == "training  950/1,000 steps  95%  2.5 steps/s  0:00:20 left  loss=2.346  phase=joint\n"
    )
    job.update(1000)
    job.close()
    assert capsys.readouterr().err == "training  1,000/1,000 steps  100%  5 steps/s  in 0:00:20\n"


def test_a_terminal_line_is_redrawn_in_place(clock, capsys, monkeypatch):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    job = Progress("training", 4)
    for done in (1, 2, 3):
        clock[0] += 0.3
        job.update(done)
    job.close()
    printed = capsys.readouterr().err
    assert printed.count("\r") == 2 and printed.endswith("\n") and printed.count("\n") == 1

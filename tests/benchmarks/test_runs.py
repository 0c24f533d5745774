"""Runs of commands: each starts when what it needs is there, once, and says what became of it."""

import pytest

from benchmarks.runs import Run, last_line, run_all

# Notes the order of the runs, then makes <output_dir>.done, as the last thing that it does.
SCRIPT = """
import sys
output_dir = sys.argv[1].removeprefix("--output_dir=")
with open({order!r}, "a") as file:
    file.write(output_dir[-1])
print("said by", output_dir[-1])
if "--fail" in sys.argv:
    sys.exit(3)
open(output_dir + ".done", "w").close()
"""


@pytest.fixture
def run_named(tmp_path):
    """Makes a run of the script above, given its name and those of the runs that it needs."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(order=str(tmp_path / "order")))

    def make(name, *needs, arguments=""):
        return Run(
            f"{tmp_path}/{name}",
            arguments,
            done=f"{tmp_path}/{name}.done",
            needs=tuple(f"{tmp_path}/{other}.done" for other in needs),
            script=str(script),
        )

    return make


@pytest.mark.parametrize("parallel", [1, 2, 3])
def test_a_run_waits_for_what_it_needs(run_named, tmp_path, capsys, parallel):
    runs = [run_named("d", "b", "c"), run_named("c", "a"), run_named("b", "a"), run_named("a")]
    run_all(runs, last_line, parallel)
    order = (tmp_path / "order").read_text()
    assert order[0] == "a" and order[3] == "d" and set(order) == set("abcd")
    printed = capsys.readouterr().out
    assert f"{tmp_path}/d: said by d   (0 left)" in printed and f"{tmp_path}/a: said by a   (3 left)" in printed


def test_ready_runs_start_in_the_order_given(run_named, tmp_path):
    run_all([run_named("c", "b"), run_named("a"), run_named("b")], last_line, parallel=1)
    assert (tmp_path / "order").read_text() == "abc"


def test_a_failed_run_is_named_with_its_log(run_named, tmp_path):
    with pytest.raises(SystemExit, match=f"{tmp_path}/a failed; its log is {tmp_path}/a.log"):
        run_all([run_named("a", arguments="--fail"), run_named("b", "a")], last_line)
    assert (tmp_path / "order").read_text() == "a"
    assert (tmp_path / "a.log").read_text() == "said by a\n"


def test_a_run_that_needs_what_nobody_makes_is_an_error(run_named):
    with pytest.raises(SystemExit, match="a needs .*nothing.done, which no run makes"):
        run_all([run_named("a", "nothing")], last_line)


def test_what_is_done_is_not_done_again(run_named, tmp_path, capsys):
    (tmp_path / "a.done").write_text("")
    run_all([run_named("a")], last_line)
    assert capsys.readouterr().out == ""

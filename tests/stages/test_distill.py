"""Until convergence: patience and the smallest improvement, and a memory that a checkpoint keeps."""

import json
import math

import pytest
import tiny

from chemkd_tf.stages.distill import has_converged


def updates_until_stop(losses, patience, min_improvement, forget=lambda memory: memory):
    """The first evaluation (from 1) that says it has converged; None if none does."""
    config = tiny.distillation_config(patience=patience, min_improvement=min_improvement)
    memory = {}
    for number, loss in enumerate(losses, start=1):
        if has_converged(config, number, {"loss": loss}, memory):
            return number
        memory = forget(memory)
    return None


SEQUENCES = [
    # (losses, patience, smallest improvement, evaluation that stops)
    ([5, 4, 3, 2, 1], 1, 0.002, None),
    ([5, 5], 1, 0.002, 2),
    ([5, 5, 5], 3, 0.002, None),
    ([5, 5, 5, 5], 3, 0.002, 4),
    ([5, 6, 7, 4, 5, 5, 5], 3, 0.002, 7),  # an improvement begins the count again
    ([5, 6, 7, 8], 3, 0.002, 4),
    ([10, 9.95, 9.9, 9.85, 9.8], 2, 0.01, 3),  # 9.9 is not below 10 * 0.99
    ([10, 9.95, 9.89, 9.8, 9.7], 2, 0.01, None),  # 9.89 is, 9.7 is below 9.89 * 0.99
    ([10, 9.99, 9.98, 9.97], 3, 0.0, None),
    ([10, 10, 10, 10], 3, 0.0, 4),
    ([3, math.nan, math.nan], 2, 0.002, 3),
]


@pytest.mark.parametrize(("losses", "patience", "min_improvement", "stop"), SEQUENCES)
def test_it_stops_after_patience_evaluations_without_enough_improvement(losses, patience, min_improvement, stop):
    assert updates_until_stop(losses, patience, min_improvement) == stop


@pytest.mark.parametrize(("losses", "patience", "min_improvement", "stop"), SEQUENCES)
def test_the_memory_survives_a_checkpoint(losses, patience, min_improvement, stop):
    through_json = updates_until_stop(losses, patience, min_improvement, lambda memory: json.loads(json.dumps(memory)))
    assert through_json == stop


def test_the_message_names_the_update_and_the_best_loss(capsys):
    config = tiny.distillation_config(patience=1)
    memory = {}
    assert not has_converged(config, 500, {"loss": 2.0}, memory)
    assert has_converged(config, 1500, {"loss": 2.5}, memory)
    assert capsys.readouterr().out == "converged after update 1,500: held-out loss 2.5000, best 2.0000\n"

"""What is known of a classifier's training before anything is built, and what it begins with."""

import numpy as np
import pipeline
import pytest
import tiny

from chemkd_tf.models.classifier import TextClassifier
from chemkd_tf.stages import classify
from chemkd_tf.stages.beginnings import is_recurrent


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return pipeline.build(tmp_path_factory)


def run(built, output_dir, **changes):
    with tiny.unoptimised_graphs():
        return classify.run(pipeline.classification(built, output_dir, **changes))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"init_checkpoint": "{classifier}"}, True),
        ({"init_checkpoint": "{teacher}"}, False),
        ({"init_checkpoint": "{folder}"}, False),  # of something else, which is read or refused later
        ({"init_checkpoint": "", "model": "word_bilstm"}, True),
    ],
)
def test_files_say_beforehand_whether_a_bilstm_is_trained(built, tmp_path, changes, expected):
    changes = {name: value.format(**built._asdict()) for name, value in changes.items()}
    assert is_recurrent(pipeline.classification(built, tmp_path, **changes)) == expected


@pytest.mark.parametrize(("kind", "takes"), [("student", 24), ("teacher", 32)])
def test_an_encoder_reads_behind_the_end_of_what_it_was_trained_on(built, tmp_path, capsys, kind, takes):
    behind_the_end = ["的" * (takes + 6) + key for key in "酸水温"]
    checkpoint = getattr(built, kind)
    run(built, tmp_path / "short", init_checkpoint=checkpoint, max_seq_length=takes)
    assert "made to read on" not in capsys.readouterr().out
    run(built, tmp_path / "run", init_checkpoint=checkpoint, max_seq_length=takes + 16)
    said = f"The encoder in {checkpoint} takes {takes} tokens; it is made to read on to {takes + 16} "
    assert said + f"(--max_seq_length={takes} leaves it as it is)." in capsys.readouterr().out
    longer = TextClassifier(str(tmp_path / "run"))
    assert longer.description.max_seq_length == longer.description.architecture.max_sequence_length == takes + 16
    assert np.ptp(longer(behind_the_end), axis=0).max() > 1e-4
    assert np.ptp(TextClassifier(str(tmp_path / "short"))(behind_the_end), axis=0).max() < 1e-6

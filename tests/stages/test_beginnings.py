"""What is known of a classifier's training before anything is built, and what it begins with."""

import numpy as np
import pipeline
import pytest
import tiny

from chemkd_tf.errors import InputError
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


def test_texts_longer_than_a_transformer_takes_are_refused(built, tmp_path):
    with pytest.raises(
        InputError, match=f"--max_seq_length=33: the encoder in {built.teacher} takes at most 32 tokens; only a BiLSTM"
    ):
        run(built, tmp_path / "run", init_checkpoint=built.teacher, max_seq_length=33)


def test_a_student_reads_behind_the_end_of_what_it_was_distilled_on(built, tmp_path, capsys):
    behind_the_end = ["的" * 30 + key for key in "酸水温"]
    run(built, tmp_path / "run", max_seq_length=40)
    assert f"The student in {built.student} was distilled on 24 tokens; it reads on to 40." in capsys.readouterr().out
    longer = TextClassifier(str(tmp_path / "run"))
    assert longer.description.max_seq_length == longer.description.architecture.max_sequence_length == 40
    assert np.ptp(longer(behind_the_end), axis=0).max() > 1e-4
    assert np.ptp(TextClassifier(built.classifier)(behind_the_end), axis=0).max() < 1e-6

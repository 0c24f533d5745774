"""What is known of a classifier's training before anything is built."""

import pipeline
import pytest

from chemkd_tf.stages.beginnings import is_recurrent


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return pipeline.build(tmp_path_factory)


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

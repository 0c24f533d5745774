"""A student with more positions: the same where it could read before, one more row of the table for each new place."""

import numpy as np
import pytest
import tiny

from chemkd_tf.models.checkpoints import Pretrained, build_encoder, with_head
from chemkd_tf.models.longer_student import lengthen

SHORT, LONG = tiny.TOKENS, tiny.TOKENS + 7


def student(**changes) -> Pretrained:
    architecture = tiny.student_architecture(max_sequence_length=SHORT, **changes)
    encoder = build_encoder(architecture)
    masked_lm = tiny.randomise(with_head(encoder, architecture))
    return Pretrained(architecture, True, encoder, masked_lm, "vocab.txt")


@pytest.mark.parametrize("changes", [{}, {"embedding": "token"}, {"embedding_rank": 4, "units_per_direction": 7}])
def test_what_it_could_read_gives_the_same_states(changes):
    short = student(**changes)
    longer = lengthen(short, LONG)
    batch = tiny.batch(tokens=SHORT)
    found, expected = (one.masked_lm(tiny.select(batch, tiny.MASKED_LM_INPUTS)) for one in (longer, short))
    assert found.keys() == expected.keys()
    for name, state in expected.items():
        np.testing.assert_array_equal(found[name], state, err_msg=name)
    assert longer.architecture.max_sequence_length == LONG and short.architecture.max_sequence_length == SHORT
    assert longer._replace(**short._asdict()) == short


def test_new_positions_are_the_mean_of_the_old_ones_and_the_encoder_has_them():
    short = student()
    longer = lengthen(short, LONG)
    table = short.encoder.get_layer("position_embedding").position_embeddings.numpy()
    mean = np.array([[sum(float(value) for value in column) / SHORT for column in table.T]])
    batch = tiny.batch(tokens=LONG)
    weights = {variable.path: variable.numpy() for variable in short.encoder.weights}
    expected = (
        weights["token_embedding/embeddings"][batch["token_ids"]]
        + weights["segment_embedding/embeddings"][batch["segment_ids"]]
        + np.concatenate([table, np.repeat(mean, LONG - SHORT, axis=0)])
    )
    np.testing.assert_allclose(longer.encoder(tiny.select(batch))["embedding"], expected, atol=1e-6)

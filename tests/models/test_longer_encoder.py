"""An encoder with more positions: the same where it could read before, one more row of the table for each new place."""

import numpy as np
import pytest
import tiny

from chemkd_tf.models.checkpoints import Pretrained, build_encoder, with_head
from chemkd_tf.models.families.table import FAMILIES
from chemkd_tf.models.longer_encoder import lengthen

SHORT, LONG = tiny.TOKENS, 2 * tiny.TOKENS + 7


def pretrained(shape) -> Pretrained:
    encoder = build_encoder(shape)
    return Pretrained(shape, True, encoder, tiny.randomise(with_head(encoder, shape)), "vocab.txt")


def student(**changes) -> Pretrained:
    return pretrained(tiny.student_architecture(max_sequence_length=SHORT, **changes))


def transformer(family: str = "bert") -> Pretrained:
    changes = {"num_segments": 0} if family == "distilbert" else {}
    if family in ("albert", "electra"):
        changes["embedding_dim"] = 8
    return pretrained(tiny.teacher_architecture(family=family, max_sequence_length=SHORT, **changes))


SHORT_ENCODERS = {
    "bilstm": student,
    "bilstm of tokens alone": lambda: student(embedding="token"),
    "bilstm of low rank": lambda: student(embedding_rank=4, units_per_direction=7),
    **{family: lambda family=family: transformer(family) for family in FAMILIES},
}


@pytest.mark.parametrize("kind", SHORT_ENCODERS)
def test_what_it_could_read_gives_the_same_states(kind):
    short = SHORT_ENCODERS[kind]()
    longer = lengthen(short, LONG)
    batch = tiny.batch(tokens=SHORT)
    found, expected = (one.masked_lm(tiny.select(batch, tiny.MASKED_LM_INPUTS)) for one in (longer, short))
    assert found.keys() == expected.keys()
    for name, state in expected.items():
        np.testing.assert_array_equal(found[name], state, err_msg=name)
    assert longer.architecture.max_sequence_length == LONG and short.architecture.max_sequence_length == SHORT
    assert longer._replace(**short._asdict()) == short


def test_new_positions_of_a_bilstm_are_the_mean_of_the_old_ones_and_the_encoder_has_them():
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


@pytest.mark.parametrize("family", FAMILIES)
def test_new_positions_of_a_transformer_are_the_old_ones_from_the_start_again(family):
    short = transformer(family)
    longer = lengthen(short, LONG)
    batch = tiny.batch(tokens=LONG)
    embedding = longer.encoder(tiny.select(batch))["embedding"]
    for begin in range(0, LONG, SHORT):
        part = {name: batch[name][:, begin : begin + SHORT] for name in tiny.ENCODER_INPUTS}
        expected = short.encoder(tiny.select(part))["embedding"]
        np.testing.assert_array_equal(embedding[:, begin : begin + SHORT], expected, err_msg=f"from {begin}")

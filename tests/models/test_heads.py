"""What stands on an encoder: the tied masked-LM head, pooling, the classifier."""

import dataclasses
import math

import numpy as np
import pytest
import tiny

from chemkd_tf.config import DistillationConfig
from chemkd_tf.models import checkpoints
from chemkd_tf.models.architecture import StudentArchitecture, TeacherArchitecture
from chemkd_tf.models.heads import POOLING, Pooling, classification_model, classification_states, masked_lm_model

# Without and with the masked-LM head, whose own weights are width * width + width, 2 * width, and a bias per entry.
#
# Teacher: (21,128 tokens + 512 positions + 2 segments) * 768 = 16,621,056; LayerNorm 2 * 768 = 1,536; 6 layers of
# attention 4 * (768 * 768 + 768) = 2,362,368, feed-forward 768 * 3,072 + 3,072 + 3,072 * 768 + 768 = 4,722,432 and two
# LayerNorms 3,072 = 7,087,872 each. Head: 768 * 768 + 768 + 1,536 + 21,128 = 613,256.
# Student: see test_student.py. Head: 200 * 200 + 200 + 400 + 21,128 = 61,728.
GOLDEN_COUNTS = {
    TeacherArchitecture(): (59_149_824, 59_763_080),
    StudentArchitecture(): (4_974_000, 5_035_728),
    StudentArchitecture(embedding="token"): (4_948_000, 5_009_728),
}


def embeddings_of_the_flags():
    (field,) = [field for field in dataclasses.fields(DistillationConfig) if field.name == "student_embedding"]
    return field.metadata["choices"]


def test_every_architecture_has_its_golden_numbers():
    assert {architecture.kind for architecture in GOLDEN_COUNTS} == set(checkpoints._BUILDERS)
    students = [architecture for architecture in GOLDEN_COUNTS if architecture.kind == "student"]
    assert {architecture.embedding for architecture in students} == set(embeddings_of_the_flags())


@pytest.mark.parametrize("architecture", GOLDEN_COUNTS, ids=lambda a: f"{a.kind}-{getattr(a, 'embedding', 'bert')}")
def test_a_model_has_the_golden_number_of_parameters(architecture):
    encoder = checkpoints.build_encoder(architecture)
    assert (encoder.count_params(), masked_lm_model(encoder).count_params()) == GOLDEN_COUNTS[architecture]


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


@pytest.mark.parametrize(
    "architecture", [tiny.teacher_architecture(), tiny.student_architecture()], ids=lambda a: a.kind
)
def test_masked_lm_logits_are_tied_to_the_token_embedding(architecture):
    model = tiny.masked_lm(architecture)
    weights = {variable.path: variable.numpy().astype("float64") for variable in model.weights}
    batch = tiny.batch()
    outputs = model(tiny.select(batch, tiny.MASKED_LM_INPUTS))
    last = outputs["hidden_2"].numpy().astype("float64")
    at_masks = last[np.arange(6)[:, None], batch["mask_positions"]]
    x = gelu(
        at_masks @ weights["masked_lm_head/intermediate_dense/kernel"]
        + weights["masked_lm_head/intermediate_dense/bias"]
    )
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-12)
    x = x * weights["masked_lm_head/intermediate_layer_norm/gamma"]
    x = x + weights["masked_lm_head/intermediate_layer_norm/beta"]
    expected = x @ weights["token_embedding/embeddings"].T + weights["masked_lm_head/output_bias"]
    assert expected.shape == (6, tiny.PREDICTIONS, tiny.VOCABULARY)
    np.testing.assert_allclose(outputs["logits"], expected, rtol=1e-4, atol=2e-4)


def test_the_head_keeps_the_states_and_shares_the_layers_of_the_encoder():
    encoder = checkpoints.build_encoder(tiny.student_architecture())
    model = masked_lm_model(encoder)
    assert list(model.output) == [*encoder.output, "logits"]
    assert {id(variable) for variable in encoder.weights} < {id(variable) for variable in model.weights}
    inputs = tiny.select(tiny.batch(), tiny.MASKED_LM_INPUTS)
    alone = encoder({name: inputs[name] for name in tiny.ENCODER_INPUTS})
    for name, state in model(inputs).items():
        if name != "logits":
            np.testing.assert_array_equal(state, alone[name])


def plain_pooling(how, sequence, lengths):
    half = sequence.shape[-1] // 2
    pooled = []
    for states, length in zip(sequence, lengths, strict=True):
        real = states[:length]
        pooled.append(
            {
                "max": real.max(0),
                "mean": real.mean(0),
                "cls": real[0],
                "last": np.concatenate([real[-1, :half], real[0, half:]]),
            }[how]
        )
    return np.array(pooled)


@pytest.mark.parametrize("how", POOLING)
def test_pooling_sees_real_tokens_only(how):
    batch = tiny.batch()
    lengths = batch["padding_mask"].sum(1)
    assert len(set(lengths)) > 3
    real = batch["padding_mask"][:, :, None] == 1
    rng = np.random.default_rng(0)
    sequence = np.where(real, rng.uniform(-9, -0.5, (6, tiny.TOKENS, 8)), 99.0).astype("float32")
    pooled = Pooling(how)(sequence, batch["padding_mask"])
    np.testing.assert_allclose(pooled, plain_pooling(how, sequence, lengths), rtol=1e-5)


def test_last_pooling_is_where_both_directions_of_a_bilstm_end():
    encoder = checkpoints.build_encoder(tiny.student_architecture(num_layers=1))
    batch = tiny.batch()
    states = encoder(tiny.select(batch))["hidden_1"]
    pooled = Pooling("last")(states, batch["padding_mask"]).numpy()
    for row, length in enumerate(batch["padding_mask"].sum(1)):
        short = {name: batch[name][row : row + 1, :length] for name in tiny.ENCODER_INPUTS}
        alone = encoder(tiny.select(short))["hidden_1"].numpy()[0]
        half = tiny.STUDENT_WIDTH // 2
        np.testing.assert_allclose(pooled[row], np.concatenate([alone[-1, :half], alone[0, half:]]), atol=1e-6)


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="how='first': one of"):
        Pooling("first")


@pytest.mark.parametrize("how", POOLING)
def test_the_classifier_is_linear_in_the_pooled_states_and_blind_to_padding(how):
    encoder = tiny.randomise(checkpoints.build_encoder(tiny.student_architecture()))
    model = tiny.randomise(classification_model(encoder, num_classes=3, pooling=how, dropout=0.5))
    batch = tiny.batch()
    logits = model(tiny.select(batch)).numpy()
    states = encoder(tiny.select(batch))["hidden_2"].numpy()
    kernel, bias = model.get_layer("classifier").get_weights()
    expected = plain_pooling(how, states, batch["padding_mask"].sum(1)) @ kernel + bias
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    np.testing.assert_allclose(model(tiny.select(tiny.pad(batch, tokens=6))), logits, atol=1e-5)


@pytest.mark.parametrize(
    "architecture", [tiny.teacher_architecture(), tiny.student_architecture()], ids=lambda a: a.kind
)
def test_a_classifier_shows_the_states_it_reads(architecture):
    encoder = checkpoints.build_encoder(architecture)
    classifier = tiny.randomise(classification_model(encoder, num_classes=3, pooling="mean", dropout=0.5))
    model = classification_states(classifier)
    assert [id(variable) for variable in model.weights] == [id(variable) for variable in classifier.weights]
    batch = tiny.batch()
    inputs = tiny.select(batch)
    outputs = {name: value.numpy() for name, value in model(inputs).items()}
    assert list(outputs) == ["embedding", "hidden_1", "hidden_2", "representation", "logits"]
    for name, state in encoder(inputs).items():
        np.testing.assert_array_equal(outputs[name], state)
    pooled = plain_pooling("mean", outputs["hidden_2"], batch["padding_mask"].sum(1))
    np.testing.assert_allclose(outputs["representation"], pooled, atol=1e-5)
    np.testing.assert_array_equal(outputs["logits"], classifier(inputs))
    trained = model(inputs, training=True)
    np.testing.assert_allclose(trained["representation"], outputs["representation"], atol=1e-6)  # before dropout
    assert np.abs(trained["logits"] - outputs["logits"]).max() > 1e-3

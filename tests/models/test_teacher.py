"""The teacher: golden size, the layers of a checkpoint kept bit for bit, padding without effect."""

import json
import math

import keras_nlp
import numpy as np
import pytest
import tiny

from chemkd_tf.errors import InputError
from chemkd_tf.models.architecture import TeacherArchitecture
from chemkd_tf.models.families.bert import BERT
from chemkd_tf.models.families.table import FAMILIES
from chemkd_tf.models.importing.load import load_teacher, open_source
from chemkd_tf.models.teacher import build_backbone, build_teacher, name_states

TWELVE_LAYERS = tiny.teacher_architecture(num_layers=12, dropout=0.1)


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """A twelve-layer backbone and the preset folder it was saved to."""
    backbone = tiny.randomise(build_backbone(TWELVE_LAYERS))
    folder = tmp_path_factory.mktemp("preset") / "bert"
    backbone.save_to_preset(str(folder))
    return backbone, str(folder)


@pytest.fixture(scope="module")
def source(preset):
    return open_source(preset[1])


def test_the_kept_layers_of_a_preset_are_bit_identical(preset, source):
    original = {variable.path: variable.numpy() for variable in preset[0].weights}
    architecture, masked_lm = load_teacher(source, (0, 1, 2, 3, 4, 5))
    assert architecture.num_layers == 6
    kept = [variable for variable in masked_lm.weights if not variable.path.startswith("masked_lm_head")]
    assert len(kept) == 5 + 6 * 16  # embeddings and their LayerNorm; a layer's 4 + 2 dense, 2 LayerNorm
    for variable in kept:
        np.testing.assert_array_equal(variable.numpy(), original[variable.path], err_msg=variable.path)


def test_the_states_of_the_kept_layers_are_those_of_the_whole_model(preset, source):
    whole = name_states(preset[0], BERT)
    _, kept = load_teacher(source, (0, 1, 2, 3, 4, 5))
    inputs = tiny.select(tiny.batch(), tiny.MASKED_LM_INPUTS)
    expected, states = whole({name: inputs[name] for name in tiny.ENCODER_INPUTS}), kept(inputs)
    assert list(states) == ["embedding", *(f"hidden_{layer}" for layer in range(1, 7)), "logits"]
    assert list(expected) == ["embedding", *(f"hidden_{layer}" for layer in range(1, 13))]
    for name in list(states)[:-1]:
        np.testing.assert_allclose(states[name], expected[name], atol=1e-6)
    whole_inputs = {name: inputs[name] for name in tiny.ENCODER_INPUTS}
    np.testing.assert_allclose(expected["hidden_12"], preset[0](whole_inputs)["sequence_output"], atol=1e-6)


def test_the_shape_is_read_off_the_preset(source):
    assert source.architecture == TWELVE_LAYERS
    assert not source.has_head and source.vocabulary_file is None


def test_more_layers_than_the_checkpoint_has_are_refused(source):
    with pytest.raises(InputError, match=r"has 12 layers \(0 to 11\), so layer 12 can't be kept"):
        load_teacher(source, tuple(range(13)))


def test_a_preset_of_another_family_is_refused(tmp_path):
    backbone = keras_nlp.models.FNetBackbone(
        vocabulary_size=50, num_layers=1, hidden_dim=8, intermediate_dim=8, max_sequence_length=16, num_segments=2
    )
    backbone.save_to_preset(str(tmp_path / "fnet"))
    with pytest.raises(InputError, match="config.json: holds a FNetBackbone, which can't teach here; one of BertB"):
        open_source(str(tmp_path / "fnet"))


def test_a_folder_without_a_preset_is_refused_by_name(tmp_path):
    (tmp_path / "config.json").write_text('{"class_name": "Bert')
    with pytest.raises(InputError, match="config.json: not JSON"):
        open_source(str(tmp_path))
    (tmp_path / "config.json").write_text("3")
    with pytest.raises(InputError, match="config.json: no JSON object"):
        open_source(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 768}))
    with pytest.raises(InputError, match="config.json: not a keras-nlp preset"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shape_survives_the_way_through_a_backbone(family):
    special = {
        "bert": {},
        "albert": {"embedding_dim": 4, "num_groups": 2, "num_inner_repetitions": 3},
        "electra": {"embedding_dim": 4},
        "distilbert": {"num_segments": 0, "activation": "gelu"},
    }[family]
    wanted = TeacherArchitecture(
        **{"vocabulary_size": 31, "num_layers": 2, "num_heads": 3, "hidden_dim": 12, "intermediate_dim": 7,
           "dropout": 0.25, "max_sequence_length": 9, "num_segments": 4, "family": family, **special}
    )  # fmt: skip
    assert FAMILIES[family].architecture_of(build_backbone(wanted)) == wanted


@pytest.fixture(scope="module")
def teacher():
    return tiny.randomise(build_teacher(tiny.teacher_architecture()))


def test_the_embedding_is_the_normalised_sum_of_token_segment_and_position(teacher):
    weights = {variable.path: variable.numpy().astype("float64") for variable in teacher.weights}
    batch = tiny.batch()
    summed = (
        weights["token_embedding/embeddings"][batch["token_ids"]]
        + weights["segment_embedding/embeddings"][batch["segment_ids"]]
        + weights["position_embedding/embeddings"][None, : tiny.TOKENS]
    )
    centred = summed - summed.mean(-1, keepdims=True)
    normalised = centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + 1e-12)
    expected = normalised * weights["embeddings_layer_norm/gamma"] + weights["embeddings_layer_norm/beta"]
    np.testing.assert_allclose(teacher(tiny.select(batch))["embedding"], expected, atol=1e-4)


def test_more_padding_changes_no_state_at_a_real_token(teacher):
    batch = tiny.batch()
    before, after = teacher(tiny.select(batch)), teacher(tiny.select(tiny.pad(batch, tokens=7)))
    real = batch["padding_mask"] == 1
    for name in before:
        np.testing.assert_allclose(after[name].numpy()[:, : tiny.TOKENS][real], before[name].numpy()[real], atol=1e-5)


@pytest.mark.parametrize("initializer_range", [0.02, 0.05])
def test_fresh_kernels_and_embeddings_have_the_standard_deviation_asked_for(initializer_range):
    architecture = tiny.teacher_architecture(num_layers=2, hidden_dim=64, num_heads=2, intermediate_dim=128)
    teacher = build_teacher(architecture, initializer_range)
    drawn = [v.numpy() for v in teacher.trainable_variables if v.name not in ("bias", "gamma", "beta")]
    spread = np.concatenate([array.ravel() for array in drawn]).std()
    # Keras's truncated normal is cut at two standard deviations, which leaves 0.88 of the spread.
    np.testing.assert_allclose(spread, 0.88 * initializer_range, rtol=0.03)
    for variable in teacher.trainable_variables:
        if variable.name in ("bias", "beta"):
            assert not variable.numpy().any()
        if variable.name == "gamma":
            assert (variable.numpy() == 1).all()


def test_sinusoidal_positions_are_those_of_vaswani_et_al():
    architecture = tiny.teacher_architecture(num_layers=1, hidden_dim=8, num_heads=2, max_sequence_length=16)
    teacher = build_teacher(architecture, 0.05, "sinusoidal")
    positions = teacher.get_layer("position_embedding").position_embeddings.numpy()
    for position in (0, 1, 7, 15):
        for pair in range(4):
            angle = position / 10_000 ** (2 * pair / 8)
            expected = [0.05 * math.sqrt(2) * math.sin(angle), 0.05 * math.sqrt(2) * math.cos(angle)]
            np.testing.assert_allclose(positions[position, 2 * pair : 2 * pair + 2], expected, atol=1e-6)

"""Hugging Face folders: the teacher computes what PyTorch did (tests/fixtures/make_hugging_face.py)."""

import json
import pathlib
import shutil
import struct

import keras_nlp
import numpy as np
import pytest
import safetensors.numpy
import tiny

from chemkd_tf.errors import InputError
from chemkd_tf.models.importing.hugging_face import HuggingFaceFolder
from chemkd_tf.models.importing.load import load_encoder, load_teacher, open_source
from chemkd_tf.training import losses

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures" / "hugging_face"
NAMES = sorted(path.name for path in FIXTURES.iterdir())
WITH_HEAD = [name for name in NAMES if name not in ("bert_encoder", "electra_discriminator")]
BATCHES = ("padded", "unpadded", "without_segments")


def expected_of(name: str, batch: str) -> dict[str, np.ndarray]:
    with np.load(FIXTURES / name / "expected.npz") as stored:
        return {key.removeprefix(batch + "_"): stored[key] for key in stored.files if key.startswith(batch)}


def states_of(masked_lm, values: dict[str, np.ndarray], mask_positions=None) -> dict[str, np.ndarray]:
    inputs = {key: values[key] for key in ("token_ids", "segment_ids", "padding_mask", "mask_positions")}
    if mask_positions is not None:
        inputs["mask_positions"] = mask_positions
    return {key: np.array(value) for key, value in masked_lm(inputs).items()}


@pytest.fixture(scope="module", params=NAMES)
def imported(request):
    return request.param, *load_teacher(open_source(str(FIXTURES / request.param)))


@pytest.mark.parametrize("batch", BATCHES)
def test_every_hidden_state_is_that_of_pytorch(imported, batch):
    name, architecture, masked_lm = imported
    expected = expected_of(name, batch)
    found = states_of(masked_lm, expected)
    real = expected["padding_mask"] == 1
    assert architecture.num_layers == 4
    repetitions = architecture.num_inner_repetitions  # PyTorch counts the parts of a layer, the teacher the layers
    assert f"hidden_{4 * repetitions}" in expected and f"hidden_{4 * repetitions + 1}" not in expected
    for layer in range(5):
        state = found["embedding" if layer == 0 else f"hidden_{layer}"]
        wanted = expected[f"hidden_{layer * repetitions}"]
        np.testing.assert_allclose(state[real], wanted[real], atol=1e-4, err_msg=f"layer {layer}")


@pytest.mark.parametrize("name", WITH_HEAD)
@pytest.mark.parametrize("batch", BATCHES)
def test_masked_lm_logits_and_loss_are_those_of_pytorch(name, batch):
    _, masked_lm = load_teacher(open_source(str(FIXTURES / name)))
    expected = expected_of(name, batch)
    everywhere = np.tile(np.arange(expected["token_ids"].shape[1], dtype="int32"), (len(expected["token_ids"]), 1))
    logits = states_of(masked_lm, expected, everywhere)["logits"]
    real = expected["padding_mask"] == 1
    np.testing.assert_allclose(logits[real], expected["logits"][real], atol=1e-3)
    masked = states_of(masked_lm, expected)["logits"]
    sums, weights = losses.cross_entropy(expected["mask_ids"], masked, np.ones(masked.shape[:2], "float32"))
    assert abs(float(np.sum(sums) / np.sum(weights)) - float(expected["loss"])) < 1e-3


def test_a_folder_with_a_pooler_gives_what_keras_nlps_own_converter_gives():
    folder = str(FIXTURES / "bert_pretraining")
    theirs = keras_nlp.models.BertBackbone.from_preset(folder)
    _, masked_lm = load_teacher(open_source(folder))
    ours = {variable.path: variable.numpy() for variable in masked_lm.weights}
    compared = 0
    for variable in theirs.weights:
        if not variable.path.startswith("pooled_dense"):
            np.testing.assert_array_equal(ours[variable.path], variable.numpy(), err_msg=variable.path)
            compared += 1
    assert compared == 5 + 4 * 16


@pytest.mark.parametrize("name", ["bert", "electra", "distilbert"])
@pytest.mark.parametrize("keep", [(0, 1), (0, 2), (3,)])
def test_kept_layers_are_bit_identical(name, keep):
    source = open_source(str(FIXTURES / name))
    _, whole = load_teacher(source)
    architecture, cut = load_teacher(source, keep)
    assert architecture.num_layers == len(keep)
    original = {variable.path: variable.numpy() for variable in whole.weights}
    for variable in cut.weights:
        head, slash, rest = variable.path.partition("/")
        if head.startswith("transformer_layer_"):
            head = f"transformer_layer_{keep[int(head.rsplit('_', 1)[1])]}"
        np.testing.assert_array_equal(variable.numpy(), original[head + slash + rest], err_msg=variable.path)


def test_a_cut_albert_calls_its_layer_less_often():
    expected = expected_of("albert", "padded")
    _, cut = load_teacher(open_source(str(FIXTURES / "albert")), (0, 1))
    found = states_of(cut, expected)
    assert "hidden_3" not in found
    real = expected["padding_mask"] == 1
    np.testing.assert_allclose(found["hidden_2"][real], expected["hidden_2"][real], atol=1e-4)


def test_a_part_of_an_albert_with_groups_is_refused():
    with pytest.raises(InputError, match="share weights in 2 groups; only all 4 can be kept: --keep_layers=0-3"):
        load_teacher(open_source(str(FIXTURES / "albert_groups")), (0, 1))


def test_layers_that_are_not_there_are_refused():
    with pytest.raises(InputError, match=r"has 4 layers \(0 to 3\), so layer 4 can't be kept"):
        load_teacher(open_source(str(FIXTURES / "bert")), (0, 4))


@pytest.mark.parametrize("name", ["bert", "distilbert"])
def test_an_imported_encoder_ends_before_the_head(name):
    encoder = load_encoder(str(FIXTURES / name), "teacher_dir")
    assert set(encoder.encoder.output) == {"embedding", *(f"hidden_{layer}" for layer in range(1, 5))}
    assert encoder.do_lower_case is True
    assert encoder.vocabulary_file == str(FIXTURES / name / "vocab.txt")
    fresh = load_encoder(str(FIXTURES / name), "teacher_dir", random_init=True)
    path = encoder.encoder.weights[0].path
    assert fresh.encoder.weights[0].path == path
    assert np.abs(fresh.encoder.weights[0].numpy() - encoder.encoder.weights[0].numpy()).max() > 1e-3


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(FIXTURES / "bert", tmp_path / "bert")
    return tmp_path / "bert"


def tensors_of(folder) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(folder / "model.safetensors")


def write(folder, tensors) -> None:
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")


def change_config(folder, **values) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def reason(folder) -> str:
    with pytest.raises(InputError) as caught:
        load_teacher(open_source(str(folder)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_older_names_of_layer_norm_are_read(folder):
    before = load_teacher(open_source(str(folder)))[1].get_weights()
    tensors = tensors_of(folder)
    write(folder, {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"):
                   value for name, value in tensors.items()})  # fmt: skip
    for old, new in zip(before, load_teacher(open_source(str(folder)))[1].get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_model_in_several_files_is_read(folder):
    before = load_teacher(open_source(str(folder)))[1].get_weights()
    tensors = tensors_of(folder)
    files = {name: f"model-{1 + index % 2:05}-of-00002.safetensors" for index, name in enumerate(sorted(tensors))}
    for file in set(files.values()):
        part = {name: tensors[name] for name in tensors if files[name] == file}
        safetensors.numpy.save_file(part, folder / file)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    for old, new in zip(before, load_teacher(open_source(str(folder)))[1].get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors: no such file" in reason(folder)


def test_half_precision_is_read_as_it_is(folder):
    tensors = {name: value.astype("float16") for name, value in tensors_of(folder).items()}
    write(folder, tensors)
    _, masked_lm = load_teacher(open_source(str(folder)))
    found = {variable.path: variable.numpy() for variable in masked_lm.weights}
    expected = tensors["bert.embeddings.word_embeddings.weight"].astype("float32")
    np.testing.assert_array_equal(found["token_embedding/embeddings"], expected)


def test_bfloat16_is_read_as_it_is(folder):
    """The file is written byte by byte: a bfloat16 is the upper half of a float32."""
    name, header, body = "bert.embeddings.position_embeddings.weight", {}, b""
    tensors = tensors_of(folder)
    for key, value in tensors.items():
        data = value.astype("<f4").tobytes()
        if key == name:
            data = np.ascontiguousarray(value.astype("<f4").view("<u2").reshape(-1, 2)[:, 1]).tobytes()
        kind = "BF16" if key == name else "F32"
        header[key] = {"dtype": kind, "shape": value.shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
    _, masked_lm = load_teacher(open_source(str(folder)))
    found = {variable.path: variable.numpy() for variable in masked_lm.weights}["position_embedding/embeddings"]
    expected = (tensors[name].view("<u4") & 0xFFFF0000).view("<f4")
    np.testing.assert_array_equal(found, expected)


def test_a_missing_tensor_is_named(folder):
    tensors = tensors_of(folder)
    del tensors["bert.encoder.layer.2.output.dense.weight"]
    write(folder, tensors)
    assert reason(folder).endswith("lacks bert.encoder.layer.2.output.dense.weight")


def test_half_a_head_is_refused(folder):
    tensors = tensors_of(folder)
    del tensors["cls.predictions.transform.LayerNorm.weight"]
    write(folder, tensors)
    assert reason(folder).endswith("lacks cls.predictions.transform.LayerNorm.weight")


def test_tensors_nobody_asked_for_are_named(folder):
    tensors = tensors_of(folder)
    more = {f"bert.adapter.{number}.weight": np.zeros(3, "float32") for number in range(5)}
    write(folder, {**tensors, **more})
    names = ", ".join(f"bert.adapter.{number}.weight" for number in range(3))
    assert reason(folder).endswith(f"also holds {names} and 2 more")


def test_a_wrong_shape_is_named(folder):
    tensors = tensors_of(folder)
    name = "bert.encoder.layer.0.intermediate.dense.weight"
    write(folder, {**tensors, name: tensors[name].T.copy()})
    assert f"{name} is [16, 24], but by {folder}/config.json it must be [24, 16]" in reason(folder)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_named(folder, kept):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert f"{path}: can't be read" in reason(folder)
    assert "cut short" in reason(folder)


def test_a_vocabulary_of_another_size_is_refused(folder):
    with open(folder / "vocab.txt", "a", encoding="utf-8") as file:
        file.write("苯\n")
    assert f"{folder}/vocab.txt: 41 entries, but {folder}/config.json says 40" in reason(folder)


def test_a_pickle_is_refused_with_the_way_to_convert_it(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "a pickle, which can run any code when it is loaded, is not read" in reason(folder)
    assert f"M.from_pretrained('{folder}').save_pretrained('{folder}')" in reason(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"model_type": "roberta"}, "model_type 'roberta' can't teach here"),
     ({"hidden_act": "silu"}, "the activation 'silu' is not known here"),
     ({"position_embedding_type": "relative_key"}, "only absolute positions are known here")],
)  # fmt: skip
def test_what_another_model_needs_is_refused(folder, values, message):
    change_config(folder, **values)
    assert message in reason(folder)


def test_a_config_without_a_size_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    del config["hidden_size"]
    (folder / "config.json").write_text(json.dumps(config))
    assert 'no "hidden_size"; expected what transformers' in reason(folder)


@pytest.mark.parametrize(("settings", "expected"), [({}, None), ({"do_lower_case": False}, False)])
def test_the_tokenisers_settings_are_read(folder, settings, expected):
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert HuggingFaceFolder(str(folder)).do_lower_case is expected
    (folder / "tokenizer_config.json").unlink()
    (folder / "tokenizer.json").write_text(json.dumps({"normalizer": {"lowercase": False}}))
    assert HuggingFaceFolder(str(folder)).do_lower_case is False


def test_an_embedding_that_is_stored_twice_is_tied(folder):
    tensors = tensors_of(folder)
    twice = tensors["bert.embeddings.word_embeddings.weight"].copy()
    write(folder, {**tensors, "cls.predictions.decoder.weight": twice})
    change_config(folder, tie_word_embeddings=False)
    assert open_source(str(folder)).architecture.tied_decoder
    write(folder, {**tensors, "cls.predictions.decoder.weight": twice + 1})
    assert not open_source(str(folder)).architecture.tied_decoder
    change_config(folder, tie_word_embeddings=True)
    assert open_source(str(folder)).architecture.tied_decoder


def test_students_of_the_states_contract_find_every_family_alike():
    """Teachers take the same inputs, DistilBERT (which has no segments) included."""
    batch = tiny.batch()
    for name in ("bert", "albert", "electra", "distilbert"):
        encoder = load_encoder(str(FIXTURES / name), "teacher_dir").encoder
        values = tiny.select({**batch, "token_ids": batch["token_ids"] % 40})
        assert encoder(values)["hidden_4"].shape == (*batch["token_ids"].shape, 16)

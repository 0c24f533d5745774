"""A checkpoint with google-research/bert's own variable names, written by tf.compat.v1."""

import json
import pathlib

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from chemkd_tf.errors import InputError
from chemkd_tf.models.importing.load import load_teacher, open_source

FIXTURE = pathlib.Path(__file__).parents[2] / "fixtures" / "hugging_face" / "bert_pretraining"
CONFIG = {
    "attention_probs_dropout_prob": 0.1, "directionality": "bidi", "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
    "hidden_size": 16, "initializer_range": 0.02, "intermediate_size": 24, "max_position_embeddings": 16,
    "num_attention_heads": 2, "num_hidden_layers": 4, "pooler_fc_size": 768, "type_vocab_size": 2, "vocab_size": 40,
}  # fmt: skip
# google-research/bert's name to Hugging Face's, and whether it is a kernel [in, out] that PyTorch keeps as [out, in].
EMBEDDINGS = {
    "bert/embeddings/word_embeddings": ("bert.embeddings.word_embeddings.weight", False),
    "bert/embeddings/position_embeddings": ("bert.embeddings.position_embeddings.weight", False),
    "bert/embeddings/token_type_embeddings": ("bert.embeddings.token_type_embeddings.weight", False),
    "bert/embeddings/LayerNorm/gamma": ("bert.embeddings.LayerNorm.weight", False),
    "bert/embeddings/LayerNorm/beta": ("bert.embeddings.LayerNorm.bias", False),
}
LAYER = {
    "attention/self/query/kernel": ("attention.self.query.weight", True),
    "attention/self/query/bias": ("attention.self.query.bias", False),
    "attention/self/key/kernel": ("attention.self.key.weight", True),
    "attention/self/key/bias": ("attention.self.key.bias", False),
    "attention/self/value/kernel": ("attention.self.value.weight", True),
    "attention/self/value/bias": ("attention.self.value.bias", False),
    "attention/output/dense/kernel": ("attention.output.dense.weight", True),
    "attention/output/dense/bias": ("attention.output.dense.bias", False),
    "attention/output/LayerNorm/gamma": ("attention.output.LayerNorm.weight", False),
    "attention/output/LayerNorm/beta": ("attention.output.LayerNorm.bias", False),
    "intermediate/dense/kernel": ("intermediate.dense.weight", True),
    "intermediate/dense/bias": ("intermediate.dense.bias", False),
    "output/dense/kernel": ("output.dense.weight", True),
    "output/dense/bias": ("output.dense.bias", False),
    "output/LayerNorm/gamma": ("output.LayerNorm.weight", False),
    "output/LayerNorm/beta": ("output.LayerNorm.bias", False),
}
HEAD = {
    "bert/pooler/dense/kernel": ("bert.pooler.dense.weight", True),
    "bert/pooler/dense/bias": ("bert.pooler.dense.bias", False),
    "cls/predictions/transform/dense/kernel": ("cls.predictions.transform.dense.weight", True),
    "cls/predictions/transform/dense/bias": ("cls.predictions.transform.dense.bias", False),
    "cls/predictions/transform/LayerNorm/gamma": ("cls.predictions.transform.LayerNorm.weight", False),
    "cls/predictions/transform/LayerNorm/beta": ("cls.predictions.transform.LayerNorm.bias", False),
    "cls/predictions/output_bias": ("cls.predictions.bias", False),
    "cls/seq_relationship/output_weights": ("cls.seq_relationship.weight", False),
    "cls/seq_relationship/output_bias": ("cls.seq_relationship.bias", False),
}


def variables(**changes) -> dict[str, np.ndarray]:
    """The tensors of the fixture as google-research/bert would have saved them; `changes` replaces or (None) drops."""
    names = {**EMBEDDINGS, **HEAD}
    for layer in range(4):
        names.update({f"bert/encoder/layer_{layer}/{ours}": (f"bert.encoder.layer.{layer}.{theirs}", kernel)
                      for ours, (theirs, kernel) in LAYER.items()})  # fmt: skip
    tensors = safetensors.numpy.load_file(FIXTURE / "model.safetensors")
    values = {name: tensors[theirs].T if kernel else tensors[theirs] for name, (theirs, kernel) in names.items()}
    values["global_step"] = np.int64(1_000_000)
    values["bert/embeddings/word_embeddings/adam_m"] = values["bert/embeddings/word_embeddings"] * 0
    values["bert/embeddings/word_embeddings/adam_v"] = values["bert/embeddings/word_embeddings"] * 0
    return {name: value for name, value in {**values, **changes}.items() if value is not None}


def write(folder, values, config=CONFIG) -> str:
    """Writes the checkpoint; returns its prefix."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        made = [tf.compat.v1.get_variable(name, initializer=value) for name, value in values.items()]
        session.run(tf.compat.v1.global_variables_initializer())
        prefix = tf.compat.v1.train.Saver(made).save(
            session, str(folder / "bert_model.ckpt"), write_meta_graph=False, write_state=False
        )
    (folder / "bert_config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_bytes((FIXTURE / "vocab.txt").read_bytes())
    return prefix


def weights_of(given) -> dict[str, np.ndarray]:
    return {variable.path: variable.numpy() for variable in load_teacher(open_source(str(given)))[1].weights}


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    return write(tmp_path_factory.mktemp("google"), variables())


@pytest.mark.parametrize("by", ["prefix", "folder"])
def test_every_variable_goes_where_hugging_faces_conversion_puts_it(prefix, by):
    given = prefix if by == "prefix" else str(pathlib.Path(prefix).parent)
    found, expected = weights_of(given), weights_of(FIXTURE)
    assert found.keys() == expected.keys() and len(found) == 5 + 4 * 16 + 5
    for path, value in expected.items():
        np.testing.assert_array_equal(found[path], value, err_msg=path)


def test_the_shape_is_that_of_bert_config_and_gelu_is_googles(prefix):
    source = open_source(prefix)
    assert source.vocabulary_file == str(pathlib.Path(prefix).parent / "vocab.txt")
    assert source.do_lower_case is None
    shape = source.architecture
    assert (shape.num_layers, shape.hidden_dim, shape.num_heads, shape.intermediate_dim) == (4, 16, 2, 24)
    assert (shape.vocabulary_size, shape.max_sequence_length, shape.num_segments, shape.dropout) == (40, 16, 2, 0.1)
    assert shape.activation == shape.head_activation == "gelu_tanh" and shape.tied_decoder


def test_the_first_layers_are_kept_bit_for_bit(prefix):
    _, cut = load_teacher(open_source(prefix), (0, 1))
    whole = weights_of(prefix)
    assert len(cut.weights) == 5 + 2 * 16 + 5
    for variable in cut.weights:
        np.testing.assert_array_equal(variable.numpy(), whole[variable.path], err_msg=variable.path)


def reason(folder, values, config=CONFIG) -> str:
    with pytest.raises(InputError) as caught:
        load_teacher(open_source(write(folder, values, config)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_variables_on_either_side_that_have_no_partner_are_listed(tmp_path):
    values = variables(
        **{
            "bert/encoder/layer_3/output/dense/kernel": None,
            "bert/encoder/layer_2/attention/self/query/bias": None,
            "bert/encoder/layer_4/output/dense/kernel": np.zeros((24, 16), "float32"),
        }
    )
    message = reason(tmp_path, values)
    assert "lacks bert/encoder/layer_2/attention/self/query/bias, bert/encoder/layer_3/output/dense/kernel" in message
    assert "also holds bert/encoder/layer_4/output/dense/kernel" in message


def test_a_wrong_shape_is_named(tmp_path):
    name = "bert/encoder/layer_1/attention/self/key/kernel"
    message = reason(tmp_path, variables(**{name: np.zeros((16, 8), "float32")}))
    assert f"{name} is [16, 8], but by {tmp_path}/bert_config.json it must be [16, 16]" in message


def test_a_config_of_another_size_is_refused(tmp_path):
    assert "word_embeddings is [40, 16], but by" in reason(tmp_path, variables(), {**CONFIG, "hidden_size": 20})


def test_a_vocabulary_of_another_size_is_refused(tmp_path):
    assert "vocab.txt: 40 entries, but" in reason(tmp_path, variables(), {**CONFIG, "vocab_size": 41})


@pytest.mark.parametrize("config", [{"hidden_size": 16}, [], {**CONFIG, "hidden_act": "swish"}])
def test_another_bert_config_is_refused(tmp_path, config):
    assert "bert_config.json" in reason(tmp_path, variables(), config)


def test_damaged_files_are_named(tmp_path):
    prefix = write(tmp_path, variables())
    data = next(tmp_path.glob("*.data-*"))
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(InputError, match=r"bert_model.ckpt: .*can't be read.*copy its files again"):
        load_teacher(open_source(prefix))
    index = next(tmp_path.glob("*.index"))
    index.write_bytes(index.read_bytes()[:50])
    with pytest.raises(InputError, match=r"bert_model.ckpt: can't be read"):
        load_teacher(open_source(prefix))


def test_a_folder_with_two_checkpoints_is_refused(tmp_path):
    prefix = write(tmp_path, variables())
    for path in list(tmp_path.glob("bert_model.ckpt*")):
        path.with_name(path.name.replace("bert_model", "another")).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="2 TensorFlow checkpoints"):
        open_source(str(tmp_path))
    assert weights_of(prefix)

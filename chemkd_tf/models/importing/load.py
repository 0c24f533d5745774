"""From a checkpoint of any kind to a teacher: told apart by looking, verified variable by variable."""

import dataclasses
import os
import re

import keras

from chemkd_tf.errors import InputError
from chemkd_tf.models import states
from chemkd_tf.models.architecture import TeacherArchitecture
from chemkd_tf.models.checkpoints import (
    ARCHITECTURE_FILE,
    Pretrained,
    build_encoder,
    build_masked_lm,
    load_pretrained,
    with_head,
)
from chemkd_tf.models.importing.hugging_face import HuggingFaceFolder
from chemkd_tf.models.importing.keras_model import KerasModelSource, is_preset_name, open_preset
from chemkd_tf.models.importing.source import Source
from chemkd_tf.models.importing.tf1_checkpoint import Tf1Checkpoint
from chemkd_tf.text.vocabulary import load_vocabulary
from chemkd_tf.workdir import read_json

_HEAD = "masked_lm_head/"
_LAYER = re.compile(r"^transformer_layer_(\d+)/")
# A vocabulary is a cased one if more than this share of its entries with Latin letters has a capital one.
_CASED_SHARE = 0.05


def open_source(given: str, flag: str = "init_checkpoint") -> Source:
    """Returns the checkpoint that `given` names, whoever wrote it.

    Args:
        given: an earlier run's working directory, a folder of Hugging Face transformers, a keras-nlp preset (folder,
            name or address), or google-research/bert's checkpoint (its prefix or its folder).
        flag: name of the flag that gave it, for messages.

    Raises:
        InputError: there is none, or it can't be read.
    """
    if os.path.isfile(os.path.join(given, ARCHITECTURE_FILE)):
        return _working_directory(given, flag)
    config_file = os.path.join(given, "config.json")
    if os.path.isfile(config_file):
        config = read_json(config_file)
        if not isinstance(config, dict):
            raise InputError(f"{config_file}: no JSON object; expected a model's settings")
        if "stage" in config:
            raise InputError(
                f"--{flag}={given}: no {ARCHITECTURE_FILE} there; the run of '{config['stage']}' that it belongs to "
                "has not finished: give its command again"
            )
        return HuggingFaceFolder(given) if "model_type" in config else open_preset(given)
    if os.path.isfile(given + ".index") or os.path.isfile(os.path.join(given, "bert_config.json")):
        return Tf1Checkpoint(given)
    if is_preset_name(given):
        return open_preset(given)
    raise InputError(
        f"--{flag}={given}: no checkpoint there; name an earlier --output_dir ({ARCHITECTURE_FILE}), a folder of "
        "Hugging Face transformers or a keras-nlp preset (config.json), Google's bert_model.ckpt with bert_config.json "
        "beside it, or one of keras-nlp's preset names, such as bert_base_zh"
    )


def load_encoder(given: str, flag: str, random_init: bool = False) -> Pretrained:
    """Loads the encoder that a stage begins with: an earlier run's, or any checkpoint that can teach, uncut.

    Args:
        given: see `open_source`; a student's working directory as well.
        flag: name of the flag that gave it, for messages.
        random_init: build the same shape with fresh weights instead of loading them.

    Raises:
        InputError: it can't be read, or no vocabulary lies beside it.
    """
    if os.path.isfile(os.path.join(given, ARCHITECTURE_FILE)):
        return load_pretrained(given, flag, random_init)
    source = open_source(given, flag)
    if source.vocabulary_file is None:
        raise InputError(
            f"--{flag}={given}: no vocabulary (vocab.txt) beside the checkpoint; put it there, or import the "
            "checkpoint with run_pretraining.py --init_checkpoint --vocab_file --do_train=false"
        )
    do_lower_case = source.do_lower_case
    if do_lower_case is None:
        do_lower_case = cased_entry(source.vocabulary_file) is None
    if random_init:
        architecture = source.architecture
        encoder = build_encoder(architecture)
        masked_lm = with_head(encoder, architecture)
    else:
        architecture, masked_lm = load_teacher(source)
        encoder = encoder_of(masked_lm)
    return Pretrained(architecture, do_lower_case, encoder, masked_lm, source.vocabulary_file)


def require_masked_lm_head(given: str, flag: str) -> None:
    """Refuses a checkpoint whose masked-LM head `load_encoder` would have to make up.

    Args:
        given: see `load_encoder`.
        flag: name of the flag that gave it, for messages.

    Raises:
        InputError: it has none, or it can't be read.
    """
    if not os.path.isfile(os.path.join(given, ARCHITECTURE_FILE)) and not open_source(given, flag).has_head:
        raise InputError(
            f"--{flag}={given}: no masked-LM head in this checkpoint, so it can't propose words; name one that has it, "
            "or train it with run_pretraining.py --init_checkpoint"
        )


def encoder_of(masked_lm: keras.Model) -> keras.Model:
    """Returns the same layers without the masked-LM head."""
    inputs = {name: masked_lm.input[name] for name in states.ENCODER_INPUTS}
    outputs = {name: state for name, state in masked_lm.output.items() if name != states.LOGITS}
    return keras.Model(inputs, outputs, name="teacher")


def load_teacher(source: Source, keep_layers: tuple[int, ...] = ()) -> tuple[TeacherArchitecture, keras.Model]:
    """Builds the teacher of `source`, cut to some of its layers; what is kept is bit-identical.

    Args:
        source: see `open_source`.
        keep_layers: numbers of the layers to keep, from 0, ascending; empty: all.

    Returns:
        Its architecture and its masked-LM model; the head is fresh where the checkpoint has none.

    Raises:
        InputError: it lacks layers or variables, holds unknown ones, or some of another shape.
    """
    keep = keep_layers or tuple(range(source.architecture.num_layers))
    architecture = _cut(source, keep)
    masked_lm = build_masked_lm(architecture)
    missing = []
    for variable in masked_lm.weights:
        if variable.path.startswith(_HEAD) and not source.has_head:
            continue
        path = _LAYER.sub(lambda match: f"transformer_layer_{keep[int(match[1])]}/", variable.path)
        value = source.read(path, tuple(variable.shape))
        if value is None:
            missing.append(source.original_name(path))
        else:
            variable.assign(value)
    left_over = source.left_over(_all_paths(masked_lm, source.architecture.num_layers))
    if missing or left_over:
        raise InputError(
            f"{source.name}: not a whole masked language model of this family: "
            + "; ".join(
                f"{what} {_some(names)}" for what, names in (("lacks", missing), ("also holds", left_over)) if names
            )
        )
    return architecture, masked_lm


def require_casing(source: Source, vocabulary_file: str, do_lower_case: bool) -> None:
    """Refuses --do_lower_case where the checkpoint was trained on text with capital letters, and the reverse.

    Raises:
        InputError: its tokeniser's settings, or its vocabulary, say otherwise.
    """
    says = source.do_lower_case
    because = f"{source.name} has a tokeniser with do_lower_case {str(says).lower()}"
    if says is None and do_lower_case and (entry := cased_entry(vocabulary_file)):
        says, because = False, f"{vocabulary_file} is a cased vocabulary (it has {entry!r})"
    if says is not None and says != do_lower_case:
        raise InputError(
            f"--do_lower_case={str(do_lower_case).lower()}: {because}; give --do_lower_case={str(says).lower()}, to "
            "create_pretraining_data.py too"
        )


def cased_entry(vocabulary_file: str) -> str | None:
    """Returns an entry with a capital letter if the vocabulary is a cased one, else None."""
    tokens = load_vocabulary(vocabulary_file).tokens
    latin = [token for token in tokens if re.search("[A-Za-z]", token) and not token.startswith("[")]
    cased = [token for token in latin if re.search("[A-Z]", token)]
    return cased[0] if len(cased) > _CASED_SHARE * len(latin) else None


def _cut(source: Source, keep: tuple[int, ...]) -> TeacherArchitecture:
    whole = source.architecture
    if max(keep) >= whole.num_layers:
        raise InputError(
            f"{source.name}: has {whole.num_layers} layers (0 to {whole.num_layers - 1}), so layer {max(keep)} can't "
            "be kept; see --num_layers and --keep_layers"
        )
    if whole.num_groups > 1 and len(keep) != whole.num_layers:
        raise InputError(
            f"{source.name}: its layers share weights in {whole.num_groups} groups; only all {whole.num_layers} can be "
            f"kept: --keep_layers=0-{whole.num_layers - 1}"
        )
    return dataclasses.replace(whole, num_layers=len(keep))


def _all_paths(masked_lm: keras.Model, num_layers: int) -> set[str]:
    """Paths of the uncut model's variables."""
    paths = {variable.path for variable in masked_lm.weights}
    first = [path for path in paths if path.startswith("transformer_layer_0/")]
    return paths | {_LAYER.sub(f"transformer_layer_{layer}/", path) for path in first for layer in range(num_layers)}


def _working_directory(given: str, flag: str) -> Source:
    earlier = load_pretrained(given, flag)
    if earlier.architecture.kind != "teacher":
        raise InputError(f"--{flag}={given}: holds a {earlier.architecture.kind}, not a teacher")
    weights = {variable.path: variable for variable in earlier.masked_lm.weights}
    return KerasModelSource(given, earlier.architecture, weights, earlier.vocabulary_file, earlier.do_lower_case)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"

"""What a pretraining begins with: an imported checkpoint, cut and with its vocabulary, or fresh weights."""

import dataclasses

import keras

from chemkd_tf.config import PretrainingConfig
from chemkd_tf.errors import InputError
from chemkd_tf.models.architecture import TeacherArchitecture
from chemkd_tf.models.checkpoints import with_head
from chemkd_tf.models.importing.extended import with_vocabulary
from chemkd_tf.models.importing.load import load_teacher, require_casing
from chemkd_tf.models.importing.source import Source
from chemkd_tf.models.importing.tf1_checkpoint import architecture_of_bert_config
from chemkd_tf.models.teacher import build_teacher
from chemkd_tf.text.vocabulary import Vocabulary, load_vocabulary
from chemkd_tf.text.vocabulary_extension import new_ids


def vocabulary_file(config: PretrainingConfig, source: Source | None) -> str:
    """Returns the path of the teacher's vocabulary: --vocab_file, or the one beside the checkpoint.

    Raises:
        InputError: there is neither.
    """
    if config.vocab_file:
        return config.vocab_file
    if source is None or source.vocabulary_file is None:
        raise InputError(
            f"--vocab_file is empty, and no vocabulary lies beside --init_checkpoint={config.init_checkpoint}: name "
            "the one that belongs to it"
        )
    return source.vocabulary_file


def initial_teacher(
    config: PretrainingConfig, source: Source | None, vocabulary: Vocabulary, vocab_file: str, longest: int
) -> tuple[TeacherArchitecture, keras.Model]:
    """Returns architecture and masked-LM model: an imported checkpoint's, cut to the kept layers, or fresh ones.

    Args:
        config: says which layers to keep, or the shape of a fresh teacher.
        source: the checkpoint; None: fresh weights.
        vocabulary: the one to train with, read from `vocab_file`.
        vocab_file: see `vocabulary_file`.
        longest: tokens of the longest row of the records.

    Raises:
        InputError: the checkpoint, the vocabulary and the records don't fit each other.
    """
    if source:
        require_casing(source, vocab_file, config.do_lower_case)
        name = f"--init_checkpoint={config.init_checkpoint}"
        whole, source = source, with_vocabulary(source, vocab_file)
        architecture, masked_lm = load_teacher(source, config.kept_layers())
        print(_what_was_imported(whole, architecture, vocabulary, source is not whole), flush=True)
    else:
        architecture = _requested_shape(config, vocabulary)
        name = f"--bert_config_file={config.bert_config_file}" if config.bert_config_file else "the shape flags"
        _require_size(name, architecture.vocabulary_size, vocabulary, vocab_file)
        encoder = build_teacher(architecture, config.initializer_range, config.position_initializer)
        masked_lm = with_head(encoder, architecture)
    if architecture.max_sequence_length < longest:
        raise InputError(
            f"{name}: at most {architecture.max_sequence_length} positions, but the records have "
            f"{longest} tokens: make them again, --max_seq_length={architecture.max_sequence_length}"
        )
    return architecture, masked_lm


def _require_size(name: str, vocabulary_size: int, vocabulary: Vocabulary, vocab_file: str) -> None:
    if vocabulary_size != vocabulary.size:
        raise InputError(
            f"{name}: a vocabulary of {vocabulary_size:,} entries, but {vocab_file} has {vocabulary.size:,}: give the "
            "vocabulary that belongs to it"
        )


def _what_was_imported(source: Source, architecture: TeacherArchitecture, vocabulary: Vocabulary, new: bool) -> str:
    entries = f"{architecture.vocabulary_size:,} entries"
    if new:
        added = len(new_ids(load_vocabulary(source.vocabulary_file), vocabulary))
        entries += f", {added:,} of them new: each begins as the mean of its old pieces"
    return (
        f"{source.name}: {architecture.family} of {source.architecture.num_layers} layers, {architecture.num_layers} "
        f"kept, width {architecture.hidden_dim}, {entries}; masked-LM head "
        + ("imported" if source.has_head else "fresh: the checkpoint has none")
    )


def _requested_shape(config: PretrainingConfig, vocabulary: Vocabulary) -> TeacherArchitecture:
    """The shape of --bert_config_file, or of the flags; --num_layers cuts either."""
    if not config.bert_config_file:
        return TeacherArchitecture(
            vocabulary_size=vocabulary.size,
            num_layers=config.num_layers,
            num_heads=config.num_attention_heads,
            hidden_dim=config.hidden_size,
            intermediate_dim=config.intermediate_size,
            dropout=config.hidden_dropout_prob,
            max_sequence_length=config.max_position_embeddings,
        )
    whole = architecture_of_bert_config(config.bert_config_file)
    return dataclasses.replace(whole, num_layers=min(config.num_layers, whole.num_layers))

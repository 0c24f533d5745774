"""Stage 1: the BERT teacher, trained as a masked language model only (paper section 3.2, loss L_t)."""

import json
import os

import tensorflow as tf

from chemkd_tf.config import PretrainingConfig
from chemkd_tf.data import datasets
from chemkd_tf.data.manifest import Manifest, read_manifest
from chemkd_tf.errors import InputError
from chemkd_tf.models import states
from chemkd_tf.models.architecture import TeacherArchitecture
from chemkd_tf.models.checkpoints import (
    ARCHITECTURE_FILE,
    WEIGHTS_FILE,
    load_pretrained,
    load_weights,
    save_pretrained,
)
from chemkd_tf.models.heads import masked_lm_model
from chemkd_tf.models.teacher import architecture_of, build_teacher, keep_first_layers, load_preset, name_states
from chemkd_tf.text.vocabulary import Vocabulary, load_vocabulary
from chemkd_tf.training import chief, losses
from chemkd_tf.training.evaluation import Evaluator
from chemkd_tf.training.loop import Schedule, train
from chemkd_tf.training.replica_exact import ReplicaExactModel, Terms
from chemkd_tf.training.strategy import make_strategy, set_seed_and_precision
from chemkd_tf.workdir import read_json

_MODEL_INPUTS = (*states.ENCODER_INPUTS, states.MASK_POSITIONS)


class MaskedLanguageModel(ReplicaExactModel):
    """An encoder with its masked-LM head under the loss L_t: cross-entropy of the masked tokens.

    Args:
        masked_lm: see `heads.masked_lm_model`.
        random_seed: of the dropout.
    """

    def __init__(self, masked_lm, random_seed: int):
        super().__init__(loss_weights={"masked_lm_loss": 1.0}, random_seed=random_seed, name="pretraining")
        self.masked_lm = masked_lm

    def compute_terms(self, batch: dict[str, tf.Tensor], training: bool) -> Terms:
        """Losses `masked_lm_loss`; statistics: how many masked tokens were right."""
        logits = self.masked_lm(states.select(batch, _MODEL_INPUTS), training=training)[states.LOGITS]
        weights = batch["mask_weights"] * batch["example_weight"][:, None]
        right = tf.cast(tf.argmax(logits, -1, output_type=tf.int32) == batch["mask_ids"], tf.float32)
        return Terms(
            {"masked_lm_loss": losses.cross_entropy(batch["mask_ids"], logits, weights)},
            {"right": tf.reduce_sum(right * weights), "masked": tf.reduce_sum(weights)},
        )

    def summarise(self, statistics: dict) -> dict:
        """Share of the masked tokens that were predicted."""
        return {"masked_lm_accuracy": statistics["right"] / tf.maximum(statistics["masked"], 1e-9)}


def train_and_evaluate(config: PretrainingConfig) -> dict[str, float]:
    """Trains the teacher and writes its working directory.

    Returns:
        Held-out loss, accuracy and perplexity; empty without --eval_input_file.

    Raises:
        InputError: bad input (see the messages).
    """
    vocabulary = load_vocabulary(config.vocab_file)
    manifest = read_manifest(config.input_file)
    require_vocabulary(manifest, vocabulary, "--input_file", config.vocab_file)
    held_out = read_manifest(config.eval_input_file) if config.eval_input_file else None
    if held_out:
        require_vocabulary(held_out, vocabulary, "--eval_input_file", config.vocab_file)
    strategy = make_strategy(config.num_replicas)
    set_seed_and_precision(config.random_seed, config.mixed_bfloat16)
    with strategy.scope():
        longest = max(records.format.max_seq_length for records in (manifest, held_out) if records)
        architecture, masked_lm = _teacher(config, vocabulary, longest)
        model = MaskedLanguageModel(masked_lm, config.random_seed)
        model.compile_for(config, config.num_train_steps, config.num_warmup_steps)

    workdir = chief.working_directory(strategy, "pretrain", config, manifest, held_out)
    evaluator = held_out and Evaluator(
        model, strategy, held_out_batches(held_out, config, strategy), config.max_eval_steps
    )
    if config.do_train:
        train(
            "pretraining",
            model,
            strategy,
            lambda first: training_batches(manifest, config, strategy, first),
            config.train_batch_size,
            Schedule(
                config.num_train_steps, config.eval_every_steps, config.save_checkpoints_steps, config.log_every_steps
            ),
            workdir,
            evaluator,
        )
        chief.from_chief(
            strategy,
            lambda: save_pretrained(workdir.path, architecture, config.do_lower_case, masked_lm, config.vocab_file),
        )
    if not (config.do_eval and evaluator):
        return {}
    if not config.do_train:
        chief.from_chief(strategy, lambda: load_weights(masked_lm, workdir.file(WEIGHTS_FILE)))
        chief.variables_from_chief(strategy, masked_lm.weights)
    metrics = evaluator.latest or evaluator()  # a training that took place ended with one
    metrics = {**metrics, "perplexity": float(tf.exp(metrics["masked_lm_loss"]))}
    print("held out: " + "  ".join(f"{name} {value:.4f}" for name, value in metrics.items()), flush=True)
    return metrics


def training_batches(manifest: Manifest, config, strategy: tf.distribute.Strategy, first: int) -> tf.data.Dataset:
    """Global batches of `manifest` from number `first`; also the distillation's."""
    return datasets.pretraining_batches(
        manifest,
        config.train_batch_size,
        config.random_seed,
        first,
        strategy.num_replicas_in_sync,
        config.group_by_length,
    )


def held_out_batches(manifest: Manifest, config, strategy: tf.distribute.Strategy) -> tf.data.Dataset:
    """The records of `manifest`, once; also the distillation's."""
    return datasets.held_out_batches(manifest, config.eval_batch_size, strategy.num_replicas_in_sync)


def require_vocabulary(manifest: Manifest, vocabulary: Vocabulary, flag: str, vocab_file: str) -> None:
    """Refuses records that were made with another vocabulary than the model's."""
    made_with = manifest.format.vocabulary_sha256
    if made_with != vocabulary.sha256:
        raise InputError(
            f"{flag}: {manifest.shards[0]} was made with another vocabulary than {vocab_file} "
            f"(sha256 {made_with[:12]}, here {vocabulary.sha256[:12]}): make the records again with it"
        )


def _teacher(config: PretrainingConfig, vocabulary: Vocabulary, longest: int):
    """Architecture and masked-LM model: an earlier run's, a preset cut to its first layers, or fresh weights."""
    if os.path.isfile(os.path.join(config.init_checkpoint, ARCHITECTURE_FILE)):
        earlier = load_pretrained(config.init_checkpoint, "init_checkpoint")
        architecture, masked_lm = earlier.architecture, earlier.masked_lm
        if architecture.kind != "teacher" or architecture.num_layers != config.num_layers:
            raise InputError(
                f"--init_checkpoint={config.init_checkpoint}: holds a {architecture.kind} of {architecture.num_layers} "
                f"layers; expected a teacher of --num_layers={config.num_layers}"
            )
        source = f"--init_checkpoint={config.init_checkpoint}"
    elif config.init_checkpoint:
        backbone = keep_first_layers(load_preset(config.init_checkpoint), config.num_layers)
        architecture, masked_lm = architecture_of(backbone), masked_lm_model(name_states(backbone))
        source = f"--init_checkpoint={config.init_checkpoint}"
    else:
        architecture = _requested_shape(config, vocabulary)
        encoder = build_teacher(architecture, config.initializer_range, config.position_initializer)
        masked_lm = masked_lm_model(encoder)
        source = f"--bert_config_file={config.bert_config_file}" if config.bert_config_file else "the shape flags"
    if architecture.vocabulary_size != vocabulary.size:
        raise InputError(
            f"{source}: a vocabulary of {architecture.vocabulary_size:,} entries, but {config.vocab_file} has "
            f"{vocabulary.size:,}: give the vocabulary that belongs to it"
        )
    if architecture.max_sequence_length < longest:
        raise InputError(
            f"{source}: at most {architecture.max_sequence_length} positions, but the records have "
            f"{longest} tokens: make them again, --max_seq_length={architecture.max_sequence_length}"
        )
    return architecture, masked_lm


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
    values = read_json(config.bert_config_file)
    try:
        return TeacherArchitecture(
            vocabulary_size=values["vocab_size"],
            num_layers=min(config.num_layers, values["num_hidden_layers"]),
            num_heads=values["num_attention_heads"],
            hidden_dim=values["hidden_size"],
            intermediate_dim=values["intermediate_size"],
            dropout=values["hidden_dropout_prob"],
            max_sequence_length=values["max_position_embeddings"],
            num_segments=values["type_vocab_size"],
        )
    except KeyError as error:
        raise InputError(
            f"{config.bert_config_file}: no {json.dumps(error.args[0])}; expected Google's bert_config.json"
        ) from None

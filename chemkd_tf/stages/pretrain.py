"""Stage 1: the BERT teacher, trained as a masked language model only (paper section 3.2, loss L_t)."""

import os

import tensorflow as tf

from chemkd_tf.config import PretrainingConfig
from chemkd_tf.data import datasets
from chemkd_tf.data.manifest import Manifest, read_manifest
from chemkd_tf.errors import InputError
from chemkd_tf.export.hugging_face import export_hugging_face
from chemkd_tf.export.keras_preset import export_keras_preset
from chemkd_tf.models import states
from chemkd_tf.models.checkpoints import WEIGHTS_FILE, load_weights, save_pretrained
from chemkd_tf.models.importing.load import open_source
from chemkd_tf.stages.best import save_best
from chemkd_tf.stages.initial_teacher import initial_teacher, vocabulary_file
from chemkd_tf.text.vocabulary import Vocabulary, load_vocabulary
from chemkd_tf.training import chief, losses
from chemkd_tf.training.evaluation import Evaluator
from chemkd_tf.training.loop import Schedule, train
from chemkd_tf.training.replica_exact import ReplicaExactModel, Terms
from chemkd_tf.training.strategy import make_strategy, set_seed_and_precision

_EXPORTS = {"hugging_face": export_hugging_face, "keras_nlp": export_keras_preset}
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
        weights = _position_weights(batch)
        right = tf.cast(tf.argmax(logits, -1, output_type=tf.int32) == batch["mask_ids"], tf.float32)
        return Terms(
            {"masked_lm_loss": losses.cross_entropy(batch["mask_ids"], logits, weights)},
            {"right": tf.reduce_sum(right * weights), "masked": tf.reduce_sum(weights)},
        )

    def compute_weights(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Masked tokens of each example."""
        return {"masked_lm_loss": tf.reduce_sum(_position_weights(batch), axis=1)}

    def summarise(self, statistics: dict) -> dict:
        """Share of the masked tokens that were predicted."""
        return {"masked_lm_accuracy": statistics["right"] / tf.maximum(statistics["masked"], 1e-9)}


def _position_weights(batch: dict[str, tf.Tensor]) -> tf.Tensor:
    return batch["mask_weights"] * batch["example_weight"][:, None]


def train_and_evaluate(config: PretrainingConfig) -> dict[str, float]:
    """Trains the teacher and writes its working directory.

    Returns:
        Held-out loss, accuracy and perplexity; empty without --eval_input_file.

    Raises:
        InputError: bad input (see the messages).
    """
    strategy = make_strategy(config.num_replicas)
    set_seed_and_precision(config.random_seed, config.mixed_bfloat16)
    source = open_source(config.init_checkpoint) if config.init_checkpoint else None
    vocab_file = vocabulary_file(config, source)
    vocabulary = load_vocabulary(vocab_file)
    manifest = read_manifest(config.input_file) if config.input_file else None
    held_out = read_manifest(config.eval_input_file) if config.eval_input_file else None
    for flag, records in (("--input_file", manifest), ("--eval_input_file", held_out)):
        if records:
            require_vocabulary(records, vocabulary, flag, vocab_file)
    with strategy.scope():
        longest = max((records.format.max_seq_length for records in (manifest, held_out) if records), default=0)
        architecture, masked_lm = initial_teacher(config, source, vocabulary, vocab_file, longest)
        del source  # and with it a second copy of all weights
        model = MaskedLanguageModel(masked_lm, config.random_seed)
        model.compile_for(config, config.num_train_steps, config.num_warmup_steps, config.use_xla)

    workdir = chief.working_directory(strategy, "pretrain", config, manifest, held_out)
    evaluator = held_out and Evaluator(
        model, strategy, held_out_batches(held_out, config, strategy), config.max_eval_steps
    )
    result = architecture, config.do_lower_case, masked_lm, vocab_file
    if config.do_train:
        length_multiple = datasets.COMPILED_LENGTH_MULTIPLE if config.use_xla else 1
        train(
            "pretraining",
            model,
            strategy,
            lambda first: training_batches(manifest, config, strategy, first, length_multiple),
            Schedule(
                config.num_train_steps, config.eval_every_steps, config.save_checkpoints_steps, config.log_every_steps
            ),
            workdir,
            evaluator,
            keep_best=lambda directory: save_best(directory, *result),
        )
    elif not config.init_checkpoint or os.path.exists(workdir.file(WEIGHTS_FILE)):
        chief.from_chief(strategy, lambda: load_weights(masked_lm, workdir.file(WEIGHTS_FILE)))
        chief.variables_from_chief(strategy, masked_lm.weights)
    chief.from_chief(strategy, lambda: _write(config, workdir, *result))
    if not (config.do_eval and evaluator):
        return {}
    metrics = evaluator.latest or evaluator()  # a training that took place ended with one
    metrics = {**metrics, "perplexity": float(tf.exp(metrics["masked_lm_loss"]))}
    print("held out: " + "  ".join(f"{name} {value:.4f}" for name, value in metrics.items()), flush=True)
    return metrics


def _write(config, workdir, architecture, do_lower_case, masked_lm, vocab_file) -> None:
    """The teacher, as the next stage reads it and, with --export_format, as others do."""
    save_pretrained(workdir.path, architecture, do_lower_case, masked_lm, vocab_file)
    if config.export_format:
        folder = config.export_dir or workdir.file(config.export_format)
        print(f"exporting to {folder}", flush=True)
        _EXPORTS[config.export_format](architecture, masked_lm, vocab_file, do_lower_case, folder)


def training_batches(
    manifest: Manifest, config, strategy: tf.distribute.Strategy, first: int, length_multiple: int = 1
) -> tf.data.Dataset:
    """Global batches of `manifest` from number `first`; also the distillation's. `length_multiple`: `trim_padding`."""
    if 0 < config.train_batch_tokens < manifest.format.max_seq_length:
        raise InputError(
            f"--train_batch_tokens={config.train_batch_tokens}: a row of the records has up to "
            f"{manifest.format.max_seq_length} tokens: at least one must fit"
        )
    return datasets.pretraining_batches(
        manifest,
        config.train_batch_size,
        config.random_seed,
        first,
        strategy.num_replicas_in_sync * config.gradient_accumulation_steps,
        config.group_by_length,
        length_multiple,
        config.train_batch_tokens,
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

"""Stage 3: the encoder's output sequence feeds a downstream network trained on labels (paper sections 3.4 and 4.3)."""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from chemkd_tf import startup
from chemkd_tf.atomic import write_json
from chemkd_tf.config import ClassificationConfig
from chemkd_tf.data import datasets, labelled
from chemkd_tf.data.augmentation import Augmentation
from chemkd_tf.errors import InputError
from chemkd_tf.export.formats import load_predictor, require_packages
from chemkd_tf.models import states
from chemkd_tf.models.checkpoints import load_weights, save_weights
from chemkd_tf.models.classifier import WEIGHTS_FILE, TextClassifier, read_description
from chemkd_tf.stages.beginnings import MODELS, is_recurrent
from chemkd_tf.stages.evaluate import evaluate
from chemkd_tf.stages.export import export
from chemkd_tf.stages.predict import predict
from chemkd_tf.stages.shrink import print_cost, shrink
from chemkd_tf.stages.task_distillation import ask_beforehand, make_task_distiller
from chemkd_tf.text.tokenization import Tokenizer
from chemkd_tf.training.adversarial import AdversarialClassification
from chemkd_tf.training.classification import Classification
from chemkd_tf.training.classification_metrics import classification_report, confusion_matrix
from chemkd_tf.training.cluster import require_one_machine
from chemkd_tf.training.loop import Schedule, train
from chemkd_tf.training.strategy import make_strategy, set_seed_and_precision
from chemkd_tf.workdir import DATA_FILE, WorkingDirectory

# Peak learning rates where --learning_rate is 0: a BiLSTM takes larger steps than a transformer.
_DEFAULT_LEARNING_RATE = {"student": 1e-3, "teacher": 1e-4}


def run(config: ClassificationConfig) -> dict[str, dict]:
    """Trains or shrinks, evaluates, predicts and exports, as asked for.

    Returns:
        Reports by split (`dev`, `test`), where --do_eval was given.

    Raises:
        InputError: bad input (see the messages).
    """
    if config.do_export:
        require_packages(config.formats)
    if config.do_train:
        require_one_machine("run_classifier.py")
        _train(config)
    if config.do_shrink:
        shrink(config)
    uses_trained = config.do_eval or config.do_export or not config.predict_with
    if uses_trained:
        read_description(config.output_dir)  # refuses a folder without a classifier before anything is made there
    predictor = load_predictor(config.predict_with) if config.do_predict and config.predict_with else None
    workdir = WorkingDirectory(config.output_dir)
    # What evaluates, predicts and is exported computes in float32, whatever it was trained in.
    keras.mixed_precision.set_global_policy("float32")
    startup.run_first_operation_quietly()
    classifier = TextClassifier(workdir.path) if uses_trained else None
    reports = evaluate(config.data_dir, classifier, workdir) if config.do_eval else {}
    if config.do_shrink and "dev" in reports:
        print_cost(config, reports["dev"])
    if config.do_predict:
        model = config.predict_with or workdir.file(WEIGHTS_FILE)
        predict(config, predictor or classifier, model, workdir.file("predictions.tsv"))
    if config.do_export:
        export(config, classifier, workdir.path)
    return reports


def encode(texts: list[str], tokenizer: Tokenizer, max_seq_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Token ids int32 `[N, max_seq_length]`, and the number of real tokens int32 `[N]`."""
    token_ids, lengths = [], []
    for start in range(0, len(texts), 1024):
        batch = tokenizer.encode(tf.constant(texts[start : start + 1024]), max_seq_length, pad_to_max=True)
        token_ids.append(batch["token_ids"].numpy())
        lengths.append(batch["padding_mask"].numpy().sum(axis=1))
    return np.concatenate(token_ids), np.concatenate(lengths)


def _train(config: ClassificationConfig) -> None:
    """Trains and keeps the weights that were best on dev."""
    splits = {split: _read_split(config, split) for split in ("train", "dev")}
    labels = sorted(set(splits["train"].labels))
    if len(labels) < 2:
        raise InputError(f"{splits['train'].path}: only one label ({labels[0]}); a classifier needs two or more")
    label_ids = {split: labelled.label_ids(texts, labels) for split, texts in splits.items()}
    if config.do_eval and labelled.find_split(config.data_dir, "test"):
        labelled.label_ids(_read_split(config, "test"), labels)  # refuses an unseen label now, not after the training

    steps_per_epoch = math.ceil(len(label_ids["train"]) / config.train_batch_size)
    num_train_steps = math.ceil(config.num_train_epochs * len(label_ids["train"]) / config.train_batch_size)
    strategy = make_strategy(config.num_replicas, is_recurrent(config) and not config.teacher_dir)
    set_seed_and_precision(config.random_seed, config.mixed_bfloat16)
    with strategy.scope():
        parts = MODELS[config.model](config, labels, splits["train"].texts)
        description, vocabulary, network, _ = parts
        learning_rate = config.learning_rate or _DEFAULT_LEARNING_RATE[description.architecture.kind]
        config = dataclasses.replace(
            config,
            learning_rate=learning_rate,
            pooling=description.pooling,
            max_seq_length=description.max_seq_length,
        )
        if config.teacher_dir:
            model = make_task_distiller(config, network, description, vocabulary, num_train_steps)
        else:
            model = _make_model(config, network)
            model.compile_for(config, num_train_steps, int(config.warmup_proportion * num_train_steps))

    workdir = WorkingDirectory(config.output_dir)
    workdir.begin("classify", config)
    parts.save_description(workdir.path)
    write_json(workdir.file(DATA_FILE), {split: labelled.describe(texts) for split, texts in splits.items()})
    tokenizer = parts.make_tokenizer()
    augmentation = Augmentation.of(
        vocabulary, config.token_mask_prob, config.sentence_drop_prob, config.shuffle_sentences
    )
    examples = {
        split: datasets.EncodedTexts(
            *encode(texts.texts, tokenizer, config.max_seq_length), np.array(label_ids[split], np.int32)
        )
        for split, texts in splits.items()
    }
    num_full = int((examples["train"].lengths == config.max_seq_length).sum())
    if num_full:
        print(
            f"{num_full / len(label_ids['train']):.1%} of the training texts reach --max_seq_length="
            f"{config.max_seq_length} tokens; what follows there is not read",
            flush=True,
        )
    unlabelled = None
    if config.teacher_dir:
        examples["train"], unlabelled = ask_beforehand(
            config,
            model,
            examples["train"],
            augmentation,
            lambda texts: encode(texts, tokenizer, config.max_seq_length),
            num_train_steps,
            workdir,
        )
    parts = strategy.num_replicas_in_sync * config.gradient_accumulation_steps
    # One device evaluates: with more, filled rows would stand between the batches, not only behind the last.
    examples["dev"] = datasets.sorted_by_length(examples["dev"])
    dev = datasets.labelled_examples(examples["dev"], config.eval_batch_size, num_replicas=1)
    predict = tf.function(lambda batch: network(batch, training=False), reduce_retracing=True, autograph=False)

    def evaluate() -> dict[str, float]:
        logits = np.concatenate([predict(states.select(batch, states.ENCODER_INPUTS)).numpy() for batch in dev])
        return _summary(logits[: len(label_ids["dev"])], examples["dev"].label_ids, labels)

    def keep_best(step: int, metrics: dict, memory: dict) -> bool:
        if metrics[config.metric_for_best] > memory.get("best", -1.0):
            memory.update(best=metrics[config.metric_for_best], best_step=step)
            save_weights(network, workdir.file(WEIGHTS_FILE))
        return False

    train(
        "classifying",
        model,
        strategy,
        lambda first: datasets.labelled_batches(
            examples["train"],
            config.train_batch_size,
            config.random_seed,
            num_train_steps,
            first,
            parts,
            augmentation,
            unlabelled,
            config.unlabelled_batch_size,
            config.group_by_length,
        ),
        Schedule(
            num_train_steps,
            config.eval_every_epochs * steps_per_epoch,
            config.save_checkpoints_steps,
            config.log_every_steps,
        ),
        workdir,
        evaluate,
        keep_best,
    )
    load_weights(network, workdir.file(WEIGHTS_FILE))


def _make_model(config: ClassificationConfig, network: keras.Model) -> Classification:
    if config.adversarial_epsilon:
        return AdversarialClassification(network, config.random_seed, config.adversarial_epsilon)
    return Classification(network, config.random_seed)


def _summary(logits: np.ndarray, label_ids: np.ndarray, labels: list[str]) -> dict[str, float]:
    """Loss, accuracy and macro-F1 of a split."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    report = classification_report(confusion_matrix(label_ids, logits.argmax(axis=1), len(labels)), labels)
    return {
        "loss": float(-log_probabilities[np.arange(len(label_ids)), label_ids].mean()),
        "accuracy": report["accuracy"],
        "macro_f1": report["macro_f1"],
    }


def _read_split(config: ClassificationConfig, split: str) -> labelled.LabelledTexts:
    path = labelled.find_split(config.data_dir, split)
    if path is None:
        raise InputError(f"--data_dir={config.data_dir}: no {split}.tsv, {split}.csv or {split}.jsonl in it")
    return labelled.read_labelled(path)

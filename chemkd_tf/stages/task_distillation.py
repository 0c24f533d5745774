"""What stage 3 does where a fine-tuned teacher is given: it is learnt from beside the labels (paper section 4.3.1)."""

import hashlib
import os
from collections.abc import Callable

import keras
import numpy as np

from chemkd_tf.config import ClassificationConfig
from chemkd_tf.data import datasets
from chemkd_tf.data.augmentation import Augmentation
from chemkd_tf.data.unlabelled import sample_articles
from chemkd_tf.distillation import batches
from chemkd_tf.distillation.distiller import Distiller
from chemkd_tf.distillation.recipes import Setting
from chemkd_tf.distillation.teacher_cache import TeacherCache
from chemkd_tf.errors import InputError
from chemkd_tf.models import states
from chemkd_tf.models.checkpoints import VOCABULARY_FILE, load_weights
from chemkd_tf.models.classifier import DESCRIPTION_FILE, WEIGHTS_FILE, ClassifierDescription, read_description
from chemkd_tf.models.heads import classification_states
from chemkd_tf.stages.teaching import make_distiller
from chemkd_tf.text.vocabulary import Vocabulary, load_vocabulary
from chemkd_tf.workdir import WorkingDirectory


def make_task_distiller(
    config: ClassificationConfig,
    network: keras.Model,
    description: ClassifierDescription,
    vocabulary: Vocabulary,
    num_train_steps: int,
) -> Distiller:
    """Returns the compiled distiller of --method, with the teacher of --teacher_dir.

    Args:
        config: with a teacher.
        network: the student, see `heads.classification_model`.
        description: of the student.
        vocabulary: of the student.
        num_train_steps: updates of all phases together.

    Raises:
        InputError: the teacher has other labels, another vocabulary, or takes only shorter texts; or --method doesn't
            fit both.
    """
    taught = _read_teacher(config, description, vocabulary)
    setting = Setting(config, taught.architecture, description.architecture, is_task=True)
    teacher = taught.build()
    load_weights(teacher, os.path.join(config.teacher_dir, WEIGHTS_FILE))
    return make_distiller(
        setting,
        classification_states(teacher),
        classification_states(network),
        batches.task(teach_unlabelled_only=bool(config.unlabelled_file)),
        num_train_steps,
        int(config.warmup_proportion * num_train_steps),
    )


def ask_beforehand(
    config: ClassificationConfig,
    distiller: Distiller,
    labelled: datasets.EncodedTexts,
    augmentation: Augmentation,
    tokenize: Callable[[list[str]], tuple[np.ndarray, np.ndarray]],
    num_train_steps: int,
    workdir: WorkingDirectory,
) -> tuple[datasets.EncodedTexts, datasets.EncodedTexts | None]:
    """Returns labelled and unlabelled texts, what the teacher says of them with those that it is learnt from on.

    Args:
        config: with a teacher.
        distiller: see `make_task_distiller`.
        labelled: the training texts.
        augmentation: of the training texts, which then can't be asked about beforehand.
        tokenize: list of strings to (token ids, lengths).
        num_train_steps: updates in all.
        workdir: where the teacher's states are kept, unless --teacher_cache_dir says otherwise.

    Raises:
        InputError: they would take more than --teacher_cache_gb; or --unlabelled_file can't be read.
    """
    unlabelled = None
    if config.unlabelled_file:
        most = num_train_steps * config.unlabelled_batch_size
        # A corpus may be larger than memory: as many articles are drawn as the run can use.
        articles = sample_articles(
            config.unlabelled_file, min(most, config.max_unlabelled_texts or most), config.random_seed
        )
        unlabelled = datasets.EncodedTexts(*tokenize(articles), np.zeros(len(articles), np.int32))
    if not config.teacher_cache_gb or (unlabelled is None and augmentation):
        return labelled, unlabelled
    if unlabelled is None:
        return _asked(config, distiller, labelled, workdir), None
    return labelled, _asked(config, distiller, datasets.sorted_by_length(unlabelled), workdir)


def _asked(
    config: ClassificationConfig, distiller: Distiller, texts: datasets.EncodedTexts, workdir: WorkingDirectory
) -> datasets.EncodedTexts:
    """The texts with what the teacher says of them; a resumed run finds it in its folder."""
    cache = TeacherCache(distiller.teacher, distiller.teacher_states, *texts.token_ids.shape)
    cache.require_space(config.teacher_cache_gb)
    digest = hashlib.sha256(texts.token_ids.tobytes())
    with open(os.path.join(config.teacher_dir, WEIGHTS_FILE), "rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    inputs = datasets.labelled_examples(texts, config.eval_batch_size, num_replicas=1)
    directory = config.teacher_cache_dir or workdir.file("taught")
    found = cache.fill(directory, inputs, digest.hexdigest())
    return texts._replace(taught={states.taught(name): array for name, array in found.items()})


def _read_teacher(
    config: ClassificationConfig, description: ClassifierDescription, vocabulary: Vocabulary
) -> ClassifierDescription:
    if not os.path.isfile(os.path.join(config.teacher_dir, DESCRIPTION_FILE)):
        raise InputError(
            f"--teacher_dir={config.teacher_dir}: no {DESCRIPTION_FILE} there; name the --output_dir of the "
            "run_classifier.py that fine-tuned the teacher"
        )
    taught = read_description(config.teacher_dir)
    if taught.labels != description.labels:
        raise InputError(
            f"--teacher_dir={config.teacher_dir}: its labels are {', '.join(taught.labels)}, those of --data_dir are "
            f"{', '.join(description.labels)}: fine-tune the teacher on the same labels"
        )
    taught_vocabulary = load_vocabulary(f"{config.teacher_dir}/{VOCABULARY_FILE}")
    if vocabulary.sha256 != taught_vocabulary.sha256 or taught.do_lower_case != description.do_lower_case:
        raise InputError(
            f"--teacher_dir={config.teacher_dir}: another vocabulary than that of --init_checkpoint="
            f"{config.init_checkpoint}: student and teacher must read the same ids"
        )
    if config.max_seq_length > taught.architecture.max_sequence_length:
        raise InputError(
            f"--max_seq_length={config.max_seq_length}: the teacher in {config.teacher_dir} takes at most "
            f"{taught.architecture.max_sequence_length} tokens; fine-tune it with this --max_seq_length, or give the "
            "student a smaller one"
        )
    return taught

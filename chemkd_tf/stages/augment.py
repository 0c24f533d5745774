"""Variants of labelled texts, for those who have few: TinyBERT's data augmentation at the level of Chinese words.

Jiao et al. 2020, arXiv:1909.10351, Algorithm 1, with the random swap and deletion of EDA (Wei and Zou 2019,
arXiv:1901.11196). What is another way here than there, and why: docs/augmentation.md.

    OUT.work/plan.json        what is being made; a run with other flags is refused
    OUT.work/000003.json      the variants of the fourth few texts, complete
    OUT                       written last; then OUT.work goes
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence

import numpy as np

from chemkd_tf import __version__, startup
from chemkd_tf.atomic import write_json
from chemkd_tf.config import AugmentationConfig
from chemkd_tf.data.labelled import LabelledTexts, read_labelled
from chemkd_tf.data.labelled_output import corpus_writer, labelled_writer, require_writable
from chemkd_tf.data.word_variants import SegmentedText, Variants, VariantSettings, make_variants
from chemkd_tf.errors import InputError
from chemkd_tf.progress import Progress
from chemkd_tf.text.lexicon import Lexicon
from chemkd_tf.text.protection import Protection, read_protected_words
from chemkd_tf.text.segmentation import WordSegmenter
from chemkd_tf.workdir import read_json

TEXTS_AT_ONCE = 32  # Rows of different texts share batches; what a kill costs at most.
# Flags that don't change a variant.
_WITHOUT_EFFECT = ("input_file", "output_file", "output_unlabelled", "keep_originals", "batch_size")

Propose = Callable[[Sequence[str]], list[tuple[SegmentedText, dict[int, list[str]]]]]


@dataclasses.dataclass(frozen=True)
class Summary:
    """What was written.

    Attributes:
        num_texts: of the input.
        num_variants: written.
        num_short: texts with fewer than --num_variants.
        num_without: texts without any.
        num_words: words of the texts that the variants were made of, once for each variant.
        num_changeable: those of them that may change.
        replaced: words replaced.
        swapped: words in another's place.
        deleted: words left out.
    """

    num_texts: int
    num_variants: int
    num_short: int
    num_without: int
    num_words: int
    num_changeable: int
    replaced: int
    swapped: int
    deleted: int

    def __str__(self) -> str:
        shares = ", ".join(
            f"{number / max(1, self.num_words):.1%} {name}"
            for name, number in (
                ("may change", self.num_changeable),
                ("replaced", self.replaced),
                ("swapped", self.swapped),
                ("deleted", self.deleted),
            )
        )
        short = f" (fewer than asked for of {self.num_short:,} texts, none of {self.num_without:,})"
        return (
            f"{self.num_texts:,} texts, {self.num_variants:,} variants{short if self.num_short else ''}; of the words "
            f"in them {shares}"
        )


def augment(config: AugmentationConfig) -> Summary:
    """Writes variants of labelled texts, each with its text's label.

    The output depends on the texts, the teacher and the flags; not on --batch_size, nor on how often it was killed.

    Returns:
        What was written.

    Raises:
        InputError: bad input (see the messages).
    """
    texts = read_labelled(config.input_file)
    require_writable(config.output_file, texts.texts, "output_file")
    if os.path.isdir(config.output_unlabelled):
        raise InputError(f"--output_unlabelled={config.output_unlabelled}: is a folder; name a file in it")
    lexicon = Lexicon(config.user_dictionary)
    protection = Protection(lexicon, read_protected_words(config.protected_words) if config.protected_words else ())
    segmenter = WordSegmenter(config.user_dictionary)
    if config.replace_prob:
        propose, teacher = _from_teacher(config, texts, lexicon, protection, segmenter)
    else:
        propose, teacher = lambda some: [(_segmented(text, segmenter, protection), {}) for text in some], ""
    work = config.output_file + ".work"
    try:
        _begin(work, config, texts, teacher)
        variants = _all_variants(work, config, texts.texts, propose)
        summary = _write(config, texts, variants)
        shutil.rmtree(work)
    except OSError as error:
        raise InputError(
            f"--output_file={config.output_file}: can't be written ({error.strerror or error}); check the folder, its "
            "rights and the space that is left"
        ) from None
    return summary


def _segmented(text: str, segmenter: WordSegmenter, protection: Protection) -> SegmentedText:
    words = segmenter.words(text)
    return SegmentedText(words, protection.changeable(words))


def _from_teacher(
    config: AugmentationConfig, texts: LabelledTexts, lexicon: Lexicon, protection: Protection, segmenter: WordSegmenter
) -> tuple[Propose, str]:
    """What proposes candidates, and the teacher's fingerprint."""
    from chemkd_tf.models.importing.load import load_encoder, require_masked_lm_head
    from chemkd_tf.stages.word_proposals import WordProposals, fingerprint, require_known_characters
    from chemkd_tf.text.vocabulary import load_vocabulary

    startup.run_first_operation_quietly()
    require_masked_lm_head(config.teacher_dir, "teacher_dir")
    teacher = load_encoder(config.teacher_dir, "teacher_dir")
    longest = teacher.architecture.max_sequence_length
    if config.max_seq_length > longest:
        raise InputError(
            f"--max_seq_length={config.max_seq_length}: {config.teacher_dir} takes at most {longest} tokens"
        )
    vocabulary = load_vocabulary(teacher.vocabulary_file)
    require_known_characters(texts.texts, vocabulary, teacher.vocabulary_file)
    proposals = WordProposals(config, teacher, vocabulary, lexicon, protection, segmenter)
    return proposals, fingerprint(teacher.masked_lm) + vocabulary.sha256


def _begin(work: str, config: AugmentationConfig, texts: LabelledTexts, teacher: str) -> None:
    """Writes what is being made, or checks that a run that was killed is making it."""
    settings = {key: value for key, value in dataclasses.asdict(config).items() if key not in _WITHOUT_EFFECT}
    for flag in ("user_dictionary", "protected_words"):
        if settings[flag]:
            with open(settings[flag], "rb") as file:
                settings[flag] = hashlib.file_digest(file, "sha256").hexdigest()
    del settings["teacher_dir"]
    contents = hashlib.sha256(json.dumps([texts.texts, texts.labels]).encode()).hexdigest()
    plan = {"chemkd_tf": __version__, "text": contents, "teacher": teacher, **settings}
    path = os.path.join(work, "plan.json")
    if os.path.exists(path):
        before = read_json(path)
        for name, value in plan.items():
            if before.get(name) != value:
                what = f"--{name}" if name in settings else name
                raise InputError(
                    f"{work}: a run that did not end began with another {what}; give its flags again, or delete that "
                    "folder to begin anew"
                )
    else:
        os.makedirs(work, exist_ok=True)
        write_json(path, plan)


def _all_variants(work: str, config: AugmentationConfig, texts: list[str], propose: Propose) -> list[Variants]:
    """The variants of every text: those that an earlier run left, and the others."""
    settings = VariantSettings(config.num_variants, config.replace_prob, config.swap_prob, config.delete_prob)
    starts = range(0, len(texts), TEXTS_AT_ONCE)
    paths = [os.path.join(work, f"{number:06d}.json") for number in range(len(starts))]
    done = sum(
        len(texts[start : start + TEXTS_AT_ONCE])
        for start, path in zip(starts, paths, strict=True)
        if os.path.exists(path)
    )
    progress = Progress("augmenting", len(texts), "texts", done)
    for start, path in zip(starts, paths, strict=True):
        if os.path.exists(path):
            continue
        chunk = texts[start : start + TEXTS_AT_ONCE]
        found = [
            make_variants(text, candidates, settings, np.random.default_rng([config.random_seed, start + index]))
            for index, (text, candidates) in enumerate(propose(chunk))
        ]
        write_json(path, found)
        done += len(chunk)
        progress.update(done)
    progress.close()
    return [Variants(*values) for path in paths for values in read_json(path)]


def _write(config: AugmentationConfig, texts: LabelledTexts, variants: list[Variants]) -> Summary:
    """Writes the texts and their variants, none of them twice; the labelled file last."""
    rows = list(zip(texts.texts, texts.labels, strict=True)) if config.keep_originals else []
    seen = set(texts.texts)
    given = []
    for label, of_text in zip(texts.labels, variants, strict=True):
        fresh = [text for text in of_text.texts if text not in seen]
        seen.update(fresh)
        rows += [(text, label) for text in fresh]
        given.append(len(fresh))
    if not any(given):
        raise InputError(
            f"{config.input_file}: no variant of any text: nothing in them may change (Chinese words alone do) or has "
            "candidates"
        )
    with contextlib.ExitStack() as files:
        writers = [files.enter_context(labelled_writer(config.output_file))]
        if config.output_unlabelled:  # entered last, so it is there first
            writers.append(files.enter_context(corpus_writer(config.output_unlabelled)))
        for row in rows:
            for write in writers:
                write(*row)
    return Summary(
        len(texts.texts),
        sum(given),
        sum(number < config.num_variants for number in given),
        given.count(0),
        *(sum(getattr(of_text, name) for of_text in variants) for name in Variants._fields[1:]),
    )

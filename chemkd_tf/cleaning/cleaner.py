"""The cleaning job: a corpus in, clean text and a report of what was dropped and why out."""

import dataclasses
import os
import re
import sys
import time
from array import array

from chemkd_tf import __version__
from chemkd_tf.atomic import atomic_write
from chemkd_tf.cleaning.characters import CHINESE_PUNCTUATION, ArticleCleaner, TextCleaner, words_only
from chemkd_tf.cleaning.compression import STANDARD_INPUT, display_name
from chemkd_tf.cleaning.documents import CorpusReader, Document, find_inputs
from chemkd_tf.cleaning.duplicates import NearDuplicates, RepeatedSentences, digest
from chemkd_tf.cleaning.report import CleaningReport, write_report
from chemkd_tf.config import CleanConfig
from chemkd_tf.errors import InputError
from chemkd_tf.progress import Progress

_NOT_IDEOGRAPHS = re.compile(r"[^\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
_COMPRESSED_NAME = re.compile(r"\.(gz|zst|bz2|xz|zip)$", re.IGNORECASE)


def write_clean_corpus(config: CleanConfig) -> dict:
    """Cleans a corpus as `config` says.

    Returns:
        The report, as it was written to `<output_file>.report.json`.

    Raises:
        InputError: the input can't be read, the output can't be written or would replace the input, or nothing is left.
    """
    started = time.monotonic()
    paths = find_inputs(config.input_file)
    report_file = config.output_file + ".report.json"
    _check_targets(config.output_file, report_file, paths)
    reader = CorpusReader(
        paths,
        config.input_format,
        config.text_field,
        config.invalid_utf8,
        config.one_article_per_line,
        config.max_article_chars,
    )
    report = CleaningReport()
    selection = _Selection(config, report)
    progress = _progress(paths, reader.total_bytes)
    try:
        # The report's name appears last, so that a report always belongs to the text beside it.
        with atomic_write(report_file) as report_stream, atomic_write(config.output_file, "wb") as output:
            for number, document in enumerate(reader, 1):
                sentences = selection.sentences_to_keep(document)
                if sentences:
                    report.bytes_written += output.write(("\n".join(sentences) + "\n\n").encode("utf-8"))
                if number % 64 == 0:
                    progress.update(reader.position(), articles=number)
            progress.update(reader.position(), articles=report.articles_read)
            _check_result(report, paths)
            value = report.as_dict(reader, dataclasses.asdict(config), __version__, time.monotonic() - started)
            write_report(report_stream, value)
            output.flush()
    except InputError:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # The progress line is unfinished; the message gets its own.
        raise
    except OSError as error:
        raise InputError(
            f"--output_file={config.output_file}: can't be written ({error.strerror or error}); check the folder, its "
            "rights and the space that is left"
        ) from None
    progress.close()
    return value


class _Selection:
    """Decides, article by article, what stays; tells the report about everything else."""

    def __init__(self, config: CleanConfig, report: CleaningReport):
        keep = (CHINESE_PUNCTUATION if config.keep_chinese_punctuation else "") + config.keep_characters
        self._config = config
        self._report = report
        self._cleaner = ArticleCleaner(
            TextCleaner(
                config.remove_html, config.drop_control, config.unicode_form, keep, config.collapse_white_space
            ),
            config.split_sentences,
            config.max_sentence_chars,
            config.min_sentence_chars,
        )
        self._digests: dict[bytes, int] | None = {} if config.drop_duplicates else None
        self._near = NearDuplicates(config.near_duplicate_threshold) if config.near_duplicate_threshold else None
        self._repeated = RepeatedSentences(config.drop_repeated_sentences) if config.drop_repeated_sentences else None
        # Where each article stands: 12 bytes.
        self._paths: dict[str, int] = {}
        self._path_numbers, self._lines = array("I"), array("Q")

    def sentences_to_keep(self, document: Document) -> list[str]:
        """Returns the sentences to write; none if the article is dropped."""
        report = self._report
        report.add_read(document)
        if not document.is_valid:
            report.drop_article("not UTF-8", document, [])
            return []
        article = self._cleaner.clean(document.text)
        report.add_cleaned(article)
        for sentence in article.too_short:
            report.drop_sentence("too short", document, sentence)
        number = self._remember_place(document)
        sentences = article.sentences
        key = self._key(sentences)
        if self._is_too_little(document, sentences, key) or self._is_duplicate(document, sentences, key, number):
            return []
        if self._repeated:
            sentences = []
            for sentence in article.sentences:
                if self._repeated.is_repeated(sentence):
                    report.drop_sentence("repeated", document, sentence)
                else:
                    sentences.append(sentence)
            if len(sentences) < len(article.sentences):
                key = self._key(sentences)
                if self._is_too_little(document, sentences, key) or self._is_duplicate(
                    document, sentences, key, number
                ):
                    return []
        if self._near and (found := self._near.find_or_add(key, number)):
            earlier, similarity = found
            report.drop_article(
                "near-duplicate", document, sentences, like=self._place(earlier), similarity=round(similarity, 3)
            )
            return []
        report.add_kept(sentences)
        return sentences

    def _key(self, sentences: list[str]) -> str:
        """What articles are compared by; an article without any word, by all of it."""
        text = "".join(sentences)
        return words_only(text).lower() or text

    def _is_too_little(self, document: Document, sentences: list[str], key: str) -> bool:
        config = self._config
        if not sentences:
            reason = "empty"
        elif len(key) < config.min_article_chars:
            reason = "too short"
        elif config.min_chinese_ratio and _chinese_ratio(key) < config.min_chinese_ratio:
            reason = "too little Chinese"
        else:
            return False
        self._report.drop_article(reason, document, sentences)
        return True

    def _is_duplicate(self, document: Document, sentences: list[str], key: str, number: int) -> bool:
        if self._digests is None:
            return False
        earlier = self._digests.setdefault(digest(key), number)
        if earlier == number:
            return False
        self._report.drop_article("duplicate", document, sentences, like=self._place(earlier))
        return True

    def _remember_place(self, document: Document) -> int:
        """Numbers the article, so that a later one can be said to be like it."""
        self._path_numbers.append(self._paths.setdefault(document.path, len(self._paths)))
        self._lines.append(document.line)
        return len(self._lines) - 1

    def _place(self, number: int) -> str:
        names = list(self._paths)
        return f"{names[self._path_numbers[number]]}:{self._lines[number]}"


def _chinese_ratio(words: str) -> float:
    return len(_NOT_IDEOGRAPHS.sub("", words)) / max(len(words), 1)


def _check_targets(output_file: str, report_file: str, paths: list[str]) -> None:
    """Refuses an output that is no plain file, would be misnamed, or would replace an input."""
    for target in (output_file, report_file):
        if os.path.isdir(target):
            raise InputError(f"--output_file={output_file}: {target} is a folder; name a file in it")
        if os.path.exists(target) and not os.path.isfile(target):
            raise InputError(f"--output_file={output_file}: {target} is a device or a pipe; name a file")
    if _COMPRESSED_NAME.search(output_file):
        raise InputError(f"--output_file={output_file}: plain text is written; leave the ending off")
    for target in (output_file, report_file):
        for path in paths:
            if path != STANDARD_INPUT and os.path.exists(target) and os.path.samefile(path, target):
                raise InputError(f"--output_file={output_file}: would replace the input {path}; choose another name")


def _check_result(report: CleaningReport, paths: list[str]) -> None:
    if not report.articles_read:
        names = ", ".join(map(display_name, paths[:3])) + (", ..." if len(paths) > 3 else "")
        raise InputError(f"--input_file: no text in {names}")
    if not report.articles_kept:
        raise InputError(
            f"nothing is left of {report.articles_read:,} articles ({report.reasons()}); check --input_format and "
            "--text_field, or lower --min_article_chars and --min_sentence_chars"
        )


class _OpenEndedProgress(Progress):
    """Progress through standard input, whose size nobody knows."""

    def __init__(self, label: str):
        super().__init__(label, 0, "bytes")
        self._begun = time.monotonic()

    def update(self, done: int, **values: float | str) -> None:
        self._so_far = f"{done:,} bytes  {done / max(time.monotonic() - self._begun, 1e-3):,.0f} bytes/s" + "".join(
            f"  {name}={value:,}" for name, value in values.items()
        )
        super().update(done)

    def line(self) -> str:
        return f"{self.label}  {self._so_far}"


def _progress(paths: list[str], total_bytes: int) -> Progress:
    return _OpenEndedProgress("cleaning") if paths == [STANDARD_INPUT] else Progress("cleaning", total_bytes, "bytes")

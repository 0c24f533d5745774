"""The job of data_prep/extend_vocab.py: a corpus and a vocabulary in, a larger vocabulary and what it changes out."""

import dataclasses
import itertools
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from chemkd_tf import __version__
from chemkd_tf.atomic import atomic_write
from chemkd_tf.config import VocabularyExtensionConfig
from chemkd_tf.data.blocks import Corpus, find_files, read_block, split_into_blocks
from chemkd_tf.errors import InputError
from chemkd_tf.progress import Progress
from chemkd_tf.text.block_tokenization import BlockTokenizer
from chemkd_tf.text.extension_candidates import CHARACTER, WORD, Candidates, Choice
from chemkd_tf.text.vocabulary import Vocabulary, load_vocabulary
from chemkd_tf.text.vocabulary_extension import ALL_ENTRIES, IDEOGRAPHS, Origins, extend, unused_slots
from chemkd_tf.text.word_pieces import WordPieces

MOST_WORDS_REMEMBERED = 1 << 16
_MOST_SHOWN = 20
_LATIN_LETTER = re.compile(r"[A-Za-z]")


def write_extended_vocabulary(config: VocabularyExtensionConfig) -> dict[str, Any]:
    """Extends a vocabulary as `config` says.

    The corpus is read three times: checked, counted, tokenised with both vocabularies. One block of it is in memory.

    Returns:
        The report, as it was written to `<output_file>.report.json`.

    Raises:
        InputError: corpus or vocabulary can't be read, there is no [unusedN] entry and nothing may be appended, or the
            output can't be written or would replace an input.
    """
    started = time.monotonic()
    paths = find_files(config.input_file)
    old = load_vocabulary(config.vocab_file)
    if not unused_slots(old) and not config.append:
        raise InputError(
            f"{config.vocab_file}: none of its {old.size:,} entries is an [unusedN] that could be filled: --append "
            "adds entries behind the last one (the model's embedding table has to grow with them)"
        )
    report_file = config.output_file + ".report.json"
    _check_targets(config.output_file, report_file, [*paths, config.vocab_file])
    try:
        # Opened first: hours of counting should not end in a folder that can't be written to. The report's name appears
        # last, so that a report always belongs to the vocabulary beside it.
        with atomic_write(report_file) as report_stream, atomic_write(config.output_file) as output:
            new, report = _extend(config, paths, old)
            report["seconds"] = round(time.monotonic() - started, 3)
            json.dump(report, report_stream, ensure_ascii=False, indent=2)
            report_stream.write("\n")
            report_stream.flush()
            output.writelines(f"{token}\n" for token in new.tokens)
            output.flush()
    except OSError as error:
        raise InputError(
            f"--output_file={config.output_file}: can't be written ({error.strerror or error}); check the folder, its "
            "rights and the space that is left"
        ) from None
    return report


def _extend(config: VocabularyExtensionConfig, paths: list[str], old: Vocabulary) -> tuple[Vocabulary, dict[str, Any]]:
    """Returns the new vocabulary and the report without the time it took."""
    corpus = split_into_blocks(paths)
    candidates = Candidates(old, config.do_lower_case)
    for text in _texts(corpus, "counting"):
        candidates.add(text)
    most = config.num_new_entries if config.append else min(config.num_new_entries, len(unused_slots(old)))
    choice = candidates.choose(most, config.min_frequency, config.min_word_length if config.add_words else 0)
    new = extend(old, [entry.token for entry in choice.entries])
    usage = [_Usage(vocabulary, config.do_lower_case) for vocabulary in (old, new)]
    words = _LatinWords(old, new)
    for text in _texts(corpus, "measuring"):
        for one in usage:
            one.add(text)
        words.add(usage[0].tokenizer.count_words(text)[1])
    return new, {
        "before": usage[0].as_dict(),
        "after": usage[1].as_dict(),
        "share_of_unknown_removed": _share_removed(usage[0].unknown_tokens, usage[1].unknown_tokens),
        "latin_words": words.as_dict(),
        "entries": _entries(old, new, choice, usage[1].counts),
        "left_out": choice.left_out,
        "word_frequency_at_most_too_low_by": candidates.lacking,
        "old_vocabulary": _description(config.vocab_file, old),
        "new_vocabulary": _description(config.output_file, new),
        "corpus": {"files": len(paths), "bytes": corpus.num_bytes, "sha256": corpus.sha256},
        "flags": dataclasses.asdict(config),
        "chemkd_tf": __version__,
    }


def _texts(corpus: Corpus, label: str) -> Iterator[str]:
    progress = Progress(label, corpus.num_bytes, "bytes")
    done = 0
    for block in corpus.blocks:
        try:
            text = read_block(block)
        except OSError as error:
            raise InputError(f"{block.path}: can't read the corpus: {error.strerror or error}") from None
        yield text
        done += block.end - block.start
        progress.update(done)
    progress.close()


class _Usage:
    """How often a corpus uses each entry of a vocabulary."""

    def __init__(self, vocabulary: Vocabulary, do_lower_case: bool):
        self.tokenizer = BlockTokenizer(vocabulary, do_lower_case)
        self.counts = np.zeros(vocabulary.size, np.int64)
        self._unknown_id = vocabulary.unknown_id

    def add(self, text: str) -> None:
        self.counts += np.bincount(self.tokenizer.tokenize(text).token_ids, minlength=len(self.counts))

    @property
    def unknown_tokens(self) -> int:
        return int(self.counts[self._unknown_id])

    def as_dict(self) -> dict[str, int]:
        return {"tokens": int(self.counts.sum()), "unknown_tokens": self.unknown_tokens}


class _LatinWords:
    """Pieces of the words with a letter from a to z. [UNK] is no piece: means are over words known to both."""

    def __init__(self, old: Vocabulary, new: Vocabulary):
        self._pieces = WordPieces(old), WordPieces(new)
        self._met: dict[str, tuple[int, int]] = {}
        self._words = self._known = 0
        self._unknown, self._num_pieces = [0, 0], [0, 0]

    def add(self, words: Counter[str]) -> None:
        if len(self._met) > MOST_WORDS_REMEMBERED:
            self._met.clear()
        for word, count in words.items():
            if not _LATIN_LETTER.search(word):
                continue
            numbers = self._met.get(word)
            if numbers is None:
                numbers = self._met[word] = tuple(len(pieces.split(word)) for pieces in self._pieces)
            self._words += count
            if all(numbers):
                self._known += count
            for index, number in enumerate(numbers):
                if not number:
                    self._unknown[index] += count
                elif all(numbers):
                    self._num_pieces[index] += number * count

    def as_dict(self) -> dict[str, Any]:
        before, after = (number / self._known if self._known else None for number in self._num_pieces)
        return {
            "words": self._words,
            "unknown_before": self._unknown[0],
            "unknown_after": self._unknown[1],
            "mean_pieces_before": before,
            "mean_pieces_after": after,
        }


def _entries(old: Vocabulary, new: Vocabulary, choice: Choice, counts: np.ndarray) -> list[dict[str, Any]]:
    origins = Origins(old)
    values = []
    for entry in choice.entries:
        index = new.id_of(entry.token)
        origin = origins.of(entry.token)
        # Means over thousands of rows are told by their names: `Origins` says which rows they are.
        ids = [] if origin.kind in (IDEOGRAPHS, ALL_ENTRIES) else list(origin.ids)
        values.append(
            {
                "token": entry.token,
                "id": index,
                "replaces": old.tokens[index] if index < old.size else None,
                "kind": entry.kind,
                "frequency": entry.frequency,
                "tokens_after": int(counts[index]),
                "mean_of": origin.kind,
                "old_pieces": [old.tokens[piece] for piece in ids],
                "old_ids": ids,
            }
        )
    return values


def _description(path: str, vocabulary: Vocabulary) -> dict[str, Any]:
    return {
        "path": path,
        "entries": vocabulary.size,
        "unused_entries": len(unused_slots(vocabulary)),
        "sha256": vocabulary.sha256,
    }


def _share_removed(before: int, after: int) -> float | None:
    return (before - after) / before if before else None


def _check_targets(output_file: str, report_file: str, inputs: list[str]) -> None:
    for target, path in itertools.product((output_file, report_file), inputs):
        if os.path.isdir(target):
            raise InputError(f"--output_file={output_file}: {target} is a folder; name a file in it")
        if os.path.exists(target) and os.path.samefile(path, target):
            raise InputError(f"--output_file={output_file}: would replace the input {path}; choose another name")


def summary(report: dict[str, Any]) -> str:
    """Returns a report as a table for people."""
    entries, flags = report["entries"], report["flags"]
    kinds = Counter(entry["kind"] for entry in entries)
    filled = sum(entry["replaces"] is not None for entry in entries)
    words = report["latin_words"]
    removed = report["share_of_unknown_removed"]
    rows = [
        ("", "before", "after", ""),
        _row("tokens", report["before"]["tokens"], report["after"]["tokens"]),
        _row("[UNK]", report["before"]["unknown_tokens"], report["after"]["unknown_tokens"]),
        _row("words with letters a-z that are [UNK]", words["unknown_before"], words["unknown_after"]),
    ]
    rows[2] = (*rows[2][:3], "there was none" if removed is None else f"{removed:.1%} removed")
    if words["mean_pieces_before"] is not None:
        means = (f"{words[f'mean_pieces_{when}']:.3f}" for when in ("before", "after"))
        rows.append(("pieces of the others, mean", *means, ""))
    lines = [f"{name:<38}{before:>14}{after:>14}  {note}".rstrip() for name, before, after, note in rows]
    left = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in report["left_out"].items() if count)
    lines += [
        f"added: {kinds[CHARACTER]:,} characters, {kinds[WORD]:,} words; {filled:,} in [unusedN] entries, of which "
        f"{report['new_vocabulary']['unused_entries']:,} are left, {len(entries) - filled:,} appended",
        f"left out: {left or 'none'}",
    ]
    if entries:
        lines.append(f"{'entry':<20}{'id':>8}{'frequency':>12}{'tokens now':>12}  old pieces")
    for entry in entries[:_MOST_SHOWN]:
        pieces = " ".join(entry["old_pieces"]) or f"mean of all {entry['mean_of'].removeprefix('all_')}"
        lines.append(
            f"{entry['token']:<20}{entry['id']:>8,}{entry['frequency']:>12,}{entry['tokens_after']:>12,}  {pieces}"
        )
    if len(entries) > _MOST_SHOWN:
        lines.append(f"... and {len(entries) - _MOST_SHOWN:,} more")
    size = report["corpus"]["bytes"] / 1e6
    lines.append(
        f"{flags['output_file']}: {report['new_vocabulary']['entries']:,} entries; {size:,.1f} MB of text in "
        f"{report['seconds']:.1f} s; every entry stands in {flags['output_file']}.report.json"
    )
    return "\n".join(lines)


def _row(name: str, before: int, after: int) -> tuple[str, str, str, str]:
    change = "" if not before or before == after else f"{(after - before) / before:+.1%}"
    return name, f"{before:,}", f"{after:,}", change

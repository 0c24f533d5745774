"""What a cleaning read, kept, changed and dropped: counted while it runs, then written as JSON and as a summary."""

import dataclasses
import json
from collections import Counter
from typing import IO, Any

from chemkd_tf.cleaning.characters import CleanArticle
from chemkd_tf.cleaning.documents import CorpusReader, Document

_MOST_EXAMPLES = 5
_EXAMPLE_CHARS = 80
STEPS = {
    "html": "HTML removed",
    "control": "control characters dropped",
    "unicode": "Unicode normalised",
    "white_space": "white space collapsed",
    "split": "paragraphs split into sentences",
    "cut": "sentences cut",
}


@dataclasses.dataclass
class _Dropped:
    """What one reason made fall."""

    count: int = 0
    sentences: int = 0
    characters: int = 0
    examples: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def add(self, document: Document, text: str, characters: int, sentences: int, **details: Any) -> None:
        self.count += 1
        self.sentences += sentences
        self.characters += characters
        if len(self.examples) < _MOST_EXAMPLES:
            short = " ".join(text[: 4 * _EXAMPLE_CHARS].split())
            short = short if len(short) <= _EXAMPLE_CHARS else short[: _EXAMPLE_CHARS - 1] + "…"
            self.examples.append({"at": f"{document.path}:{document.line}", "text": short, **details})


class CleaningReport:
    """Counts. Every article that is read is later kept or dropped for one reason, and so is every sentence.

    Attributes:
        articles_read: so far.
        articles_kept: so far.
        bytes_written: to the output.
    """

    def __init__(self):
        self.articles_read = self.articles_kept = self.bytes_written = 0
        self._characters_read = self._sentences_found = self._sentences_kept = self._characters_kept = 0
        self._changed: Counter[str] = Counter()
        self._articles: dict[str, _Dropped] = {}
        self._sentences: dict[str, _Dropped] = {}

    def add_read(self, document: Document) -> None:
        """Counts an article that was read."""
        self.articles_read += 1
        self._characters_read += len(document.text)

    def add_cleaned(self, article: CleanArticle) -> None:
        """Counts an article's sentences and the steps that changed something in it."""
        self._sentences_found += len(article.sentences) + len(article.too_short)
        self._changed.update(article.changed)

    def add_kept(self, sentences: list[str]) -> None:
        """Counts an article that is kept."""
        self.articles_kept += 1
        self._sentences_kept += len(sentences)
        self._characters_kept += sum(map(len, sentences))

    def drop_article(self, reason: str, document: Document, sentences: list[str], **details: Any) -> None:
        """Counts an article that is dropped, with the sentences that it still had.

        Args:
            reason: key in the report.
            document: as it was read.
            sentences: what cleaning had left of it.
            **details: more for the example.
        """
        dropped = self._articles.setdefault(reason, _Dropped())
        dropped.add(document, document.text, len(document.text), len(sentences), **details)

    def drop_sentence(self, reason: str, document: Document, sentence: str) -> None:
        """Counts a sentence that is dropped from an article."""
        self._sentences.setdefault(reason, _Dropped()).add(document, sentence, len(sentence), 1)

    def reasons(self) -> str:
        """Returns why articles were dropped, in words: "3 too short, 2 duplicate"."""
        return _counts(self._articles)

    def as_dict(self, reader: CorpusReader, flags: dict[str, Any], version: str, seconds: float) -> dict[str, Any]:
        """Returns the report.

        Args:
            reader: that read the articles.
            flags: name to value.
            version: of the package.
            seconds: that it all took.
        """
        return {
            "read": {
                "articles": self.articles_read,
                "sentences": self._sentences_found,
                "characters": self._characters_read,
                "bytes": reader.bytes_read,
                "compressed_bytes": reader.total_bytes or reader.bytes_read,
                "articles_divided": reader.divided,
                "empty_files": reader.empty_files,
            },
            "kept": {
                "articles": self.articles_kept,
                "sentences": self._sentences_kept,
                "characters": self._characters_kept,
                "bytes": self.bytes_written,
            },
            "articles_changed_by_step": {step: self._changed[step] for step in STEPS},
            "dropped_articles": {reason: dataclasses.asdict(dropped) for reason, dropped in self._articles.items()},
            "dropped_sentences": {
                reason: {key: value for key, value in dataclasses.asdict(dropped).items() if key != "sentences"}
                for reason, dropped in self._sentences.items()
            },
            "flags": flags,
            "chemkd_tf": version,
            "seconds": round(seconds, 3),
        }


def _counts(dropped: dict[str, _Dropped]) -> str:
    ordered = sorted(dropped.items(), key=lambda item: -item[1].count)
    return ", ".join(f"{value.count:,} {reason}" for reason, value in ordered)


def write_report(file: IO, report: dict[str, Any]) -> None:
    """Writes a report as indented JSON."""
    json.dump(report, file, ensure_ascii=False, indent=2)
    file.write("\n")
    file.flush()


def summary(report: dict[str, Any]) -> str:
    """Returns a report as a few lines for people."""
    read, kept, flags = report["read"], report["kept"], report["flags"]
    rate = read["bytes"] / 1e6 / max(report["seconds"], 1e-3)
    lines = [
        f"{flags['output_file']}: {kept['articles']:,} of {read['articles']:,} articles, {kept['sentences']:,} of "
        f"{read['sentences']:,} sentences, {kept['characters']:,} of {read['characters']:,} characters",
    ]
    for kind in ("articles", "sentences"):
        dropped = sorted(report[f"dropped_{kind}"].items(), key=lambda item: -item[1]["count"])
        if dropped:
            lines.append(f"  {kind} dropped: " + ", ".join(f"{value['count']:,} {name}" for name, value in dropped))
    changed = [f"{STEPS[step]} {count:,}" for step, count in report["articles_changed_by_step"].items() if count]
    if changed:
        lines.append("  articles changed: " + ", ".join(changed))
    if read["articles_divided"]:
        lines.append(
            f"  articles divided at {flags['max_article_chars']:,} characters: {read['articles_divided']:,}; are there "
            "empty lines between articles? (--one_article_per_line, --max_article_chars)"
        )
    if read["empty_files"]:
        lines.append(f"  empty files: {len(read['empty_files']):,}, the first {read['empty_files'][0]}")
    lines.append(f"  {read['bytes'] / 1e6:,.1f} MB in {report['seconds']:.1f} s ({rate:.1f} MB/s); examples in "
                 f"{flags['output_file']}.report.json")  # fmt: skip
    return "\n".join(lines)

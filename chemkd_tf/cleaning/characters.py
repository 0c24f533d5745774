"""Raw text to clean text: HTML remains, control characters, Unicode forms, white space. Pure functions."""

import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from chemkd_tf.cleaning.html_remains import remove_html
from chemkd_tf.cleaning.sentences import cut_long, split_sentences

# NFKC would fold these into their ASCII relatives (and ︰, which stands for a ratio, into two full stops).
CHINESE_PUNCTUATION = "，；：！？（）～…［］︰"
_LINE_BREAKS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
# Categories Cc, Cf and Cs, noncharacters, and the invisible variation selectors (Mn): they vanish.
# (Two classes: the regular expressions are several times as fast for one within the first 65,536 characters.)
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\ufff0-\ufffb\ufffe\uffff]+"
)
_SUPPLEMENTARY = re.compile("[\U00010000-\U0010ffff]")
_INVISIBLE_SUPPLEMENTARY = re.compile(
    "[\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    + "".join(chr(plane << 16 | last) for plane in range(1, 15) for last in (0xFFFE, 0xFFFF))
    + "]+"
)
# Private use (bullets of symbol fonts, mostly) and U+FFFD were visible once: they become a space.
_UNREADABLE = re.compile("[\t\ue000-\uf8ff\ufffd\U000f0000-\U0010ffff]+")
_WHITE_SPACE = re.compile(r"[^\S\n ][^\S\n]*| [^\S\n]+")
_LINE_EDGES = re.compile(r" (?=\n)|(?<=\n) ")
_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ"
# A digit's own exponent: 10³ must not become 103, nor SO₄²⁻ SO42−.
_EXPONENT = re.compile(rf"((?<=[\d₀-₉])[{_SUPERSCRIPTS}]+)")
_NESTED_HTML = 8  # Rounds in which HTML may turn up in what the round before made of entities;
_SETTLING = 8  # and in which an article's sentences may turn out to need another cleaning.
_NOT_WORDS = re.compile(r"[\W_]+")


class UnicodeFolder:
    """Normalises text to a Unicode form, sparing some characters.

    Under NFKC full-width letters and digits become half-width, squared units fall apart (㎡ is m2), and subscripts
    become digits (H₂O is H2O). Beyond NFKC, the hyphens U+2010 and U+2011 become "-". An exponent right behind a digit
    stays as it is, because 10³ is not 103.

    Args:
        form: "NFKC" or "NFC".
        keep: characters that stay as they are under NFKC.
    """

    def __init__(self, form: str = "NFKC", keep: str = CHINESE_PUNCTUATION):
        self._form = form
        # Everything that needs no look: ASCII, ideographs, Chinese marks, what is to be kept.
        quick = "\x00-\x7f\u3400-\u4dbf\u4e00-\u9fff、。〈-】〔〕“”‘’—·×" + (re.escape(keep) if form == "NFKC" else "")
        # A letter in front goes along, as an accent may follow that composes with it; a digit, for its exponent.
        self._suspects = re.compile(f"[A-Za-z0-9<=>]?[^{quick}]+")

    def __call__(self, text: str) -> str:
        """Returns `text` in the folder's form; a second call changes nothing."""
        return text if text.isascii() else self._suspects.sub(self._fold, text)

    def _fold(self, match: re.Match) -> str:
        run = match[0]
        if self._form != "NFKC":
            return unicodedata.normalize(self._form, run)
        return "".join(
            part if number % 2 else unicodedata.normalize("NFKC", part).replace("\u2010", "-")
            for number, part in enumerate(_EXPONENT.split(run))
        )


def unify_line_breaks(text: str) -> str:
    """Makes every kind of line break (CR LF, CR, form feed, U+2028 and so on) a line feed."""
    return _LINE_BREAKS.sub("\n", text)


def drop_control(text: str) -> str:
    """Drops control, format and zero-width characters; tabs, private-use characters and U+FFFD become a space."""
    text = _UNREADABLE.sub(" ", _INVISIBLE.sub("", text))
    return _INVISIBLE_SUPPLEMENTARY.sub("", text) if _SUPPLEMENTARY.search(text) else text


def collapse_white_space(text: str) -> str:
    """Makes every run of white space within a line one space and takes it off the ends of lines."""
    text = _WHITE_SPACE.sub(" ", text).strip(" ")
    return _LINE_EDGES.sub("", text) if " \n" in text or "\n " in text else text


class TextCleaner:
    """The cleaning steps in their order, each of which may be left out.

    Args:
        html: remove HTML remains.
        control: drop control characters.
        unicode_form: "NFKC", "NFC" or "none".
        keep: characters that NFKC leaves as they are.
        white_space: collapse white space.
    """

    def __init__(
        self,
        html: bool = True,
        control: bool = True,
        unicode_form: str = "NFKC",
        keep: str = CHINESE_PUNCTUATION,
        white_space: bool = True,
    ):
        self._html = html
        steps: list[tuple[str, Callable[[str], str], bool]] = [
            ("html", remove_html, html),
            ("control", drop_control, control),
            ("unicode", UnicodeFolder(unicode_form, keep), unicode_form != "none"),
            ("white_space", collapse_white_space, white_space),
        ]
        self._steps = [(name, step) for name, step, wanted in steps if wanted]

    def clean(self, text: str) -> tuple[str, set[str]]:
        """Cleans an article.

        Args:
            text: paragraphs with line breaks between them.

        Returns:
            The clean text, in which only "\\n" breaks lines, and the names of the steps that changed something ("html",
            "control", "unicode", "white_space"). Cleaning it again changes nothing.
        """
        changed: set[str] = set()
        text = unify_line_breaks(text)
        # Entities may spell out tags and further entities (&amp;lt;b&amp;gt;), and a full-width ＜ becomes a <.
        for _ in range(_NESTED_HTML):
            before = text
            text = self._once(text, changed)
            if text == before or not (self._html and ("<" in text or "&" in text)):
                return text, changed
        return self._once(text.replace("<", " ").replace("&", " "), changed), changed

    def _once(self, text: str, changed: set[str]) -> str:
        for name, step in self._steps:
            result = step(text)
            if result is not text and result != text:
                changed.add(name)
                text = result
        return text


def words_only(text: str) -> str:
    """Returns the letters, digits and ideographs of `text`: what lengths are measured in."""
    return _NOT_WORDS.sub("", text)


class CleanArticle(NamedTuple):
    """What became of an article.

    Attributes:
        sentences: the lines to write.
        too_short: sentences that were left out.
        changed: names of the steps that changed something: those of `TextCleaner.clean`, "split" and "cut".
    """

    sentences: list[str]
    too_short: list[str]
    changed: set[str]


class ArticleCleaner:
    """From an article as it was read to its sentences.

    Args:
        cleaner: the cleaning steps.
        split: split paragraphs into sentences; otherwise a paragraph is a line.
        max_sentence_chars: longer sentences are cut (if `split`); 0 cuts none.
        min_sentence_chars: sentences with fewer letters, digits and ideographs are left out.
    """

    def __init__(
        self, cleaner: TextCleaner, split: bool = True, max_sentence_chars: int = 512, min_sentence_chars: int = 4
    ):
        self._cleaner = cleaner
        self._split = split
        self._max_chars = max_sentence_chars if split else 0
        self._long_enough = re.compile(rf"(?:[\W_]*+[^\W_]){{{min_sentence_chars}}}").match

    def clean(self, text: str) -> CleanArticle:
        """Returns the sentences of the article `text`; the same cleaner changes nothing in them a second time."""
        changed: set[str] = set()
        too_short: list[str] = []
        sentences: list[str] = []
        for _ in range(_SETTLING):
            cleaned, steps = self._cleaner.clean(text)
            changed |= steps
            sentences, was_cut = self._sentences(cleaned, changed)
            too_short += [sentence for sentence in sentences if not self._long_enough(sentence)]
            sentences = [sentence for sentence in sentences if self._long_enough(sentence)]
            result = "\n".join(sentences)
            # A cut may part a tag's < from a comparison's, and a line left out may bring the halves of a tag together.
            if result == text or not (was_cut or "<" in result):
                break
            text = result
        return CleanArticle(sentences, too_short, changed)

    def _sentences(self, text: str, changed: set[str]) -> tuple[list[str], bool]:
        """The sentences of clean text, and whether one was cut."""
        was_cut = False
        sentences: list[str] = []
        for line in text.split("\n"):
            paragraph = line.strip()
            if not paragraph:
                continue
            pieces = split_sentences(paragraph) if self._split else [paragraph]
            if len(pieces) > 1:
                changed.add("split")
            if 0 < self._max_chars < max(map(len, pieces)):
                was_cut = True
                changed.add("cut")
                pieces = [part for piece in pieces for part in cut_long(piece, self._max_chars)]
            sentences += pieces
        return sentences, was_cut

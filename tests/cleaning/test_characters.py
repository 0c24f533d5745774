"""Cleaning: each step against Python's own tables or parser, and the whole against its invariants."""

import html.parser
import sys
import unicodedata

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chemkd_tf.cleaning.characters import (
    CHINESE_PUNCTUATION,
    ArticleCleaner,
    TextCleaner,
    UnicodeFolder,
    collapse_white_space,
    drop_control,
    unify_line_breaks,
    words_only,
)
from chemkd_tf.cleaning.html_remains import remove_html

# Pieces that meet in dirty text, so that a random text of them is often a hard one.
PIECES = [
    *(
        "<b>",
        "</b>",
        "<p>",
        "<",
        ">",
        "<!--",
        "-->",
        "<script>",
        "</script>",
        "<a href='x'>",
        "<td",
        "&lt;",
        "&amp;",
        "&",
    ),
    *("#38;", "amp;", "lt;", "gt;", "b>", "/p>", "&nbsp", "<sup>", "</sup>", "\n", "\r\n", "\r", "\u2028", " ", "\t"),
    *(
        "\u3000",
        "\x00",
        "\u200b",
        "\ufeff",
        "\ue000",
        "\ufffd",
        "e",
        "\u0301",
        "´",
        "１",
        "0",
        "³",
        "⁻",
        "①",
        "℃",
        "㎡",
    ),
    *(
        "＜",
        "＞",
        "＆",
        "Ａ",
        "。",
        "；",
        "！",
        "？",
        "…",
        "，",
        "，",
        ".",
        ";",
        '"',
        "”",
        "（",
        "）",
        "酸",
        "碱",
        "盐",
        "水",
        "ㅎ",
        "ㅏ",
    ),
]
dirty_text = st.one_of(st.lists(st.sampled_from(PIECES), max_size=60).map("".join), st.text(max_size=80))
article_cleaners = st.builds(
    ArticleCleaner,
    st.builds(TextCleaner, keep=st.sampled_from(["", CHINESE_PUNCTUATION, CHINESE_PUNCTUATION + "℃①"])),
    split=st.booleans(),
    max_sentence_chars=st.sampled_from([0, 16, 512]),
    min_sentence_chars=st.integers(0, 4),
)


@settings(max_examples=1000, deadline=None)
@given(dirty_text, article_cleaners)
def test_cleaning_twice_changes_nothing_more_and_lines_are_lines(text, cleaner):
    sentences = cleaner.clean(text).sentences
    for sentence in sentences:
        assert sentence and sentence == sentence.strip()
        assert not any(
            unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") for character in sentence
        )
    again = cleaner.clean("\n".join(sentences))
    assert again.sentences == sentences
    assert not again.too_short and not again.changed


@settings(max_examples=300, deadline=None)
@given(dirty_text)
def test_splitting_and_cutting_lose_no_character_of_the_clean_text(text):
    cleaned, _ = TextCleaner().clean(text)
    assume("<" not in cleaned and "&" not in cleaned)  # What is cut out of HTML may be HTML.
    sentences = ArticleCleaner(TextCleaner(), max_sentence_chars=16, min_sentence_chars=0).clean(text).sentences
    # An exponent that a cut parts from its digit is a digit itself; otherwise the characters are the same.
    without_exponents = str.maketrans("", "", "³⁻-−3")
    assert words_only("".join(sentences)).translate(without_exponents) == words_only(cleaned).translate(
        without_exponents
    )


def test_control_format_surrogate_and_private_characters_go_whatever_they_are():
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    left = drop_control(unify_line_breaks(every))
    categories = {unicodedata.category(character) for character in left} - {"Cn"}
    assert not categories & {"Cf", "Cs", "Co", "Zl", "Zp"}
    assert {character for character in left if unicodedata.category(character) == "Cc"} == {"\n"}
    assert not any(ord(character) & 0xFFFE == 0xFFFE for character in left)
    # Nothing that is seen is lost: letters, digits, marks, but the invisible variation selectors.
    lost = {character for character in set(every) - set(left) if unicodedata.category(character)[0] not in "CZ"}
    assert all(character == "\ufffd" or "VARIATION SELECTOR" in unicodedata.name(character) for character in lost)
    assert drop_control("职责\uf06c负责\u200b人\ufffd") == "职责 负责人 "


@settings(max_examples=500)
@given(st.text(max_size=60), st.sampled_from(["NFKC", "NFC"]))
def test_without_exceptions_folding_is_unicode_normalisation(text, form):
    assume(not any(character in "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ" for character in text))
    expected = unicodedata.normalize(form, text)
    assert UnicodeFolder(form, "")(text) == (expected.replace("\u2010", "-") if form == "NFKC" else expected)


@settings(max_examples=500)
@given(st.text(st.sampled_from("，：（～…℃①Ａé１ae\u0301\u0338<>=\u3099か酸ㅎㅏᄒ\u1161㎡ﬁ 1"), max_size=30))
def test_kept_characters_divide_the_text_that_is_normalised(text):
    keep = CHINESE_PUNCTUATION + "℃①"
    expected, piece = "", ""
    for character in text + "①":
        if character in keep:
            expected += unicodedata.normalize("NFKC", piece) + character
            piece = ""
        else:
            piece += character
    assert UnicodeFolder("NFKC", keep)(text) == expected[:-1]


def test_folding_makes_formulas_plain_and_changes_no_number():
    fold = UnicodeFolder("NFKC", CHINESE_PUNCTUATION + "℃①")
    assert fold("Ｈ₂ＳＯ₄（９８％），ｐＨ＜７") == "H2SO4（98%），pH<7"
    assert fold("10³ Pa，10⁻³ m³，SO₄²⁻，25㎡，①3个") == "10³ Pa，10⁻³ m3，SO4²⁻，25m2，①3个"
    assert fold("γ‑丁内酯，1.6︰2") == "γ-丁内酯，1.6︰2"
    assert UnicodeFolder("NFKC", "")("水，（℃）") == "水,(°C)"
    assert UnicodeFolder("NFC")("Ａ，e\u0301³") == "Ａ，é³"


@settings(max_examples=500)
@given(st.text(st.sampled_from("a酸 \t\u3000\xa0\u2003\n"), max_size=30))
def test_white_space_collapses_as_split_and_join_do(text):
    assert collapse_white_space(text) == "\n".join(" ".join(line.split()) for line in text.split("\n"))


class TextOfHtml(html.parser.HTMLParser):
    def __init__(self, source: str):
        super().__init__()
        self.skipping = 0
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.skipping += tag in ("script", "style")

    def handle_endtag(self, tag):
        self.skipping -= tag in ("script", "style")

    def handle_data(self, data):
        self.text += "" if self.skipping else data


words = st.text(st.sampled_from("酸碱abc12。, "), max_size=8)
names = st.sampled_from(["p", "div", "b", "SPAN", "td", "h1", "a", "o:p"])
attributes = st.sampled_from(
    ["", ' class="a b"', " id=x", " href='http://a.cn/?b=1&c=2' target=_blank", " disabled", ' alt="酸>碱"']
)
leaves = st.one_of(
    words,
    st.sampled_from(
        ["&lt;", "&#37240;", "&#x9178;", "&nbsp;", "&mdash;", "<br/>", "<BR>", "<hr />", "<!-- 注 <b> -->"]
    ),
    st.builds("<script type='a'>if (a<b) x{}</script>".format, words),
    st.builds("<style>p {{}}{}</style>".format, words),
)
markup = st.recursive(
    leaves,
    lambda inner: st.lists(
        st.one_of(inner, st.builds("<{0}{1}>{2}</{0}>".format, names, attributes, inner)), max_size=5
    ).map("".join),
    max_leaves=15,
)


@settings(max_examples=500, deadline=None)
@given(markup)
def test_html_leaves_the_text_that_a_parser_finds(source):
    assert "".join(remove_html(source).split()) == "".join(TextOfHtml(source).text.split())


@pytest.mark.parametrize(
    "text",
    [
        "pH<7",
        "x<y 且 y>z",
        "若a<b，b>c",
        "x<a and a>c",
        "2.5<P4.0MPa ; 和 1.6<P2.5MPa",
        "硅,siox(0<x<2),镁离子<0.5%",
        "A --> B",
        "A<->B",
        "AT&T",
        "http://a.cn/?a=1&copy=2&lt=3",
        "&foo;",
        "<未知>",
        "vector<int>",
        "<https://example.com>",
        "i < s and s > t",
    ],
)
def test_what_is_no_html_stays(text):
    assert remove_html(text) == text


def test_html_in_pieces_is_removed_too():
    clean = TextCleaner().clean
    assert clean("H<sub>2</sub>O，10<sup>-3</sup> m<sup>3</sup>")[0] == "H2O，10⁻³ m3"
    assert clean("&amp;amp;lt;p&amp;gt;酸&amp;lt;/p&amp;gt;")[0].strip() == "酸"
    assert clean("＜ｂ＞酸＜／ｂ＞")[0] == "酸"
    assert clean("<p>甲</p><p>乙</p>")[0].split() == ["甲", "乙"]
    assert clean("酸<!-- 从未关闭")[0] == "酸 从未关闭"
    assert clean("<a href=x\n  title='y'>链接</a>")[0] == "链接"
    assert clean("&" + "#38;" * 50 + "lt;b>酸")[0] == "酸"


def test_nesting_that_never_ends_ends_without_html():
    # Each round takes the innermost tag away and thereby makes the next.
    cleaned, _ = TextCleaner().clean("<i" * 40 + ">" * 40 + "酸")
    assert "<" not in cleaned and "酸" in cleaned
    assert TextCleaner().clean(cleaned) == (cleaned, set())


@pytest.mark.parametrize(
    "piece", ["<", "<a ", "<a x=", "<!--", "<script>", "&", "&amp", "&#38", "<a x='", "</a ", "<![if", "<sup>"]
)
def test_broken_html_takes_linear_time(piece):
    # Quadratic, each of these would run for minutes.
    remove_html(piece * 100_000)
    remove_html("1" + piece + " " * 1_000_000)


def test_steps_report_what_they_changed_and_may_be_left_out():
    dirty = "<b>Ａ</b>\u200b  酸"
    assert TextCleaner().clean(dirty) == ("A 酸", {"html", "unicode", "control", "white_space"})
    assert TextCleaner(html=False).clean(dirty) == ("<b>A</b> 酸", {"unicode", "control", "white_space"})
    assert TextCleaner(unicode_form="none").clean(dirty)[0] == "Ａ 酸"
    assert TextCleaner(control=False, white_space=False).clean(dirty)[0] == "A\u200b  酸"
    assert TextCleaner().clean("干净的句子，pH<7。") == ("干净的句子，pH<7。", set())


def test_short_sentences_are_told_apart_by_words_not_punctuation():
    article = ArticleCleaner(TextCleaner(), min_sentence_chars=4).clean("————————\n前言\n盐酸和水。\n3.14。\n2024年")
    assert article.sentences == ["盐酸和水。", "2024年"]
    assert article.too_short == ["————————", "前言", "3.14。"]


def test_an_endless_line_becomes_lines_of_bounded_length():
    article = ArticleCleaner(TextCleaner(), max_sentence_chars=100).clean("酸，" * 300_000)
    assert sum(map(len, article.sentences)) == 600_000
    assert max(map(len, article.sentences)) == 100
    assert "cut" in article.changed

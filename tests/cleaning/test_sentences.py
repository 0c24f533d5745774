"""Sentence splitting: what is an end and what only looks like one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chemkd_tf.cleaning.sentences import cut_long, split_sentences

MARKS = "。！？；…，、：!?;.,:\"'“”‘’（）()【】《》 0123abcABC酸碱盐等-³\u0301"
chinese_text = st.text(st.sampled_from(MARKS), max_size=60)


# "|" marks where a person would divide.
@pytest.mark.parametrize(
    "marked",
    [
        "盐酸有腐蚀性。|操作时应戴手套！|为什么？|见下文；|否则停车。",
        "他说：“加水。”|然后离开。",
        "（见附录A。）|下一步加碱。",
        '标签写着"小心!"|不要打开。',
        '他问"好吗?"|她答"好。"|然后走了。',
        "真的吗？！|是的！！！|好。",
        "等等……|后来停了。",
        "pH为3.5，见No.1和https://example.com/a?b=1;c=2!d，温度25.0℃。|完毕",
        "体积为1.5 mL;|密度为0.8 g/mL;|易溶于水.|加热后分解",
        "甲苯、乙苯……等溶剂",
        "第一章·…·…·…·12",
        "远离服装/……/可燃物",
        "措辞为“由……制备”（……地点）",
        "浓度为0.1…0.5之间",
        "溶剂（例如水；乙醇；丙酮）均可；|温度任意。",
        "1)盐酸；|2)硫酸（浓；稀）；|3)硝酸",
        "1. 总则",
        "技术如下：1. Ruby 2. Rails and Java. |Others 3.5. Than that",
        "附录A. 术语",
        "产品名称: 1,2-二氯乙烷; |CAS号: 107-06-2;|含量>99%",
        "1,2;3,4-二亚甲基",
        "The acid is strong. |It reacts with Dr. Smith's base at 3.5 bar, e.g. NaOH etc. The rest stays.",
        "See Fig. A and ref. B for E. Coli of the U.S. Agency",
        "if (a != b) return x?y:z",
        "版本v2.0.1.加热",
        "水!|加热?|是的",
        "。",
    ],
)
def test_sentences_end_where_a_person_ends_them(marked):
    expected = [sentence.strip() for sentence in marked.split("|")]
    assert split_sentences(marked.replace("|", "")) == expected


def test_a_sentence_that_stands_alone_is_untouched():
    for sentence in ("水是溶剂。", "没有标点的标题", "（一）范围", "“好。”", "A > B; ", "…"):
        assert split_sentences(sentence) == [sentence.strip()]


@settings(max_examples=500)
@given(chinese_text)
def test_splitting_loses_nothing_but_white_space_and_splits_no_sentence_again(text):
    sentences = split_sentences(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    for sentence in sentences:
        assert sentence and sentence == sentence.strip()
        assert split_sentences(sentence) == [sentence]


@settings(max_examples=300)
@given(st.text(max_size=200), st.integers(2, 40))
def test_cutting_loses_nothing_but_white_space_and_keeps_to_the_limit(text, max_chars):
    pieces = cut_long(text, max_chars)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(0 < len(piece) <= max_chars for piece in pieces)


def test_a_long_sentence_is_cut_behind_a_comma_then_at_white_space_then_hard():
    assert cut_long("甲乙丙丁戊，己庚辛，壬癸子丑", 10) == ["甲乙丙丁戊，己庚辛，", "壬癸子丑"]
    assert cut_long("水温 1,000度 水压 2,000帕", 12) == ["水温 1,000度", "水压 2,000帕"]
    assert cut_long("一" * 25, 10) == ["一" * 10, "一" * 10, "一" * 5]
    assert cut_long("短句，不动", 5) == ["短句，不动"]
    assert cut_long("一二三四五六七八90³", 10) == ["一二三四五六七八9", "0³"]


def test_a_million_characters_without_a_mark_or_with_nothing_else_are_no_trouble():
    # Linear time is the point; quadratic, each of these would run for hours.
    for text in (
        "酸" * 10**6,
        "（" * 10**6,
        "；" * 10**6,
        "（；" * 300_000,
        '"' * 10**6,
        "…" * 10**6 + "0",
        "!" * 10**6 + "a",
    ):
        pieces = [piece for sentence in split_sentences(text) for piece in cut_long(sentence, 512)]
        assert sum(map(len, pieces)) == len(text)

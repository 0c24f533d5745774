"""What may change in a text, and what may be put in."""

import pytest

from chemkd_tf.errors import InputError
from chemkd_tf.text.lexicon import Lexicon
from chemkd_tf.text.protection import Protection, read_protected_words


@pytest.fixture(scope="module")
def lexicon():
    return Lexicon()


def changing(protection, marked: str) -> str:
    """The words of `marked` (parted by |) that may change."""
    words = marked.split("|")
    answers = protection.changeable(words)
    assert len(answers) == len(words)
    return "|".join(word for word, answer in zip(words, answers, strict=True) if answer)


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        ("加热|到|15|℃|以下|，|超过|规定", "加热|到|规定"),
        ("编号|UN1230|，|代码|67-56-1|。", "编号|代码"),
        ("浓度|为|0.5|mol|/|L|的|H2SO4", "浓度|为|的"),
        ("A型|设备|，|T恤|ＡＢ|①|α", "设备"),
        ("取|15| |毫升|溶液", "取|溶液"),
        ("第|3|类|危险品", "危险品"),
        ("种类|和|类|不同", "种类|和|类"),  # 类 is a unit only behind a number
        ("三|名|工人|，|第十六|版|，|十五|个", "工人"),
        ("两种|方法|，|一定|要|统一", "方法|一定|要|统一"),
        ("浓硫酸|和|三氯甲烷|，|氧化物|酸性|气体", "和|酸性|气体"),
        ("无色|液体|，|不|适用|设备|，|未|发现|火源", "液体|设备|火源"),
        ("严禁|烟火|，|不得|带入", "烟火|带入"),
        ("负责|\n|检修| |\u3000", "负责|检修"),
    ],
)
def test_numbers_units_formulae_substances_and_negations_stay(lexicon, marked, expected):
    assert changing(Protection(lexicon), marked) == expected


def test_whatever_overlaps_a_word_of_the_users_stays(lexicon):
    protection = Protection(lexicon, ["反应釜", "检", "急预"])
    assert changing(protection, "检修|反应|釜|的|反应|，|应急|预案|演练") == "的|反应|演练"
    assert not protection.may_be_put_in("检查")
    assert protection.may_be_put_in("维修")


def test_no_number_formula_substance_or_negation_is_put_in(lexicon):
    protection = Protection(lexicon)
    for word in ("三", "第一", "甲醇", "硫酸", "不能", "无法", "未来", "严禁", "H2O", "A型", "，", " ", ""):
        assert not protection.may_be_put_in(word), word
    for word in ("设备", "检查", "的", "类", "将来"):
        assert protection.may_be_put_in(word), word


def test_protected_words_are_read_a_line_each(tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeff易燃\r\n\n 剧毒 \n".encode())
    assert read_protected_words(str(path)) == ["易燃", "剧毒"]


@pytest.mark.parametrize(
    ("content", "message"), [(None, "can't be read"), (b"\xff\xfe", "not UTF-8"), (b"\n \n", "no word in it")]
)
def test_bad_files_are_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"--protected_words={path}: {message}"):
        read_protected_words(str(path))

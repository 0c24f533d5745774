"""What no variant of a text may touch: a label may hang on a number, a formula or a negation."""

import re
from collections.abc import Sequence

from chemkd_tf.errors import InputError
from chemkd_tf.text.lexicon import NUMERAL_CLASS, Lexicon, is_chinese

_NUMERALS = frozenset("零一二三四五六七八九十百千万亿两壹贰叁肆伍陆柒捌玖拾佰仟第")
_ENDS_IN_NUMBER = re.compile(r"[\d〇零一二三四五六七八九十百千万亿两壹贰叁肆伍陆柒捌玖拾佰仟]\s*$")
_NEGATIONS = tuple("不无非未没勿别莫否禁毋")
_NEGATING_WORDS = frozenset(("严禁", "切勿", "避免", "防止", "毫无", "并非", "从未", "尚未", "绝不", "决不", "杜绝"))
_COMPARISONS = frozenset(
    "大于 小于 高于 低于 多于 少于 等于 超过 超出 达到 至少 至多 最少 最多 最高 最低 最大 最小 "
    "以上 以下 以内 以外 之间".split()
)
# Of a substance's name: characters of which one says that a word is one, and those that may stand beside them.
_SUBSTANCE = frozenset(
    "氢氧氮氟氯溴碘硫磷碳硅硼砷硒碲氦氖氩氪氙锂钠钾铷铯铍镁钙锶钡铝镓铟铊锗锡铅锑铋铜银铂钯铑铱锇钌锌镉汞钛锆铪钒铌"
    "钽铬钼钨锰铼铁钴镍镧铈钍铀钚酸碱酯酮醇醛醚胺铵氨烷烯炔烃苯酚基酐腈氰肼肟脲胍吡啶嘧喹啉呋喃噻吩唑哌嗪吲哚萘蒽菲"
    "芴醌羟羧硝酰巯羰膦胂萜茚"
)
_BESIDE_SUBSTANCE = frozenset(
    "一二三四五六七八九十多单双过高亚次偏焦聚环正异新仲叔季邻间对反顺甲乙丙丁戊己庚辛壬癸化代合水物盐浓稀纯冰苛烧液"
)
_UNITS = frozenset(
    (
        "年 月 日 号 天 周 星期 小时 时 分 分钟 秒 秒钟 世纪 年代 岁 度 摄氏度 开 帕 千帕 兆帕 巴 大气压 "
        "伏 伏特 千伏 瓦 千瓦 兆瓦 安 安培 欧姆 赫兹 焦耳 千焦 大卡 克 千克 公斤 斤 吨 毫克 微克 纳克 升 毫升 微升 "
        "立方米 立方 米 千米 公里 厘米 毫米 微米 纳米 平方米 平方 公顷 亩 摩尔 转 倍 元 万元 美元 角 个 种 类 项 "
        "条 款 章 节 级 等 等级 类别 部分 部 批 次 版 版本 页 名 人 位 台 套 件 只 瓶 桶 "
        "罐 袋 箱 层 楼 届 期 份 家 所 座 辆 处 组 点 周岁 周年 个月"
    ).split()
)


class Protection:
    """Tells which words of a text may change, and which may be put in.

    Protected are all words that are not of ideographs alone: numbers (1.5), Latin words, formulae (H2SO4), codes
    (UN1230, 67-56-1), signs (℃), punctuation, white space. Of Chinese words: numbers (三, 第十六, and what the lexicon
    has as a numeral: 两种), units behind a number (15 毫升, 第3 类), comparisons (超过, 以下), substances (硫酸,
    三氯甲烷, 氧化物), negations (不, 无色, 未, 严禁), the word behind a negation of one character (不 适用), and what
    overlaps one of the user's words.

    Args:
        lexicon: knows the numerals.
        words: the user's protected words.
    """

    def __init__(self, lexicon: Lexicon, words: Sequence[str] = ()):
        self._lexicon = lexicon
        longest_first = sorted(set(words), key=lambda word: (-len(word), word))
        self._users = re.compile("|".join(map(re.escape, longest_first))) if words else None

    def changeable(self, words: Sequence[str]) -> list[bool]:
        """Returns for each of a text's words, which are the whole text when joined, whether it may change."""
        text = "".join(words)
        touched = [False] * len(text)
        for match in self._users.finditer(text) if self._users else ():
            touched[match.start() : match.end()] = [True] * (match.end() - match.start())
        answers, start, before, last = [], 0, "", ""
        for word in words:
            end = start + len(word)
            belongs_to_last = (word in _UNITS and _ENDS_IN_NUMBER.search(before)) or last in _NEGATIONS
            answers.append(self._is_free(word) and not belongs_to_last and not any(touched[start:end]))
            start, before, last = end, (before + word)[-8:], word
        return answers

    def may_be_put_in(self, word: str) -> bool:
        """Whether `word` may take another's place: no number, comparison, substance or negation, none of the user's."""
        return self._is_free(word) and not (self._users and self._users.search(word))

    def _is_free(self, word: str) -> bool:
        return (
            is_chinese(word)
            and not _names_substance(word)
            and not word.startswith(_NEGATIONS)
            and word not in _NEGATING_WORDS
            and word not in _COMPARISONS
            and self._lexicon.class_of(word) != NUMERAL_CLASS
            and not _NUMERALS.issuperset(word)
        )


def _names_substance(word: str) -> bool:
    characters = set(word)
    return not _SUBSTANCE.isdisjoint(characters) and characters <= _SUBSTANCE | _BESIDE_SUBSTANCE


def read_protected_words(path: str) -> list[str]:
    """Reads a file with a word a line, UTF-8; empty lines are passed over.

    Raises:
        InputError: it can't be read, is not UTF-8, or has no word.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            words = [line.strip() for line in file if line.strip()]
    except OSError as error:
        raise InputError(
            f"--protected_words={path}: can't be read ({error.strerror}); name a file with a word a line"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"--protected_words={path}: not UTF-8: save it as UTF-8") from None
    if not words:
        raise InputError(f"--protected_words={path}: no word in it; write one a line")
    return words

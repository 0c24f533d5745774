"""Writes hard_cases.json: texts that tokenisers get wrong, with the ids that BertTokenizer gives them.

The page's tokeniser is tested against this file (`node --test`), so that neither of the two needs the other to be
installed. `PYTHONPATH=. python web/test/make_hard_cases.py` writes it again; a test says when that is due.
"""

import hashlib
import json
import pathlib

from chemkd_tf.atomic import atomic_write
from chemkd_tf.text.tokenization import BertTokenizer
from chemkd_tf.text.vocabulary import vocabulary_of

FILE = pathlib.Path(__file__).with_name("hard_cases.json")
ROW_LENGTH = 8  # `max_seq_length` of the rows
LONG_ROW = 300  # Of more ids than these only their number and digest are kept.

# "##。", "[unused1]" and entries with capitals or accents can't be reached by lower-cased text.
_PIECES = (
    "的 一 是 在 中 化 学 反 应 釜 温 度 酸 水 豈 𠀀 𪜀 𰀀 a b c x h 2 so 4 na ##oh ##2 ##so ##4 ##a ##b ##x ##℃ ℃ 15 "
    "un ##used ##1 ##known mask sep cls pad unk e ##e i ##i σ ς ##ς ##σ ο ##ο d ##d don t mail $ + = < > ^ ` | ~ [ ] # "
    "( ) （ ） ， 。 . - @ 、 “ ” ％ ア ##ア カ ##ー 가 ᄀ ##ᅡ ａ ##ｂ ０ ##１ h2so h2 ##so4 co ##oh ##℃b 😀 ##😀 👩 🔬 "
    "straße ##ß s ##s ß fi ﬁ ##n [unused1] ##。 A B ##B É C ##C E ##E S ##O ##4 N ##a İ ı ##ı ş 3"
).split()
VOCABULARY = vocabulary_of(dict.fromkeys(_PIECES))

# A text is a list of (string, how often).
CASES: dict[str, list[tuple[str, int]]] = {
    "nothing": [],
    "white space only": [(" \t\u3000\u00a0 \n", 1)],
    "a sentence": [("反应釜的温度是15℃，在水中。", 1)],
    "every space": [("a\u3000a\u00a0b\u1680c\u2003a\u2028c\u2029a\tb\r\nc\u202fa\u205fb", 1)],
    "line and paragraph separators": [("中\u2028学\u2029a\u2028\u2028b", 1)],
    "control characters": [("a\x00b\x01c \x0b\x0ca\x1b[0m\x7fb\x80\x85c\x9fa\x1c\x1d\x1e\x1fb", 1)],
    "zero width": [("a\u200bb\u200ca\u200db\ufeffa\u2060b\u00adc\u061ca\u180eb", 1)],
    "byte-order mark first": [("\ufeff化学", 1)],
    "replacement characters": [("a\ufffdb\ufffd\ufffd中", 1)],
    "noncharacters and private use": [("a\ufffeb a\uffff a\ue000b \U000f0000 \U0010ffff", 1)],
    "literal special tokens": [("[MASK] [SEP][CLS] [PAD] [UNK] [unused1] [mask]", 1)],
    "number signs": [("##a ##的 # # ## #a# ##oh", 1)],
    "emoji": [("检修😀😀水 a😀 👩\u200d🔬 👍🏽 🇨🇳 1\ufe0f\u20e3 ☢️", 1)],
    "ideographs of plane 2": [("\U00020000a\U0002a6df中\U0002a700\U0002b820\U0002ceaf\U0002f800\U0002fa1d", 1)],
    "ideographs of plane 3": [("\U00030000\U00031350a中\U00030000", 1)],
    "ideographs beside the ranges": [("\u4dc0a\u9fff\ua000a\u2e80\u2f00a\u3005\u3007a\U0002cea1\U0002ebe0a", 1)],
    "compatibility ideographs": [("豈更\U0002f800\uf900\ufa0e", 1)],
    "lone accents": [("\u0301 \u0301\u0301 a\u0301 中\u0301a", 1)],
    "accents": [("É é e\u0301 Å \u212b ñ ȷ\u0301 ở ά", 1)],
    "accents in another order": [("a\u0323\u0302 a\u0302\u0323 a\u20d0b \u0903a", 1)],
    "accents on symbols": [("≠ \u226f =\u0338 <\u0338 ⊄", 1)],
    "characters that decompose into ASCII": [("\u037e \u1fef \u2000a \u0387 \u2126", 1)],
    "Turkish": [("İ I ı i İstanbul IŞIK ış \u0130\u0307 i\u0307", 1)],
    "sigma": [("ΟΣ ΣΟ Σ ΟΣ. Ο.Σ ΟΣ中 ΟΣ\u0301 ΟΣ\u00adΟ Ο\u200bΣ ΟΣ'Ο ΑΣ1", 1)],
    "sharp s and ligatures": [("STRASSE straße ẞ ﬁn ŉ ǰ ΐ", 1)],
    "titlecase and rare capitals": [("ǅ Ǆ ǆ Ⅷ Ⓐ Ა ᏸ Ꭰ ꭰ 𐐀 Ⴀ", 1)],
    "full width": [("Ｈ２，（ａ）ａｂ ０１ ％ ！？；：“”、", 1)],
    "half width": [("ｱｶﾞ｡｢｣､･", 1)],
    "kana": [("アカー ガ か\u3099 ヷ", 1)],
    "hangul": [("가 각 한국어 ᄀ\u1161", 1)],
    "formulae": [("H2SO4 NaOH C2H5OH 15℃ 15°C Na₂CO₃ x²  CH3COOH 2H₂O", 1)],
    "symbols": [("don't e-mail@x.y $5+3=8 ^`|~<> €5 ×3 ÷ ± ‰ § © ™ ℃b", 1)],
    "Unicode punctuation": [("a‘b’c…—–·«»¡¿‿⁀〈〉【】〜〝﹏︰", 1)],
    "unknown words": [("zzz unknown unknownz az z", 1)],
    "right to left": [("\u202eabc\u202c \u0627\u0644 \u05d0\u05b0 a", 1)],
    "indic marks": [("कि क्ष ก็ a\u0e31 \u0f7e\u0f71a", 1)],
    "half a surrogate pair": [("a\ud800b \udc00中\udfff", 1)],
    "halves kept apart": [("\ud83d\u200b\ude00 \ud83d \ude00 \ud83da\ude00", 1)],
    "halves in the wrong order": [("\ude00\ud83d a\ud83d😀\ude00b", 1)],
    "199 characters": [("a", 199)],
    "200 characters": [("a", 200)],
    "201 characters": [("a", 201)],
    "200 characters of two code units": [("b ", 1), ("😀", 200), (" c", 1)],
    "201 characters of two code units": [("b ", 1), ("😀", 201), (" c", 1)],
    "accents do not count": [("a\u0301", 200), (" b", 1)],
    "accented and too long": [("é", 201), (" b", 1)],
    "decomposed to more than 200": [("가", 101), (" b", 1)],
    "dropped characters do not count": [("a\u200b", 200)],
    "ideographs have no length": [("的", 250)],
    "long among punctuation": [("，", 30), ("a", 201), ("。", 1), ("b", 200)],
    "10,000 characters": [("化学反应釜的温度是15℃，", 769), ("水水水", 1)],
    "one word of 10,000 characters": [("a", 10_000)],
    "10,000 characters without an entry": [("的z", 5_000)],
}


def text_of(parts: list[tuple[str, int]]) -> str:
    """Returns the text; it may hold halves of surrogate pairs, as a string of JavaScript may."""
    return "".join(string * count for string, count in parts)


def utf8(text: str) -> bytes:
    """Returns the text as the Python tokeniser gets it; what isn't a character is invalid UTF-8 there."""
    return text.encode("utf-8", "surrogatepass")


def answer(ids: list[int]) -> dict:
    """Returns the ids, or of many their number and the SHA-256 of their decimals joined by commas."""
    if len(ids) <= LONG_ROW:
        return {"ids": ids}
    return {"num_ids": len(ids), "sha256": hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()}


def make() -> dict:
    """Returns what hard_cases.json holds."""
    texts = [utf8(text_of(parts)) for parts in CASES.values()]
    cases = []
    for do_lower_case in (True, False):
        tokenizer = BertTokenizer(VOCABULARY, do_lower_case)
        rows = tokenizer.encode(texts, ROW_LENGTH)["token_ids"].numpy().tolist()
        for (name, parts), ids, row in zip(CASES.items(), tokenizer.tokenize(texts).to_list(), rows, strict=True):
            row = row[: len(ids) + 2]  # without padding
            cases.append({"name": name, "do_lower_case": do_lower_case, "parts": parts, "row": row, **answer(ids)})
    return {"vocabulary": list(VOCABULARY.tokens), "row_length": ROW_LENGTH, "cases": cases}


def text() -> str:
    """Returns the file's text, ASCII: a lone half of a surrogate pair has no UTF-8. A case takes a line."""
    content = make()
    cases = ",\n".join("    " + json.dumps(case) for case in content.pop("cases"))
    head = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items())
    return f'{{\n{head},\n  "cases": [\n{cases}\n  ]\n}}\n'


if __name__ == "__main__":
    with atomic_write(str(FILE)) as file:
        file.write(text())
    print(f"{len(CASES)} texts, with and without lower-casing: {FILE}")

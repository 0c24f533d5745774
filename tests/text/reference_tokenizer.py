"""FullTokenizer's rules (google-research/bert, tokenization.py) restated in plain Python: the oracle of the tests.

Independent of the code under test: no TensorFlow, one character at a time, the rules as numbered below.

    1. Undecodable bytes, U+0000, U+FFFD and every control or format character (Cc, Cf) vanish; tab, newline, carriage
       return and every space separator (Zs) become a space.
    2. A space goes on both sides of every character of the eight CJK ideograph ranges.
    3. Split at white space (Python's, which adds U+2028 and U+2029).
    4. With lower-casing: lower, NFD, drop non-spacing marks (Mn).
    5. Every punctuation character is a word of its own: category P*, and all ASCII symbols.
    6. Greedy longest match first, "##" before every piece but the first; a word of more than 200 characters, or one
       that can't be matched to its end, is [UNK].
"""

import unicodedata

IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
LONGEST_WORD = 200


def is_ideograph(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in IDEOGRAPHS)


def is_punctuation(character: str) -> bool:
    if character.isascii():
        return character.isprintable() and not character.isalnum() and character != " "
    return unicodedata.category(character)[0] == "P"


def clean(text: str) -> str:
    kept = []
    for character in text:
        category = unicodedata.category(character)
        if character in "\t\n\r" or category == "Zs":
            kept.append(" ")
        elif category not in ("Cc", "Cf") and character != "\ufffd":
            kept.append(character)
    return "".join(kept)


def words(text: str | bytes, do_lower_case: bool = True) -> list[str]:
    if isinstance(text, bytes):
        text = text.decode("utf-8", "ignore")
    spaced = "".join(f" {c} " if is_ideograph(c) else c for c in clean(text))
    result = []
    for chunk in spaced.split():
        if do_lower_case:
            decomposed = unicodedata.normalize("NFD", chunk.lower())
            chunk = "".join(c for c in decomposed if unicodedata.category(c) != "Mn")
        word = ""
        for character in chunk:
            if is_punctuation(character):
                result += [word, character]
                word = ""
            else:
                word += character
        result.append(word)
    return " ".join(result).split()


def pieces_of_word(word: str, entries: set[str] | dict[str, int]) -> list[str]:
    if len(word) > LONGEST_WORD:
        return ["[UNK]"]
    pieces = []
    rest = word
    while rest:
        prefix = "##" if pieces else ""
        for length in range(len(rest), 0, -1):
            if prefix + rest[:length] in entries:
                pieces.append(prefix + rest[:length])
                rest = rest[length:]
                break
        else:
            return ["[UNK]"]
    return pieces


def tokenize(text: str | bytes, entries: set[str] | dict[str, int], do_lower_case: bool = True) -> list[str]:
    return [piece for word in words(text, do_lower_case) for piece in pieces_of_word(word, entries)]

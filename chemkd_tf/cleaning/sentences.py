"""Running Chinese text, with the odd English sentence in it, to sentences."""

import re
import unicodedata

_CJK = r"\u2e80-\u303f\u3041-\u9fff\uf900-\ufaff\uff00-\uff9f“‘"
_CLOSERS = frozenset("”’）)」』】》〉〕］]〗｝}")
_FULL_STOPS = frozenset("。｡！？；…!?")
# A sentence's end, by how sure it is. Every kind begins with one of a few characters, which makes the search quick, and
# looks back on it. An ellipsis that a list, a range or a mark goes on after is no end, nor is the dot after a number.
_END = re.compile(
    rf"""[。｡！？!?…；;.](?:
    (?P<strong>(?<=[。｡！？])|(?<=[!?])(?=[!?]{{0,9}}(?:\s|$|[{_CJK}”’"）)」』】》])))
    |(?P<ellipsis>(?<=…)(?<!……)…*+(?=\s|$|[\u3400-\u9fff“‘"（(【《])(?!等))
    |(?P<weak>(?<=；)|(?<=;)(?=\s|$|[{_CJK}]))
    |(?P<dot>(?<=[\u3400-\u9fff”’」』》]\.)\.*+(?=\s|[{_CJK}])|(?<=[a-z)\]%"']\.)(?=\s++["'(\[“‘]?[A-Z])))""",
    re.VERBOSE,
)
_BRACKET = re.compile(r"[（(【\[［〔｛{“「『《]|[）)】\]］〕｝}”」』》]")
_OPENING = frozenset("（(【[［〔｛{“「『《")
_WORD_BEFORE = re.compile(r"[A-Za-z]+$")
_ABBREVIATIONS = frozenset(
    "al approx art ca cf ch co corp dept dr ed eds eq eqs etc ex fig figs inc jr ltd max min mr mrs ms mt no nos op pp "
    "prof ref refs resp sec sr st tab vol vs".split()
)
_SHORTEST_BEFORE_DOT = 4  # "1. ", "甲. ", "第一. " number something; they end nothing.
_COMMA = re.compile(r"[，、：；。！？…]|[,;:!?](?![0-9])")
_SPACE = re.compile(r"\s")
_SUPERSCRIPTS = frozenset("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ")


def split_sentences(paragraph: str) -> list[str]:
    """Splits one paragraph after 。！？；… and their ASCII relatives.

    Closing quotation marks and brackets stay with their sentence, a row of marks is one end. ASCII marks count only
    where more text follows that can't belong to them (white space or a Chinese character), so that decimals, URLs,
    "No.1" and file names stay whole; a full stop must also follow a Chinese character, or a word that is no
    abbreviation and be followed by a capital. A semicolon or an ellipsis within brackets or quotation marks ends
    nothing, nor does an ellipsis that a list or a range goes on after.

    Args:
        paragraph: text without line breaks.

    Returns:
        The sentences, stripped, none empty; what is split already comes back as it is.
    """
    sentences = []
    start = counted = depth = 0
    for match in _END.finditer(paragraph):
        position = match.start()
        if position < start:
            continue
        if match.lastgroup in ("weak", "ellipsis"):
            for bracket in _BRACKET.finditer(paragraph, counted, position):
                depth = max(0, depth + (1 if bracket[0] in _OPENING else -1))
            counted = position
            if depth:
                continue
        elif match.lastgroup == "dot" and not _ends_sentence(paragraph[start:position]):
            continue
        end = _take_closers(paragraph, start, match.end())
        sentences.append(paragraph[start:end].strip())
        start = counted = end
        depth = 0
    sentences.append(paragraph[start:].strip())
    return [sentence for sentence in sentences if sentence]


def cut_long(sentence: str, max_chars: int) -> list[str]:
    """Cuts a sentence into pieces of at most `max_chars` characters.

    A piece ends behind the last comma in its second half, or else at the last white space there, or else hard, though
    not between a letter and its accents or a digit and its exponent.

    Args:
        sentence: text without line breaks, of any length.
        max_chars: at least 2.

    Returns:
        The pieces, stripped, none empty: `[sentence]` if it is short enough.
    """
    pieces = []
    start = 0
    while len(sentence) - start > max_chars:
        end = _cut_point(sentence, start, start + max_chars)
        pieces.append(sentence[start:end].strip())
        start = end
    pieces.append(sentence[start:].strip())
    return [piece for piece in pieces if piece]


def _ends_sentence(before: str) -> bool:
    """Whether a full stop behind `before`, the sentence so far, may end it."""
    word = _WORD_BEFORE.search(before[-12:])
    abbreviated = word is not None and (len(word[0]) == 1 or word[0].lower() in _ABBREVIATIONS)
    return len(before.lstrip()) >= _SHORTEST_BEFORE_DOT and not abbreviated


def _take_closers(paragraph: str, start: int, end: int) -> int:
    """Moves the end of the sentence that began at `start` behind the marks that belong to it."""
    quotes = None
    while end < len(paragraph):
        character = paragraph[end]
        if character == '"':
            # A straight quotation mark closes if an odd number of them stands before it in the sentence.
            quotes = paragraph.count('"', start, end) if quotes is None else quotes
            if quotes % 2 == 0:
                break
            quotes += 1
        elif character not in _CLOSERS and character not in _FULL_STOPS:
            break
        end += 1
    return end


def _cut_point(sentence: str, start: int, limit: int) -> int:
    middle = (start + limit + 1) // 2
    for pattern in (_COMMA, _SPACE):
        # One character more is searched, so that the lookahead sees it; a match on it lies behind the limit.
        ends = [match.end() for match in pattern.finditer(sentence, middle, limit + 1) if match.end() <= limit]
        if ends:
            return ends[-1]
    for end in range(limit, middle, -1):
        if sentence[end] not in _SUPERSCRIPTS and not unicodedata.combining(sentence[end]):
            return end
    return limit

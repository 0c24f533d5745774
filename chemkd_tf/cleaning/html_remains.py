"""What HTML leaves behind in text: tags, comments, scripts, entities. A `<` that compares two things stays."""

import html
import html.entities
import re

# Tags by what stands in their place: a block ends a paragraph, a cell ends a word, anything else leaves no trace.
_BLOCKS = (
    "address|article|aside|blockquote|body|br|caption|center|dd|details|dialog|dir|div|dl|dt|fieldset|figcaption|figure|"
    "footer|form|frame|frameset|h[1-6]|head|header|hgroup|hr|html|iframe|legend|li|link|main|menu|meta|nav|noframes|"
    "noscript|ol|optgroup|option|p|pre|script|section|style|summary|table|tbody|tfoot|thead|title|tr|ul"
)
_CELLS = "td|th"
_INLINE = (
    "a|abbr|acronym|area|audio|b|base|basefont|bdi|bdo|big|button|canvas|cite|code|col|colgroup|data|datalist|del|dfn|"
    "em|embed|font|i|img|input|ins|kbd|label|map|mark|marquee|meter|nobr|object|output|param|picture|progress|q|rp|rt|"
    "ruby|s|samp|select|small|source|span|strike|strong|sub|sup|svg|template|textarea|time|track|tt|u|var|video|wbr"
)
# An attribute has a value or is one of those that never have: `x<a and b>c` is no tag.
_ATTRIBUTES = (
    r"(?:\s++(?:[a-z_:@][a-z0-9_:.@-]*+\s*+=\s*+(?:\"[^\"<]*+\"|'[^'<]*+'|[^\s\"'<>=`]++)"
    r"|(?:allowfullscreen|async|autofocus|autoplay|checked|compact|controls|default|defer|disabled|hidden|ismap|loop|"
    r"multiple|muted|noresize|noshade|nowrap|open|readonly|required|reversed|selected)(?![a-z0-9_:.-])))*+"
)
_TAG = re.compile(
    rf"</?(?:(?P<block>{_BLOCKS})|(?P<cell>{_CELLS})|(?:{_INLINE}))(?![a-z0-9_:.-]){_ATTRIBUTES}\s*+/?>"
    r"|</[a-z][a-z0-9_:.-]*+\s*+>"  # Any closing tag: text has no other use for `</name>`.
    rf"|<[a-z][a-z0-9]*+:[a-z][a-z0-9_.-]*+{_ATTRIBUTES}\s*+/?>"  # Word processors' <o:p>, <w:LsdException ...>.
    r"|<!doctype(?![a-z])[^<>]*+>|<\?xml[^<>]*+>|<!\[(?:if|endif)[^<>]*+>|<!\[cdata\[|\]\]>|<!--",
    re.IGNORECASE | re.ASCII,
)
_SPANS = tuple(
    (re.compile(opening, re.IGNORECASE), re.compile(closing, re.IGNORECASE), replacement)
    for opening, closing, replacement in (
        (r"<!--", r"-->", ""),
        (r"<script(?![a-z0-9_:.-])[^<>]*>", r"</script\s*>", "\n"),
        (r"<style(?![a-z0-9_:.-])[^<>]*>", r"</style\s*>", "\n"),
    )
)
_POWER = re.compile(r"(?<=\d)<sup>\s*([-+−]?\d+)\s*</sup>", re.IGNORECASE | re.ASCII)
_SUPERSCRIPTS = str.maketrans("0123456789+-−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻")
_ESCAPED_AMPERSAND = re.compile(r"&(?:(?:amp|#0*38|#x0*26);)+", re.IGNORECASE)
# With their semicolon: `AT&T` and `?a=1&copy=2` are no entities. Only &nbsp is common without.
_ENTITY = re.compile(r"&(?:#[0-9]{1,7};|#[xX][0-9a-fA-F]{1,6};|[A-Za-z][A-Za-z0-9]{1,31};|nbsp(?![A-Za-z0-9]))")


def remove_html(text: str) -> str:
    """Removes what HTML left in `text`.

    Comments, scripts and styles go with their content, tags go and their content stays, entities become the characters
    that they name. A tag has the name of an HTML element (or any name, if it closes) and attributes with values, so the
    `<` of "pH<7" or "x<y 且 y>z" stays. An exponent, as in `10<sup>3</sup>`, becomes a superscript: 10³, not 103.

    Args:
        text: an article or part of one.

    Returns:
        The text with a line break where a block ended. What entities spelt out may again be HTML: callers repeat the
        call until nothing changes.
    """
    if "<" in text:
        text = _POWER.sub(lambda match: match[1].translate(_SUPERSCRIPTS), text)
        for opening, closing, replacement in _SPANS:
            text = _drop_spans(text, opening, closing, replacement)
        text = _TAG.sub(_in_place_of_tag, text)
    if "&" in text:
        text = _ENTITY.sub(_character, _ESCAPED_AMPERSAND.sub("&", text))
    return text


def _drop_spans(text: str, opening: re.Pattern, closing: re.Pattern, replacement: str) -> str:
    """Drops what stands from `opening` to `closing`; one that is never closed is left, and nothing is read twice."""
    kept, position = [], 0
    while (start := opening.search(text, position)) and (end := closing.search(text, start.end())):
        kept += [text[position : start.start()], replacement]
        position = end.end()
    return "".join(kept) + text[position:] if kept else text


def _in_place_of_tag(match: re.Match) -> str:
    return "\n" if match["block"] else " " if match["cell"] else ""


def _character(match: re.Match) -> str:
    entity = match[0]
    # unescape takes a known name's beginning for the whole (&notit; is ¬it;): only whole names are wanted here.
    known = entity[1] == "#" or entity[1:].rstrip(";") + ";" in html.entities.html5
    return html.unescape(entity) if known else entity

"""The figures of benchmarks/inference.py as Markdown.

    python -m benchmarks.inference_table docs/results/inference.json docs/inference.md

puts the tables between the document's marks; a test sees to it that they agree.
"""

import json
import re
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.inference_cells import CELLS, IDS, TOKENS
from benchmarks.inference_figures import TARGETS
from benchmarks.inference_profile import PARTS
from benchmarks.inference_runtimes import RUNTIMES
from chemkd_tf.atomic import atomic_write

_MISSING = "–"
_MARKS = re.compile(r"(<!-- inference tables -->\n).*?(<!-- end of inference tables -->)", re.DOTALL)
_RATIOS = {
    "latency_ratio_bert_base": "one text, BERT-base over ours, ONNX Runtime fp32",
    "latency_ratio_tinybert": "one text, TinyBERT over ours, ONNX Runtime fp32",
    "throughput_ratio_bert_base": "32 texts, BERT-base over ours, ONNX Runtime fp32",
    "throughput_ratio_tinybert": "32 texts, TinyBERT over ours, ONNX Runtime fp32",
    "best_latency_ratio_bert_base": "one text, BERT-base in fp32 over our best artefact",
    "size_ratio_bert_base": "bytes, BERT-base in fp32 over ours in int8",
    "size_ratio_tinybert": "bytes, TinyBERT over ours, both in int8",
}


def table(results: dict[str, Any]) -> str:
    """All tables; what was not measured has no column.

    Args:
        results: what benchmarks/inference.py writes.
    """
    parts = [_conditions(results), *([ratios(results["summary"])] if results["summary"] else [])]
    for title, make in (
        ("Served: 128 tokens and the corpus's lengths", _served),
        ("Milliseconds a text by tokens, from ids, one text a call (median)", lambda found: _by_tokens(found, 1)),
        ("Texts a second by tokens, from ids, 32 texts a call", lambda found: _by_tokens(found, 32)),
        ("Texts a second by tokens, from ids, 256 texts a call", lambda found: _by_tokens(found, 256)),
        ("Where the time goes: milliseconds of a call of 128 tokens by ONNX Runtime's profile", _profile),
    ):
        made = make(results)
        if made:
            parts.append(f"{title}:\n\n{made}")
    return "\n\n".join(parts)


def write_into(document: str, results: dict[str, Any]) -> None:
    """Puts the tables between the marks of a Markdown file.

    Raises:
        SystemExit: no marks in it.
    """
    with open(document, encoding="utf-8") as file:
        text = file.read()
    if not _MARKS.search(text):
        sys.exit(f"error: {document}: no line <!-- inference tables --> in it, with its end")
    shown = table(results)
    with atomic_write(document) as file:
        file.write(_MARKS.sub(lambda found: f"{found[1]}{shown}\n{found[2]}", text))


def between_marks(text: str) -> str:
    """What a document shows."""
    return _MARKS.search(text)[0].split("\n", 1)[1].rsplit("\n", 1)[0]


def _conditions(results: dict[str, Any]) -> str:
    speeds = results["tokeniser"]
    lengths = results["corpus_tokens"]
    return (
        f"{results['processor']}; {results['threads']} threads, {results['rounds']} rounds, load "
        f"{results['load_before']:.1f} before and {results['load_after']:.1f} after. The corpus's texts have "
        f"{lengths[len(lengths) // 2]} tokens in the median, {lengths[0]} to {lengths[-1]}. The tokeniser takes "
        f"{speeds['ours_microseconds']:.0f} microseconds for a text of 128 tokens (Hugging Face tokenizers: "
        f"{speeds['tokenizers_microseconds']:.0f})."
    )


def ratios(summary: dict[str, dict[str, Any]]) -> str:
    """What the others take in units of ours, beside floor and target: the first table."""
    rows = []
    for name, (floor, target) in TARGETS.items():
        if name in summary:
            found = summary[name]
            title = _RATIOS[name] + (f" ({_title(found['artefact'].split('/')[1])})" if "artefact" in found else "")
            spread = f"{found['lowest']:.1f} to {found['highest']:.1f}" if "lowest" in found else _MISSING
            fastest = f"{found['of_fastest']:.1f}" if "of_fastest" in found else _MISSING
            rows.append([title, f"{found['ratio']:.2f}", spread, fastest, f"{floor:g}", f"{target:g}"])
    return _markdown(["theirs over ours", "median round", "all rounds", "fastest calls", "floor", "target"], rows)


def _served(results: dict[str, Any]) -> str:
    columns: dict[str, Callable[[dict], str]] = {
        "MB": lambda side: f"{side['size_bytes'] / 1e6:.1f}",
        "peak memory, MB": lambda side: f"{side['peak_memory_bytes'] / 1e6:,.0f}",
        "ids, ms: p50": _cell("ids_128x1", "median_ms"),
        "p95": _cell("ids_128x1", "p95_ms"),
        "p99": _cell("ids_128x1", "p99_ms"),
        "string to label, ms": _cell("strings_128x1", "median_ms"),
        "corpus, ms: p50": _cell("strings_corpusx1", "median_ms"),
        "p95 ": _cell("strings_corpusx1", "p95_ms"),
        "texts/s by 32": _cell("strings_128x32", "texts_per_second"),
        "corpus, texts/s by 32": _cell("strings_corpusx32", "texts_per_second"),
        "spread": _cell("strings_128x1", "spread"),
    }
    return _by_side(results, columns)


def _by_tokens(results: dict[str, Any], batch_size: int) -> str:
    what = "median_ms" if batch_size == 1 else "texts_per_second"
    cells = [cell for cell in CELLS if cell.start == IDS and cell.batch_size == batch_size and cell.tokens in TOKENS]
    return _by_side(results, {f"{cell.tokens} tokens": _cell(cell.name, what) for cell in cells})


def _profile(results: dict[str, Any]) -> str:
    rows = [
        [
            results["titles"][side.split("/")[0]],
            _title(side.split("/")[1]),
            size,
            *(f"{parts[part]:.2f}" for part in PARTS),
        ]
        for side, found in results["profile"].items()
        for model, runtime in [side.split("/")]
        for size, parts in found.items()
    ]
    return _markdown(["model", "runtime", "texts", *PARTS], rows) if rows else ""


def _by_side(results: dict[str, Any], columns: dict[str, Callable[[dict], str]]) -> str:
    rows = []
    for side, found in results["results"].items():
        model, runtime = side.split("/")
        cells = [make(found) for make in columns.values()]
        if any(cell != _MISSING for cell in cells):
            rows.append([results["titles"][model], _title(runtime), *cells])
    used = [index for index in range(len(columns)) if any(row[index + 2] != _MISSING for row in rows)]
    if not used:
        return ""
    names = [list(columns)[index].strip() for index in used]
    return _markdown(["model", "runtime", *names], [row[:2] + [row[index + 2] for index in used] for row in rows])


def _cell(name: str, what: str) -> Callable[[dict], str]:
    def text(side: dict) -> str:
        if name not in side["cells"]:
            return _MISSING
        value = side["cells"][name][what]
        return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"

    return text


def _title(runtime: str) -> str:
    return RUNTIMES[runtime].title


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as opened:
        write_into(sys.argv[2], json.load(opened))

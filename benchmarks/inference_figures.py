"""What follows from the seconds that were measured: percentiles, throughput, ratios, and their spread."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.inference_cells import LATENCY, THROUGHPUT
from benchmarks.inference_models import OURS

REFERENCE = "bert_base"
REFERENCE_RUNTIME = "onnx_fp32"
TARGETS = {
    "latency_ratio_bert_base": (40, 45),
    "latency_ratio_tinybert": (3.3, 4),
    "throughput_ratio_bert_base": (100, 110),
    "throughput_ratio_tinybert": (8, 9),
    "best_latency_ratio_bert_base": (60, 60),
    "size_ratio_bert_base": (80, 80),
    "size_ratio_tinybert": (2.2, 2.2),
}


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all don't exceed (nearest rank).

    Args:
        values: at least one.
        share: above 0, at most 1.
    """
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


def cell_figures(rounds: Sequence[Sequence[float]], batch_size: int) -> dict[str, float]:
    """Figures of one cell of one model in one runtime.

    Args:
        rounds: seconds of the calls of each round.
        batch_size: texts of a call.

    Returns:
        Milliseconds of a call (`median_ms`, `p95_ms`, `p99_ms`, `fastest_ms`), `texts_per_second`, `num_calls`, and
        `spread`: the slowest round's median in units of the fastest round's.
    """
    seconds = [value for found in rounds for value in found]
    medians = [statistics.median(found) for found in rounds]
    median = statistics.median(medians)
    return {
        "median_ms": 1000 * median,
        "p95_ms": 1000 * percentile(seconds, 0.95),
        "p99_ms": 1000 * percentile(seconds, 0.99),
        "fastest_ms": 1000 * min(seconds),
        "texts_per_second": batch_size / median,
        "num_calls": len(seconds),
        "spread": max(medians) / min(medians),
    }


def ratio(theirs: Sequence[Sequence[float]], ours: Sequence[Sequence[float]]) -> dict[str, float]:
    """How many times as long theirs takes: the median over the rounds, each round's medians compared.

    Args:
        theirs: seconds of the calls of each round.
        ours: the same, of the same rounds.

    Returns:
        `ratio`, with `lowest` and `highest` round, and `of_fastest`: the fastest calls of all rounds compared, which
        other work on the machine disturbs least.
    """
    found = [
        statistics.median(their) / statistics.median(our) for their, our in zip(theirs, ours, strict=True)
    ]  # fmt: skip
    fastest = [min(value for each in rounds for value in each) for rounds in (theirs, ours)]
    return {
        "ratio": statistics.median(found),
        "lowest": min(found),
        "highest": max(found),
        "of_fastest": fastest[0] / fastest[1],
    }


def summary(measured: dict[str, dict[str, Any]], sizes: dict[str, int]) -> dict[str, dict[str, float]]:
    """The ratios of the acceptance, theirs over ours, those that what was measured allows.

    Args:
        measured: group to side ("model/runtime") to cell to seconds of the calls of each round.
        sizes: bytes by side.

    Returns:
        By name, as `ratio` returns them; sizes have `ratio` alone.
    """
    result = {}
    onnx = measured.get("onnx", {})
    for what, cell in (("latency", LATENCY), ("throughput", THROUGHPUT)):
        for peer in ("bert_base", "tinybert"):
            pair = [onnx.get(f"{model}/{REFERENCE_RUNTIME}", {}).get(cell.name) for model in (peer, OURS)]
            if all(pair):
                result[f"{what}_ratio_{peer}"] = ratio(*pair)
    best = best_artefacts(measured)
    if best:
        side, found = max(best.items(), key=lambda item: item[1]["ratio"])
        result["best_latency_ratio_bert_base"] = {**found, "artefact": side}
    for peer, theirs, ours in (("bert_base", "onnx_fp32", "onnx_int8"), ("tinybert", "onnx_int8", "onnx_int8")):
        pair = [sizes.get(f"{peer}/{theirs}"), sizes.get(f"{OURS}/{ours}")]
        if all(pair):
            result[f"size_ratio_{peer}"] = {"ratio": pair[0] / pair[1]}
    return result


def best_artefacts(measured: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Each of our artefacts against BERT-base in ONNX Runtime, fp32, one text from string to label.

    BERT-base is timed again in every group: only what took turns is compared.
    """
    found = {}
    for sides in measured.values():
        reference = sides.get(f"{REFERENCE}/{REFERENCE_RUNTIME}", {}).get(LATENCY.name)
        for side, cells in sides.items():
            if reference and side.startswith(f"{OURS}/") and LATENCY.name in cells:
                found[side] = ratio(reference, cells[LATENCY.name])
    return found


def json_line(found: dict[str, dict[str, float]]) -> dict[str, float]:
    """The ratios alone, rounded down to three digits behind the point: no floor is reached by rounding."""
    return {name: math.floor(1000 * found[name]["ratio"]) / 1000 for name in TARGETS if name in found}

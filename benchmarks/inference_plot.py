"""The figures of benchmarks/inference.py as a picture: by model and runtime, and against the number of tokens."""

import sys
from typing import Any

from benchmarks.inference_cells import LATENCY, TOKENS
from benchmarks.inference_figures import REFERENCE_RUNTIME
from benchmarks.inference_models import OURS
from benchmarks.inference_runtimes import RUNTIMES
from chemkd_tf.atomic import atomic_write

_COLOURS = {"bert_base": "#5b6770", "bert_6": "#8f9ba3", "tinybert": "#d98e04", OURS: "#0b7285"}


def plot(results: dict[str, Any], path: str) -> None:
    """Draws and writes a .png.

    Args:
        results: what benchmarks/inference.py writes.
        path: of the picture.

    Raises:
        SystemExit: matplotlib is missing.
    """
    try:
        import matplotlib
    except ModuleNotFoundError:
        sys.exit("error: the plot needs matplotlib: pip install -e '.[benchmark]'")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (bars, lines) = pyplot.subplots(1, 2, figsize=(13, 5), width_ratios=(1.7, 1), layout="constrained")
    for axes, draw in ((bars, _by_runtime), (lines, _by_tokens)):
        axes.set_yscale("log")  # before anything is drawn: bars then begin at the bottom
        draw(axes, results)
        axes.set_ylabel("milliseconds a text, median (log scale)")
        axes.grid(axis="y", which="major", alpha=0.3)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"One text a call; {results['processor'].split(',')[0]}, {results['threads']} threads")
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", dpi=120)
    pyplot.close(figure)


def _by_runtime(axes, results: dict[str, Any]) -> None:
    """A group of bars for each runtime: from string to label, 128 tokens; the dash is the 95th percentile."""
    sides = {name: found["cells"].get(LATENCY.name) for name, found in results["results"].items()}
    runtimes = [name for name in RUNTIMES if any(cell and side.endswith(f"/{name}") for side, cell in sides.items())]
    models = list(results["titles"])
    width = 0.8 / len(models)
    for position, model in enumerate(models):
        found = [(index, sides.get(f"{model}/{runtime}")) for index, runtime in enumerate(runtimes)]
        shown = [(index + (position - (len(models) - 1) / 2) * width, cell) for index, cell in found if cell]
        places, medians = [place for place, _ in shown], [cell["median_ms"] for _, cell in shown]
        axes.bar(places, medians, width, color=_COLOURS[model], label=results["titles"][model])
        tails = [cell["p95_ms"] for _, cell in shown]
        axes.scatter(places, tails, marker="_", color="black", s=30, linewidths=0.8)
        for place, median, tail in zip(places, medians, tails, strict=True):
            axes.annotate(f"{median:.3g}", (place, tail), (0, 3), textcoords="offset points", ha="center", fontsize=7)
    axes.set_xticks(range(len(runtimes)), ["\n".join(RUNTIMES[name].title.split()) for name in runtimes])
    axes.set_title("string to label, 128 tokens (dash: 95th percentile)")
    axes.legend(frameon=False, ncols=2, loc="upper right")
    drawn = [cell[key] for cell in sides.values() if cell for key in ("median_ms", "p95_ms")]
    axes.set_ylim(min(drawn) / 2, max(drawn) * 8)  # room for the legend


def _by_tokens(axes, results: dict[str, Any]) -> None:
    """A line for each model in ONNX Runtime, fp32."""
    for model, title in results["titles"].items():
        cells = results["results"].get(f"{model}/{REFERENCE_RUNTIME}", {"cells": {}})["cells"]
        shown = [(tokens, cells[f"ids_{tokens}x1"]["median_ms"]) for tokens in TOKENS if f"ids_{tokens}x1" in cells]
        if shown:
            axes.plot(*zip(*shown, strict=True), marker="o", color=_COLOURS[model], label=title)
    axes.set_xscale("log", base=2)
    axes.set_xticks(TOKENS, map(str, TOKENS))
    axes.set_xlabel("tokens")
    axes.set_title(f"ids to probabilities, {RUNTIMES[REFERENCE_RUNTIME].title}")

"""The figures of a comparison as Markdown: Table 2 (methods) and Table 3 (ablations) of the paper, by task and size."""

from typing import Any

from benchmarks.results_overview import overview

TITLES = {2: "Table 2: methods", 3: "Table 3: what is distilled, and from which layers"}
_COLUMNS = (
    "method", "student", "parameters", "bytes", "latency, ms", "accuracy", "macro-F1", "95 % interval",
    "share of teacher", "against {compare_with}", "p (Holm)", "distillation", "fine-tuning", "runs",
)  # fmt: skip
_MISSING = "–"


def tables(results: dict[str, Any]) -> str:
    """Every table, with a line on how to read them.

    Args:
        results: what compare_methods writes to results.json.
    """
    rows = results["rows"]
    parts = [
        f"Fine-tuning seeds {_listed(results['seeds'])}; distillation seeds {_listed(results['distillation_seeds'])}. "
        "Mean ± standard deviation over the seeds. Intervals: bootstrap over the reported texts. p: two-sided "
        f"approximate randomisation of macro-F1 against {results['compare_with']}, in brackets adjusted (Holm) for the "
        "rows of a task and size. Costs: wall clock of the updates, CPU time of everything. "
        f"{_MISSING}: not known (yet)."
    ]
    parts += [overview(results).rstrip("\n")] if overview(results) else []
    for number, title in TITLES.items():
        shown = [row for row in rows if number in row["tables"]]
        for task, size in dict.fromkeys((row["task"], row["num_train"]) for row in shown):
            parts.append(f"## {title}; {task}, {f'{size:,}' if size else 'all'} labels")
            chosen = [row for row in shown if (row["task"], row["num_train"]) == (task, size)]
            parts.append(_table(chosen, results["compare_with"]))
    return "\n\n".join(parts) + "\n"


def _table(rows: list[dict[str, Any]], compare_with: str) -> str:
    header = " | ".join(column.format(compare_with=compare_with) for column in _COLUMNS)
    lines = [f"| {header} |", "|" + "---|" * len(_COLUMNS)]
    return "\n".join(lines + [f"| {' | '.join(_cells(row))} |" for row in rows])


def _cells(row: dict[str, Any]) -> list[str]:
    against, macro_f1, share = row["against"], row["macro_f1"], row["share_of_teacher"]
    return [
        row["method"],
        row["student"] or _MISSING,
        _number(row["parameters"]),
        _number(row["size_bytes"]),
        _MISSING if row["latency_ms"] is None else f"{row['latency_ms']:.1f}",
        _mean(row["accuracy"]),
        _mean(macro_f1),
        "{:.3f} to {:.3f}".format(*macro_f1["interval"]) if macro_f1 else _MISSING,
        f"{100 * share['share']:.1f} %{_of_seeds(share, row)}" if share else _MISSING,
        (
            "{:+.3f} ({:+.3f} to {:+.3f})".format(against["difference"], *against["interval"]) + _of_seeds(against, row)
            if against
            else _MISSING
        ),
        f"{_p(against['p'])} ({_p(against['p_holm'])})" if against else _MISSING,
        _cost(row["costs"]["distillation"]),
        _cost(row["costs"]["fine_tuning"]),
        _progress(row),
    ]


def _of_seeds(compared: dict[str, Any], row: dict[str, Any]) -> str:
    """Says so where the other model lacks some of the row's seeds."""
    return "" if compared["seeds"] == row["seeds"] else f" [seed {_listed(compared['seeds'])}]"


def _mean(score: dict[str, Any] | None) -> str:
    if score is None:
        return _MISSING
    deviation = "" if score["deviation"] is None else f" ± {score['deviation']:.3f}"
    return f"{score['mean']:.3f}{deviation}"


def _cost(cost: dict[str, float | None] | None) -> str:
    if cost is None:
        return _MISSING
    known = [f"{cost['updates']:,.0f} updates"] if cost["updates"] else []
    known += [f"{cost['tokens'] / 1e6:,.2f} M tokens"] if cost["tokens"] else []
    known += [f"{_time(cost['seconds'])}"] if cost["seconds"] else []
    known += [f"{_time(cost['cpu_seconds'])} CPU"] if cost["cpu_seconds"] else []
    return ", ".join(known) or _MISSING


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:,.0f} min"


def _progress(row: dict[str, Any]) -> str:
    """How many of the runs stand behind the row; of a seed whose folds are not all done there is no score."""
    text = f"{len(row['seeds'])} of {row['seeds_wanted']} seeds"
    if row["runs_done"] < row["runs_wanted"]:
        text += f" ({row['runs_done']} of {row['runs_wanted']} runs)"
    return text + (f"; {row['encoders']} encoder" + "s" * (row["encoders"] > 1) if row["encoders"] else "")


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _number(value: int | None) -> str:
    return _MISSING if value is None else f"{value:,}"


def _listed(values: list[int]) -> str:
    return ", ".join(map(str, values))

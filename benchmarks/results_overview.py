"""A comparison over all of its tasks as Markdown: a line a method, and what each part of the paper's loss is worth.

Of what `results_markdown` shows by task; only seeds that are done count, a mean needs all tasks, and what has
nothing to show yet is left out.
"""

from typing import Any

_MISSING = "–"


def overview(results: dict[str, Any]) -> str:
    """A table for each number of labels, best mean first; empty where there is but one task.

    Args:
        results: what compare_methods writes to results.json.
    """
    parts = []
    for size in dict.fromkeys(row["num_train"] for row in results["rows"]):
        rows = [row for row in results["rows"] if row["num_train"] == size]
        tasks = list(dict.fromkeys(row["task"] for row in rows))
        if len(tasks) > 1:
            if any(_f1(row) is not None for row in rows):
                parts += [f"## Macro-F1 of all tasks, {_labels(size)}", _methods(rows, tasks)]
            parts += _ablations(rows, tasks, size)
    return "".join(f"{part}\n\n" for part in parts)


def _methods(rows: list[dict[str, Any]], tasks: list[str]) -> str:
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        found = {row["task"]: row for row in rows if row["method"] == method}
        means = [_f1(found.get(task)) for task in tasks]
        if all(mean is None for mean in means):
            continue
        shares = [found[task]["share_of_teacher"] if task in found else None for task in tasks]
        average = None if None in means else sum(means) / len(means)
        share = None if None in shares else sum(share["share"] for share in shares) / len(shares)
        done = [len(found[task]["seeds"]) if task in found else 0 for task in tasks]
        cells = [method, _from_to(done), *(_score(found.get(task)) for task in tasks)]
        cells += [
            _MISSING if average is None else f"{average:.3f}",
            _MISSING if share is None else f"{100 * share:.1f} %",
        ]
        lines.append((-1.0 if average is None else average, cells))
    lines.sort(key=lambda line: -line[0])  # Stable: what is not complete keeps its order.
    return _markdown(["method", "seeds", *tasks, "mean", "share of teacher"], [cells for _, cells in lines])


def _ablations(rows: list[dict[str, Any]], tasks: list[str], size: int) -> list[str]:
    """Every row of Table 3 against the one that is in Table 2 as well: the whole loss. Largest loss first."""
    in_table_3 = [row for row in rows if 3 in row["tables"] and row["method"] != "teacher"]
    whole = {row["task"]: row for row in in_table_3 if 2 in row["tables"]}
    names = list(dict.fromkeys(row["method"] for row in whole.values()))
    if len(names) != 1 or set(whole) != set(tasks):
        return []
    lines = []
    for method in dict.fromkeys(row["method"] for row in in_table_3 if row["method"] not in names):
        found = {row["task"]: row for row in in_table_3 if row["method"] == method}
        differences = [_difference(found.get(task), whole[task]) for task in tasks]
        if all(value is None for value in differences):
            continue
        average = None if None in differences else sum(differences) / len(differences)
        cells = [_MISSING if value is None else f"{value:+.3f}" for value in (*differences, average)]
        lines.append((1.0 if average is None else average, [method, *cells]))
    if not lines:
        return []
    lines.sort(key=lambda line: line[0])
    table = _markdown(["method", *tasks, "mean"], [cells for _, cells in lines])
    return [f"## Macro-F1 against {names[0]}, {_labels(size)}", table]


def _difference(row: dict[str, Any] | None, whole: dict[str, Any]) -> float | None:
    """Mean over the seeds that both have."""
    if row is None:
        return None
    theirs = {score["seed"]: score["macro_f1"] for score in whole["scores"]}
    found = [score["macro_f1"] - theirs[score["seed"]] for score in row["scores"] if score["seed"] in theirs]
    return sum(found) / len(found) if found else None


def _f1(row: dict[str, Any] | None) -> float | None:
    return row["macro_f1"]["mean"] if row and row["macro_f1"] else None


def _score(row: dict[str, Any] | None) -> str:
    if _f1(row) is None:
        return _MISSING
    deviation = row["macro_f1"]["deviation"]
    return f"{_f1(row):.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")


def _from_to(counts: list[int]) -> str:
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _labels(size: int) -> str:
    return f"{f'{size:,}' if size else 'all'} labels"


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

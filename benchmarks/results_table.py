"""Results as text: what the demo prints and the README shows."""

import statistics
from typing import Any


def table(rows: list[dict[str, Any]]) -> str:
    """The results as text, mean and standard deviation over the seeds."""
    lines = [f"{'model':<22}{'accuracy':>17}{'macro-F1':>17}{'parameters':>13}{'bytes':>13}{'ms':>8}"]
    for row in rows:
        cells = []
        for key in ("accuracy", "macro_f1"):
            spread = statistics.stdev(score[key] for score in row["scores"])
            cells.append(f"{row[key]:.3f} ± {spread:.3f}")
        lines.append(
            f"{row['model']:<22}{cells[0]:>17}{cells[1]:>17}{row['parameters']:>13,}{row['size_bytes']:>13,}"
            f"{row['latency_ms']:>8.1f}"
        )
    return "\n".join(lines)

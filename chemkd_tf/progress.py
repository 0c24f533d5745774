"""How far a long job is, for a person who waits: rate and time left, on one line of a terminal or in a log."""

import sys
import time

TERMINAL_SECONDS = 0.5  # A terminal line is redrawn this often at most,
LOG_SECONDS = 10.0  # a line is added to a log file or a pipe this often at most.


class Progress:
    """Prints `label 300/1000 steps 30% 12.5 steps/s 0:00:56 left loss=2.31` while a job runs.

    On a terminal the line redraws itself; elsewhere (a log file, a pipe) a plain line appears about every 10 seconds
    and one more at the end. Everything goes to standard error, so that a script's standard output stays its result.

    Args:
        label: what is running, the first words of the line.
        total: number of units to do.
        unit: what is counted, in the plural.
        initial: units done before this process started (a resumed run); the rate counts only what came after.
    """

    def __init__(self, label: str, total: int, unit: str = "steps", initial: int = 0):
        self.label = label
        self.total = total
        self.unit = unit
        self._initial = initial
        self._done = initial
        self._values: dict[str, float | str] = {}
        self._started = time.monotonic()
        self._printed_at = self._started
        self._printed_done: int | None = None
        self._width = 0
        self._terminal = sys.stderr.isatty()

    def update(self, done: int, **values: float | str) -> None:
        """Reports `done` units in all (an absolute number, not an increment), with values to show behind the rate.

        Args:
            done: units done so far, those of `initial` included.
            **values: numbers (shown with 4 significant digits) or strings, as in `loss=2.31`.
        """
        self._done = done
        self._values = values
        if time.monotonic() - self._printed_at >= (TERMINAL_SECONDS if self._terminal else LOG_SECONDS):
            self._print()

    def close(self) -> None:
        """Prints the last state, unless it is already there, and ends the line."""
        if self._printed_done != self._done:
            self._print()
        if self._terminal:
            print(file=sys.stderr, flush=True)

    def line(self) -> str:
        """Returns the line as it would be printed now."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        rate = (self._done - self._initial) / seconds
        parts = [self.label, f"{self._done:,}/{self.total:,} {self.unit}"]
        if self.total > 0:
            parts.append(f"{100 * self._done / self.total:.0f}%")
        parts.append(f"{_short(rate)} {self.unit}/s")
        if self._done >= self.total:
            parts.append(f"in {_clock(seconds)}")
        elif rate > 0:
            parts.append(f"{_clock((self.total - self._done) / rate)} left")
        parts += [
            f"{name}={value if isinstance(value, str) else _short(value)}" for name, value in self._values.items()
        ]
        return "  ".join(parts)

    def _print(self) -> None:
        line = self.line()
        self._printed_at = time.monotonic()
        self._printed_done = self._done
        if self._terminal:
            print("\r" + line.ljust(self._width), end="", file=sys.stderr, flush=True)
            self._width = len(line)
        else:
            print(line, file=sys.stderr, flush=True)


def _short(value: float) -> str:
    """A number with 4 significant digits, without an exponent where a person would write none."""
    value = float(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"

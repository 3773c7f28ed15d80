"""Numbers as people read them: units, digits that mean something, a dash where there is nothing."""

from __future__ import annotations

import math

NOTHING = "–"


def percent(share: float, digits: int = 1) -> str:
    """Share as a percentage without the sign: 0.8234 is "82.3"."""
    return f"{100 * share:.{digits}f}".replace("-", "−") if math.isfinite(share) else NOTHING


def percent_interval(low: float, high: float, digits: int = 1) -> str:
    """ "81.2–83.4", or nothing where an end is not finite."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{percent(low, digits)}–{percent(high, digits)}"


def points(share: float, digits: int = 1) -> str:
    """A difference of shares in percentage points, with its sign: -0.051 is "−5.1"."""
    if not math.isfinite(share):
        return NOTHING
    rounded = round(100 * share, digits) + 0.0  # no "-0.0"
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{rounded:.{digits}f}"


def gap(relative: float) -> str:
    """Certified gap in percent with two significant digits below ten; "no bound" where nothing is proven."""
    if not math.isfinite(relative):
        return "no bound"
    value = 100 * relative
    if value == 0:
        return "0"
    if abs(value) < 0.01:
        return "< 0.01"
    return f"{value:.2f}" if abs(value) < 1 else f"{value:.1f}" if abs(value) < 100 else f"{value:,.0f}"


def gap_interval(low: float, high: float) -> str:
    """Interval of a gap, or nothing where an end is not finite or both print alike."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    ends = gap(low), gap(high)
    return "" if ends[0] == ends[1] else f"{ends[0]}–{ends[1]}"


def significant(value: float, digits: int = 3) -> str:
    """Plain decimal with `digits` significant digits, thousands separated."""
    if not math.isfinite(value):
        return NOTHING
    if value == 0:
        return "0"
    after = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{after}f}".replace("-", "−")


def significant_interval(low: float, high: float) -> str:
    """Interval of a plain number, or nothing where an end is not finite."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{significant(low)}–{significant(high)}"


def duration(seconds: float) -> str:
    """ "3.2 s", "41 ms", "2 min 05 s"."""
    if not math.isfinite(seconds):
        return NOTHING
    if seconds < 1e-3:
        return f"{1e6 * seconds:.0f} µs"
    if seconds < 0.1:
        return f"{1e3 * seconds:.2g} ms" if seconds < 0.01 else f"{1e3 * seconds:.0f} ms"
    if seconds < 59.95:  # later it would print as 60.0 s
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"

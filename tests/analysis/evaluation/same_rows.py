"""What two evaluations of the same thing must agree on."""

from __future__ import annotations

import pandas as pd

from solvers.provenance import provenance


def same(frame: pd.DataFrame, other: pd.DataFrame) -> None:
    """Equal but for the wall time of the selection, and for when and where the rows were computed."""
    fleeting = ["select_ms", *provenance()]
    pd.testing.assert_frame_equal(frame.drop(columns=fleeting), other.drop(columns=fleeting))

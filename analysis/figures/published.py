"""Published curves in the shape of our own frames, each under the name of its model and source.

The numbers are those of `data/published`, read off the pixels of project pages (its README says how far to trust them).
"""

from __future__ import annotations

import pandas as pd

from solvers.files import data_folder

SOURCE_OF = {"CLS": "vision CLS", "last": "text last token", "equi": "text last token"}
"""Source in our frames that a published attention belongs beside; "equi" has every visual token at one position."""
QUARTILE_ERROR = 0.01
"""How far a share or a score may be off that was read from pixels."""


def published_mass_curves() -> pd.DataFrame:
    """Columns `frames.PUBLISHED_CURVES`: the cumulative curves of the FasterVLM and VisPruner pages, digitised +-0.005.

    `last` and `equi` are those of the second layer of the language model.
    """
    table = _table("dispersion_curves")
    page = table["source"].str.extract(r"\((\w+)\)", expand=False)
    return pd.DataFrame(
        {
            "source": table["attention"].map(SOURCE_OF),
            "label": table["model"] + ", " + table["attention"] + " (" + page + " page)",
            "share": table["top_percent_of_tokens"] / 100,
            "mass": table["value"] / 100,
        }
    )


def published_quartiles() -> pd.DataFrame:
    """Columns `frames.QUARTILES`: share of attention per index quartile and layer (from 1) of the VisPruner page.

    `low` and `high` are the error of reading, not an interval over images. The source is named after the model, so
    that ``shift(pandas.concat([ours, published_quartiles()]))`` gives it a panel of its own.
    """
    table = _table("attention_shift_quartiles")
    share = table["value"] / 100
    return pd.DataFrame(
        {
            "source": table["model"] + ", last token (published)",
            "layer": table["layer"] + 1,
            "quartile": table["quartile"].str.removeprefix("Q").astype(int),
            "estimate": share,
            "low": share - QUARTILE_ERROR,
            "high": share + QUARTILE_ERROR,
        }
    )


def published_quartile_kept() -> pd.DataFrame:
    """Columns `frames.QUARTILE_KEPT`: mean score, over benchmarks that are not stated, of the VisPruner page.

    `low` and `high` are the error of reading; K is counted as on the page's axis. Quartile 0 is the unpruned model.
    """
    table = _table("keep_quartile_accuracy")
    score = table["value"] / 100
    known = table["quartile_kept"] != "none"
    return pd.DataFrame(
        {
            "model": table["model"] + " (published)",
            "layer": table["layer_K"],
            "quartile": table["quartile_kept"].where(known, "Q0").str.removeprefix("Q").astype(int),
            "estimate": score,
            "low": score - QUARTILE_ERROR * known,
            "high": score + QUARTILE_ERROR * known,
        }
    )


def _table(name: str) -> pd.DataFrame:
    path = data_folder("published") / f"{name}.csv"
    if not path.is_file():
        raise FileNotFoundError(f"there is no table of published values at {path}")
    return pd.read_csv(path)

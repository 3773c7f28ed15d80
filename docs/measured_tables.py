"""Tables of the pages, read off `data/measured` when the site is built, so that none disagrees with what was measured.

Each is a function of `TABLES` and gives Markdown: the table, then the file and the command that wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

MEASURED = Path(__file__).parents[1] / "data" / "measured"
BUDGET = 64
CERTIFY = "python -m data.make.certify"


def read(name: str) -> pd.DataFrame:
    """One measured table."""
    return pd.read_csv(MEASURED / f"{name}.csv")


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]], name: str, command: str, note: str) -> str:
    """A table and where it is from."""
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + f"\n\n{note} From `data/measured/{name}.csv`, written by `{command}`."


def two_digits(value: float) -> str:
    """The number with two digits that count, without an exponent."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def share(value: float) -> str:
    """A share in per cent, two digits that count."""
    if 0 < value < 1e-5:
        return "below 0.001 %"
    return f"{two_digits(100 * value)} %"


def duration(milliseconds: float) -> str:
    """A time in the unit that suits it, two digits that count."""
    value, unit = (milliseconds / 1000, "s") if milliseconds >= 1000 else (milliseconds, "ms")
    return f"{two_digits(value)} {unit}"


def _gap(row: pd.Series, column: str) -> str:
    unit = {"share": share, "nats per token": "{:.3f} nats".format}[row["gap_unit"]]
    return unit(row[column])


def gaps() -> str:
    """Certified gap of every solver under three objectives."""
    table = read("certified_gaps")
    table = table[(table["n"] == 576) & (table["budget"] == BUDGET) & (table["kind"] != "rule") & (table["solved"] > 0)]
    objectives = list(dict.fromkeys(table["objective"]))
    by = table.set_index(["solver", "objective"])
    order = table[table["objective"] == objectives[0]].sort_values("gap_mean", kind="stable")["solver"]
    rows = []
    for solver in order:
        here = [by.loc[(solver, name)] if (solver, name) in by.index else None for name in objectives]
        cells = ["does not run" if at is None else f"{_gap(at, 'gap_mean')} [{_gap(at, 'gap_worst')}]" for at in here]
        rows.append([f"`{solver}`", *cells, duration(1000 * by.loc[(solver, objectives[0]), "seconds_mean"])])
    note = (
        f"Mean certified gap [worst] of {BUDGET} of 576 tokens on {table['problems'].max()} recorded images: a share "
        f"of the bound, and for log-determinants nats per token; the time is that of the first column, at most "
        f"{table['time_limit'].max():g} s per run."
    )
    return markdown(["solver", *objectives, "time"], rows, "certified_gaps", CERTIFY, note)


def rules() -> str:
    """Certified gap of every published rule under three objectives."""
    table = read("certified_gaps")
    table = table[(table["n"] == 576) & (table["budget"] == BUDGET) & (table["kind"] == "rule") & (table["solved"] > 0)]
    objectives = list(dict.fromkeys(table["objective"]))
    by = table.set_index(["solver", "objective"])
    order = table[table["objective"] == objectives[0]].sort_values("gap_mean", kind="stable")["solver"]
    rows = [[f"`{name}`", *(_gap(by.loc[(name, objective)], "gap_mean") for objective in objectives)] for name in order]
    note = "Published rules were not made to maximise these objectives: the gap says how far their sets are from them."
    return markdown(["rule", *objectives], rows, "certified_gaps", CERTIFY, note)


def proofs() -> str:
    """How often `Exact` proved its optimum."""
    table = read("certified_gaps")
    table = table[(table["n"] == 576) & (table["solver"] == "Exact")]
    budgets = sorted(table["budget"].unique())
    by = table.set_index(["objective", "budget"])
    rows = []
    for objective in dict.fromkeys(table["objective"]):
        here = [by.loc[(objective, budget)] for budget in budgets]
        rows.append(
            [f"`{objective}`", *(f"{at['proven']:.0f} of {at['problems']}, {_gap(at, 'gap_mean')}" for at in here)]
        )
    note = (
        f"`Exact` within {table['time_limit'].max():g} s: images with a proven optimum, and the mean gap that is left."
    )
    return markdown(["n = 576", *(f"k = {budget}" for budget in budgets)], rows, "certified_gaps", CERTIFY, note)


def proof_times() -> str:
    """Processor time to a proof on synthetic tokens with the statistics of CLIP patches."""
    table = read("solver_speed")
    table = table[table["work"].str.startswith("proven optimum")].sort_values(["work", "n", "keep"])
    rows = []
    for _, row in table.iterrows():
        proven = row["note"].startswith("optimal")
        ours = duration(row["ours_cpu_ms"]) if proven else f"not within {duration(row['ours_cpu_ms'])}"
        peer = "" if pd.isna(row["peer_cpu_ms"]) else f"{_peer_time(row)} ({row['peer']})"
        rows.append([row["work"].removeprefix("proven optimum, "), str(row["n"]), str(row["keep"]), ours, peer])
    note = "Processor time to a proven optimum, one thread, one run each."
    return markdown(["objective", "n", "k", "`Exact`", "peer"], rows, "solver_speed", "make bench-solvers", note)


def _peer_time(row: pd.Series) -> str:
    time = duration(row["peer_cpu_ms"])
    return f"no answer in {time}" if "no answer" in str(row["note"]) else time


def optimising() -> str:
    """Accuracy of the sets that greedy, local search and exact methods find."""
    table = read("optimising")
    found = table.set_index(["keep", "objective", "solver"])["accuracy"]
    names = [(keep, solver) for keep in (64, 32) for solver in ("Greedy", "LocalSearch", "Exact")]
    greedy = table[(table["keep"] == 64) & (table["solver"] == "Greedy")].sort_values("accuracy", ascending=False)
    rows = []
    for objective in greedy["objective"]:
        cells = [found.get((keep, objective, solver), float("nan")) for keep, solver in names]
        rows.append([f"`{objective}`", *("no method" if pd.isna(cell) else f"{cell:.3f}" for cell in cells)])
    note = f"Mean accuracy over {table['images'].max():.0f} images of `data/mini_vqa`, `data/mini_llava`."
    heads = ["objective", *(f"{solver}, {keep}" for keep, solver in names)]
    return markdown(heads, rows, "optimising", "python -m data.make.optimising", note)


def pruners() -> str:
    """Accuracy of every pruner at 64 tokens, and of those that were asked at more budgets at these."""
    table = read("peers")
    table = table[table["task"] == "mean"]
    others = sorted(set(table.loc[table["pruner"] != "none", "keep"]) - {64}, reverse=True)
    at = {(row["pruner"], row["keep"]): row for _, row in table.iterrows()}
    named = sorted((row for (_, keep), row in at.items() if keep == 64), key=lambda row: -row["estimate"])
    rows = []
    for row in named:
        cells = [at.get((row["pruner"], keep)) for keep in others]
        rows.append(
            [
                f"`{row['pruner']}`",
                f"{row['estimate']:.3f} [{row['low']:.3f}, {row['high']:.3f}]",
                *("" if cell is None else f"{cell['estimate']:.3f}" for cell in cells),
                f"{row['visual_tokens']:.0f}",
                f"{row['images']}",
            ]
        )
    full = table[table["pruner"] == "none"].iloc[0]
    note = (
        f"Mean over tasks, 95 % intervals over images, position ids kept; with all tokens {full['estimate']:.3f}. "
        "Tokens: the mean over layers of the language model at a budget of 64, larger for methods that prune inside it."
    )
    heads = ["pruner", "64 tokens", *map(str, others), "tokens", "images"]
    return markdown(heads, rows, "peers", "python -m data.make.peers", note)


def speed() -> str:
    """Time of the solvers beside other packages."""
    table = read("solver_speed")
    whole = ~table["ours"].str.contains("alone|check=False")  # with all checks, as a user calls it
    table = table[table["ratio_cpu"].notna() & (table["n"] > 0) & whole].sort_values(
        ["work", "n", "keep"], kind="stable"
    )
    rows = [
        [
            f"{row['work']}, n = {row['n']}, k = {row['keep']}",
            f"`{row['ours']}` {duration(row['ours_cpu_ms'])}",
            f"{row['peer']} {_peer_time(row)}",
            ("at least " if "no answer" in str(row["note"]) else "") + two_digits(row["ratio_cpu"]),
        ]
        for _, row in table.iterrows()
    ]
    note = "Medians of seven, but for proofs, which ran once."
    return markdown(["work", "PruneScope", "peer", "ratio"], rows, "solver_speed", "make bench-solvers", note)


TABLES: tuple[Callable[[], str], ...] = (gaps, rules, proofs, proof_times, optimising, pruners, speed)
"""Every table that a page can ask for, by the name of its function."""


def table(name: str) -> str:
    """The table of that name.

    Raises
    ------
    KeyError
        If there is none.
    """
    return {entry.__name__: entry for entry in TABLES}[name]()

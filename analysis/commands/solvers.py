"""`prunescope solvers`: every solver and objective of `prunescope compare`, and what is proven about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .frame import AsJson
from .listing import AsMarkdown, Listing, Row, show, summary

if TYPE_CHECKING:
    from solvers import AbstractObjective, AbstractSolver

SOLVERS_TEXT = """`solvers.compare(problems, [Greedy(), Exact()])` takes these, and published rules by
`PublishedRule("vispruner")`; the command line takes either by name. The guarantee is the share of the optimum that a
theorem promises under a budget alone, on the worst problem that keeps its assumptions; `solvers.theory.guarantee` names
them, and sharpens it on a problem of yours."""
OBJECTIVES_TEXT = """What a selection is scored by. Exact methods prove the optimum or, at the time limit, a bound;
every objective has an upper bound from `solvers.bounds` as well, so that every value has a certified gap."""


def solvers(as_json: AsJson = False, as_markdown: AsMarkdown = False) -> None:
    """Every solver and objective: what is promised about them, and which optimum can be proven."""
    from solvers import OBJECTIVES, SOLVERS, PublishedRule

    # a rule has a name of its own and stands among those of `prunescope rules`
    rows = [solver_row(kind()) for kind in SOLVERS if kind is not PublishedRule]
    listings = [
        Listing("Solvers", SOLVERS_TEXT, rows),
        Listing("Objectives", OBJECTIVES_TEXT, [objective_row(kind()) for kind in OBJECTIVES]),
    ]
    show("solvers", listings, as_json, as_markdown)


def solver_row(entry: AbstractSolver) -> Row:
    """What stands about a solver in the table."""
    return {
        "solver": type(entry).__name__,
        "what it keeps": summary(entry),
        "guarantee": _guarantees(entry),
        "constraints": ", ".join(kind.__name__ for kind in entry.constraints),
        "seed": "no" if entry.deterministic else "yes",
    }


def objective_row(entry: AbstractObjective[Any]) -> Row:
    """What stands about an objective in the table."""
    from solvers.exact import METHODS

    return {
        "objective": type(entry).__name__,
        "what it values": summary(entry),
        "monotone": "yes" if entry.monotone else "not always",
        "submodular": "yes" if entry.submodular else "not always",
        "Exact": "yes" if type(entry) in METHODS else "small problems, by BruteForce",
    }


def _guarantees(entry: AbstractSolver) -> str:
    """The objectives by the factor of the optimum that is certain, best first."""
    from solvers import OBJECTIVES, Cardinality
    from solvers.theory import guarantee

    promised = {kind.__name__: guarantee(kind(), Cardinality(), entry) for kind in OBJECTIVES}
    factors = {(promise.factor, promise.expected) for promise in promised.values() if promise}
    parts = []
    for factor, expected in sorted(factors, reverse=True):
        names = [name for name, promise in promised.items() if (promise.factor, promise.expected) == (factor, expected)]
        share = "optimal" if factor == 1 else f"{factor:.3f}{' in the mean' if expected else ''}"
        parts.append(f"{share}: {', '.join(names)}")
    return "; ".join(parts) or "none"

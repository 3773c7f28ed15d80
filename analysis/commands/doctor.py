"""`prunescope doctor`: whether everything is there, and what to install where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import typer

from .frame import FAILED, AsJson, show_json


class Finding(NamedTuple):
    """A line of the examination."""

    area: str
    what: str
    found: str
    state: str = "ok"
    """ "ok"; "missing" for what is optional, with a remedy; "broken" for what is required; "told" for a fact."""
    remedy: str = ""


def doctor(as_json: AsJson = False) -> None:
    """Versions, device, embedded data and optional parts: what is missing, and the command that installs it.

    Exits with 1 if something that is required is broken. A report opens in any browser; none is needed to write it.
    """
    findings = [*_versions(), *_device(), *_data(), *_extras()]
    broken = any(finding.state == "broken" for finding in findings)
    if as_json:
        show_json({"healthy": not broken, "findings": [finding._asdict() for finding in findings]})
    else:
        _print(findings)
        typer.echo("something required is broken, see above" if broken else "everything required is there")
    if broken:
        raise typer.Exit(FAILED)


def _versions() -> Iterator[Finding]:
    """Python and every requirement, against the bounds that the installed package states."""
    import platform
    from importlib import metadata

    from packaging.specifiers import SpecifierSet

    about = metadata.metadata("prunescope")
    yield Finding("package", "prunescope", about["Version"])
    wanted, found = SpecifierSet(about["Requires-Python"] or ""), platform.python_version()
    remedy = f"Python {wanted} is needed"
    yield Finding("package", "python", found, *(("ok", "") if wanted.contains(found) else ("broken", remedy)))
    for name, (bounds, installed) in _requirements("").items():
        if installed is None:
            yield Finding("package", name, "not installed", "broken", f"pip install '{name}{bounds}'")
        elif not SpecifierSet(bounds).contains(installed, prereleases=True):
            yield Finding("package", name, installed, "broken", f"pip install --upgrade '{name}{bounds}'")
        else:
            yield Finding("package", name, installed)


def _requirements(extra: str) -> dict[str, tuple[str, str | None]]:
    """Bounds and installed version of what the package needs, or one of its extras."""
    from importlib import metadata

    from packaging.requirements import Requirement

    found: dict[str, tuple[str, str | None]] = {}
    for text in metadata.requires("prunescope") or ():
        requirement = Requirement(text)
        marker = requirement.marker
        optional = marker is not None and not marker.evaluate({"extra": ""})
        if optional != bool(extra) or (marker is not None and not marker.evaluate({"extra": extra})):
            continue
        try:
            installed: str | None = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            installed = None
        found[requirement.name] = (str(requirement.specifier), installed)
    return found


def _device() -> Iterator[Finding]:
    """Where models can run."""
    import os

    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("device", "torch", str(error), "broken", "pip install --force-reinstall torch")
        return
    from solvers.provenance import provenance

    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    yield Finding("device", "cpu", f"{provenance()['cpu']}, {cores} of {os.cpu_count()} cores usable", "told")
    yield Finding("device", "threads", f"{torch.get_num_threads()} in PyTorch", "told")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(number)
            found = f"{card.name}, {card.total_memory / 2**30:.0f} GiB"
            yield Finding("device", f"cuda:{number}", found, "told", "--device cuda")
    else:
        reason = "none seen" if torch.version.cuda else "this PyTorch is built without CUDA"
        yield Finding("device", "cuda", f"{reason}; everything runs on the processor", "told")


def _data() -> Iterator[Finding]:
    """The embedded model and benchmark, and the checksums that the cards of the data state."""
    from .embedded_data import checksums, damage

    remedy = "pip install --force-reinstall prunescope, or restore the folder data/ of the repository"
    stated = checksums()
    if not stated:
        yield Finding("data", "embedded data", "not found", "broken", remedy)
        return
    wrong = [finding for finding in (damage(path, digest) for path, digest in stated.items()) if finding]
    for sentence in wrong:
        yield Finding("data", "embedded data", sentence, "broken", remedy)
    if not wrong:
        yield Finding("data", "files", f"{len(stated)} with the checksums of their cards")
    yield _embedded_model(remedy)


def _embedded_model(remedy: str) -> Finding:
    """Whether the embedded model loads, and has the weights whose accuracy was measured."""
    from .embedded_data import measured_hash
    from .model_option import loaded

    try:
        vlm, measured = loaded(""), measured_hash()
    except (OSError, ValueError) as error:
        return Finding("data", "embedded model", str(error), "broken", remedy)
    if vlm.config_hash != measured:
        return Finding("data", "embedded model", f"{vlm.config_hash}, measured was {measured}", "broken", remedy)
    return Finding("data", "embedded model", f"{vlm.model.num_parameters():,} parameters, as measured")


def _extras() -> Iterator[Finding]:
    """Optional parts, each with the command that installs it."""
    from importlib import metadata

    from packaging.utils import canonicalize_name

    for extra in metadata.metadata("prunescope").get_all("Provides-Extra") or ():
        parts = _requirements(canonicalize_name(extra))
        missing = [name for name, (_, installed) in parts.items() if installed is None]
        if missing:
            yield Finding(
                "extra", extra, f"lacks {', '.join(missing)}", "missing", f"pip install 'prunescope[{extra}]'"
            )
        else:
            yield Finding("extra", extra, ", ".join(f"{name} {version}" for name, (_, version) in parts.items()))


def _print(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    colors = {"ok": "green", "missing": "yellow", "broken": "red", "told": ""}
    table = Table(header_style="bold")
    for head in ("", "what", "found", "state", "remedy"):
        table.add_column(head, overflow="fold")
    for area, what, found, state, remedy in findings:
        table.add_row(area, what, found, Text(state, style=colors[state]), remedy)
    Console().print(table, markup=False)

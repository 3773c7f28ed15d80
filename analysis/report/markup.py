"""What every page is built from: templates, styles, scripts, and the policy under which a browser shows it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

_TEMPLATES = Path(__file__).parent / "templates"
STYLES = ("report.css", "explorer.css")
EXPLORER = ("pictures.js", "explorer.js")
"""Scripts of the token explorer, in the order in which they must run."""


def page(template: str, scripts: Sequence[str], **values: Any) -> str:
    """A page of its own: styles and `scripts` (file names) inside it, and nothing that it would have to fetch.

    The browser refuses every other script, and every address that is not inside the page.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # `tojson` escapes <, >, & and ' so that data can close neither the script element nor an attribute.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    sources = [_read(name) for name in scripts]
    return environment.get_template(template).render(
        css="".join(_read(name) for name in STYLES), scripts=sources, policy=_policy(sources), **values
    )


def _policy(scripts: Sequence[str]) -> str:
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts) or "'none'"
    allowed = f"img-src data:; style-src 'unsafe-inline'; script-src {hashes}"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")

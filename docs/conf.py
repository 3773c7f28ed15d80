"""Sphinx configuration: `sphinx-build -W --keep-going -n docs OUT`. No network is used, no notebook is run."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "PruneScope"
author = "The PruneScope contributors"
copyright = author
version = release = PROJECT["version"]

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "myst_nb", "generated"]
exclude_patterns = ["__pycache__"]
templates_path: list[str] = []

# Notebooks are shown as they are stored; the tests run them.
nb_execution_mode = "off"
nb_output_stderr = "remove"
myst_heading_anchors = 3

autosummary_generate = False  # entries stand on the pages themselves, so that no file is written beside the sources
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
numpydoc_show_class_members = False
maximum_signature_line_length = 100
python_use_unqualified_type_names = True

# Single backticks in docstrings become links where they name something of this site, and code elsewhere: `generated`.
default_role = "py:obj"

nitpick_ignore_regex = [
    # Inventories of other projects would need the network, so their classes are text.
    (r"py:.*", r"(?!solvers\b|analysis\b)\w+\..*"),
    # Classes by the module that defines them: states and bases of this project that nobody has to name.
    (r"py:class", r"(solvers|analysis)(\.\w+)+\.\w+"),
    # Aliases of arrays and types that are imported for annotations only.
    (r"py:class", r"[A-Z]\w+|(tuple|list|dict)\[.*"),
]
ALIASES = ("AttentionMaps", "BoolArray", "FloatArray", "Float64Array", "IntArray", "Maps", "Rows", "Weights")
autodoc_type_aliases = {name: name for name in ALIASES} | {"npt.ArrayLike": "ArrayLike"}

highlight_language = "text"

html_theme = "furo"
html_title = f"PruneScope {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False

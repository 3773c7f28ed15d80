"""Pictures for the gallery, out of the notebooks as they are stored, each with the code that drew it."""

from __future__ import annotations

import json
from pathlib import Path

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def picture(notebook: str, drawn_by: str) -> str:
    """The picture that the cell with `drawn_by` in it put out, as MyST: image, code, and where it stands.

    Raises
    ------
    ValueError
        If the notebook has no such cell with a picture, or several.
    """
    path = NOTEBOOKS / f"{notebook}.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    found = [
        (output["data"]["image/png"], "".join(cell["source"]))
        for cell in cells
        if drawn_by in "".join(cell["source"])
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    if len(found) != 1:
        raise ValueError(f"{path.name} must have one picture by {drawn_by!r}, got {len(found)}")
    content, code = found[0]
    image = f"![{drawn_by} of notebook {notebook[:2]}](data:image/png;base64,{''.join(content.split())})"
    return f"{image}\n\n```python\n{code.strip()}\n```\n\nFrom {{doc}}`notebook {notebook[:2]} <notebooks/{notebook}>`."

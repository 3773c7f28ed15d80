"""Samples from pictures on the disk and prompts in a file."""

from __future__ import annotations

import difflib
import glob
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

from PIL import Image

PROMPT = "Describe the image."
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
PROMPT_KEYS = ("prompt", "question", "text")


class _Asked(NamedTuple):
    path: Path
    prompt: str


class Pictures(Sequence[tuple[str, Image.Image, str]]):
    """Samples (image_id, image, question) for `capture_dataset`; a picture is opened when its turn comes.

    Parameters
    ----------
    images
        A folder, searched with its subfolders; a glob such as ``photos/*.jpg``; or one picture. In the order of their
        paths; the id of an image is its path below the folder, or below the part of the glob without wildcards.
    prompts
        A prompt; a text file with a prompt per line; both are asked about every picture. Or a ``.jsonl`` file of
        objects with "prompt" (or "question", "text") and, to ask about one picture only, "image", its id. Sampled in
        the order of the file, each prompt over all its pictures.

    Raises
    ------
    FileNotFoundError
        If there are no pictures, or no such file of prompts.
    ValueError
        If the prompts are empty or malformed (with the line), or name a picture that is not among `images`.
    OSError
        When indexed: if a picture cannot be read.
    """

    def __init__(self, images: str | Path, prompts: str | Path = PROMPT) -> None:
        self.root, paths = _found(str(images))
        ids = {path.relative_to(self.root).as_posix(): path for path in paths}
        self._samples = [
            _Asked(path, prompt)
            for name, prompt, line in _prompts(str(prompts))
            for path in (paths if name is None else [_named(name, ids, line)])
        ]

    def __len__(self) -> int:
        return len(self._samples)

    @overload
    def __getitem__(self, index: int) -> tuple[str, Image.Image, str]: ...

    @overload
    def __getitem__(self, index: slice) -> list[tuple[str, Image.Image, str]]: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        path, prompt = self._samples[index]
        try:
            with Image.open(path) as image:
                picture = image.convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise OSError(f"the picture {str(path)!r} cannot be read: {error}") from error
        return path.relative_to(self.root).as_posix(), picture, prompt


def _found(images: str) -> tuple[Path, list[Path]]:
    """The folder that ids are relative to, and the pictures."""
    given = Path(images)
    if given.is_dir():
        root, found = given, sorted(path for path in given.rglob("*") if path.suffix.lower() in SUFFIXES)
    elif given.is_file():
        root, found = given.parent, [given]
    else:
        fixed = images[: min((images.index(sign) for sign in "*?[" if sign in images), default=len(images))]
        root = Path(fixed) if fixed.endswith("/") else Path(fixed).parent
        found = [Path(path) for path in sorted(glob.glob(images, recursive=True)) if Path(path).is_file()]
        found = [path for path in found if path.suffix.lower() in SUFFIXES]
    if not found:
        kinds = ", ".join(SUFFIXES)
        raise FileNotFoundError(f"`images` must name a folder, glob or file with pictures ({kinds}), got {images!r}")
    return root, found


def _prompts(prompts: str) -> Iterator[tuple[str | None, str, str]]:
    """(image or None for all, prompt, where it stands) of each prompt."""
    path = Path(prompts)
    jsonl = path.suffix == ".jsonl"
    is_file = len(prompts) < 256 and path.is_file()
    if not is_file:
        if (jsonl or path.suffix == ".txt") and " " not in prompts:
            raise FileNotFoundError(f"there is no file of prompts at {prompts!r}")
        lines = [prompts]
    else:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"`prompts` must be UTF-8 text, {prompts!r} is not: {error}") from error
    asked = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not asked:
        raise ValueError(f"`prompts` must hold at least one prompt, got {prompts!r}")
    for number, line in asked:
        where = f"line {number} of {prompts}"
        yield (*_record(line, where), where) if jsonl else (None, line, where)


def _record(line: str, where: str) -> tuple[str | None, str]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is not JSON: {error}") from error
    texts = [record[key] for key in PROMPT_KEYS if key in record] if isinstance(record, dict) else []
    if not texts or not isinstance(texts[0], str) or not texts[0].strip():
        raise ValueError(
            f"{where} must be an object with a text under one of {', '.join(PROMPT_KEYS)}, got {line[:60]}"
        )
    name = record.get("image")
    if name is not None and not isinstance(name, str):
        raise ValueError(f"{where} must have the id of a picture under 'image', got {name!r}")
    return name, texts[0]


def _named(name: str, ids: dict[str, Path], where: str) -> Path:
    if name not in ids:  # ids are paths below the folder: nothing outside of it can be named
        close = difflib.get_close_matches(name, ids, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else f"; ids look like {next(iter(ids))!r}"
        raise ValueError(f"{where} names {name!r}, which is not among the {len(ids)} pictures{hint}")
    return ids[name]

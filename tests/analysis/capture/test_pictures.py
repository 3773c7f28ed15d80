"""Pictures and prompts from the disk, and the command that captures them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from analysis.capture import Pictures, open_dump
from analysis.cli import app

RUN = CliRunner()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three pictures, one of them in a subfolder, one of them with a palette, and a text."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(("b.png", "a.JPG", "more/c.png")):
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    Image.open(folder / "b.png").convert("P").save(folder / "b.png")
    (folder / "notes.txt").write_text("what color is the circle ?\n\nis there a red square ?\n")
    return folder


def asked(pictures: Pictures) -> list[tuple[str, str]]:
    return [(image_id, prompt) for image_id, _, prompt in pictures]


def test_a_folder_with_its_subfolders(photos: Path) -> None:
    pictures = Pictures(photos, "what ?")
    assert asked(pictures) == [("a.JPG", "what ?"), ("b.png", "what ?"), ("more/c.png", "what ?")]
    assert all(image.mode == "RGB" for _, image, _ in pictures)
    assert [sample[0] for sample in pictures[1:]] == ["b.png", "more/c.png"]


def test_globs_and_single_pictures(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(Pictures(f"{photos}/**/*.png", "?")) == [("b.png", "?"), ("more/c.png", "?")]
    assert asked(Pictures(f"{photos}/mo*/*", "?")) == [("more/c.png", "?")]
    assert asked(Pictures(photos / "more" / "c.png", "?")) == [("c.png", "?")]
    monkeypatch.chdir(photos)
    assert asked(Pictures("*", "?")) == [("a.JPG", "?"), ("b.png", "?")]
    assert asked(Pictures("more/*.png", "?")) == [("c.png", "?")]


def test_prompts_of_files(photos: Path, tmp_path: Path) -> None:
    every = asked(Pictures(photos, photos / "notes.txt"))
    assert every[:4] == [(name, "what color is the circle ?") for name in ("a.JPG", "b.png", "more/c.png")] + [
        ("a.JPG", "is there a red square ?")
    ]
    assert len(every) == 6
    lines = tmp_path / "prompts.jsonl"
    records = [{"image": "more/c.png", "prompt": "x ?"}, {"question": "y ?"}, {"image": "a.JPG", "text": "z ?"}]
    lines.write_text("\n".join(map(json.dumps, records)) + "\n\n")
    assert asked(Pictures(photos, lines)) == [
        ("more/c.png", "x ?"), ("a.JPG", "y ?"), ("b.png", "y ?"), ("more/c.png", "y ?"), ("a.JPG", "z ?"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"image": "../secret.png", "prompt": "x"}', r"line 2 of .* names '../secret.png', which is not among the 3"),
        ('{"image": "/etc/passwd", "prompt": "x"}', r"names '/etc/passwd', which is not among the 3 pictures"),
        ('{"image": "more/d.png", "prompt": "x"}', r"not among the 3 pictures; did you mean 'more/c.png'\?"),
        ('{"image": 3, "prompt": "x"}', r"line 2 of .* must have the id of a picture under 'image', got 3"),
        ('{"image": "b.png"}', r"line 2 of .* must be an object with a text under one of prompt, question, text, got"),
        ('{"prompt": " "}', r"must be an object with a text under one of"),
        ('["x"]', r"must be an object with a text under one of"),
        ('{"prompt": ', r"line 2 of .* is not JSON"),
    ],
)
def test_bad_lines_are_named(photos: Path, tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "fine ?"}\n' + line + "\n")
    with pytest.raises(ValueError, match=message):
        Pictures(photos, file)


def test_what_is_not_there_or_cannot_be_read(photos: Path, tmp_path: Path) -> None:
    for images in (tmp_path / "none", f"{photos}/*.webp", photos / "nothing.png"):
        with pytest.raises(FileNotFoundError, match="`images` must name a folder, glob or file with pictures"):
            Pictures(images)
    with pytest.raises(FileNotFoundError, match=r"there is no file of prompts at .*asked.jsonl"):
        Pictures(photos, tmp_path / "asked.jsonl")
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(ValueError, match="`prompts` must hold at least one prompt"):
        Pictures(photos, tmp_path / "empty.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="`prompts` must be UTF-8 text"):
        Pictures(photos, tmp_path / "binary.txt")
    (photos / "b.png").write_bytes((photos / "b.png").read_bytes()[:60])
    pictures = Pictures(photos)
    with pytest.raises(OSError, match=r"the picture '.*b.png' cannot be read"):
        pictures[1]


def test_the_command_captures_and_continues(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "dump.zarr"
    command = ["capture", "--images", str(photos), "--prompts", str(photos / "notes.txt"), "--out", str(out)]
    command += ["--keep", "cls", "--keep", "text_mean", "--no-heads", "--dtype", "float16", "--batch-size", "2"]
    half = RUN.invoke(app, [*command, "--shard", "0/2"])
    assert half.exit_code == 0, half.output
    assert "4 images" not in half.output.splitlines()[-1]
    done = RUN.invoke(app, command)
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == f"{out}: 6 images, cls, text_mean"
    dump = open_dump(out)
    assert dump.attrs["model"] == "data/mini_llava"
    assert dump["cls"].dims == ("image", "vision_layer", "token")
    assert dump["text_mean"].dtype == np.float16
    assert dump["image_id"].values.tolist() == 2 * ["a.JPG", "b.png", "more/c.png"]
    assert dump["question"].values[-1] == "is there a red square ?"
    again = RUN.invoke(app, command)
    assert again.stdout == done.stdout


def test_the_command_captures_the_benchmark_by_default(tmp_path: Path) -> None:
    out = tmp_path / "dump.zarr"
    done = RUN.invoke(app, ["capture", "--out", str(out), "--limit", "2"])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == f"{out}: 2 images, cls, last"
    assert "2/2" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["no/such/model"], "no model folder at 'no/such/model'"),
        (["--images", "no/such/folder"], "`images` must name a folder, glob or file with pictures"),
        (["--prompts", "what ?"], "`--prompts` needs `--images`"),
        (["--keep", "clss"], "unknown reducer 'clss'; did you mean 'cls'"),
        (["--shard", "2"], "`--shard` must be i/n, for example 0/4, got '2'"),
        (["--shard", "4/4"], "`shard` must be (i, n) with 0 <= i < n"),
        (["--dtype", "int8"], "`dtype` must be one of float32, float16, got 'int8'"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path: Path, options: list[str], message: str) -> None:
    done = RUN.invoke(app, ["capture", *options, "--out", str(tmp_path / "dump.zarr")])
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "dump.zarr").exists()

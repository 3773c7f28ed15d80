"""Dumps: what is in them, killed runs that are continued, and stores that must be refused."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
import zarr
from PIL import Image

from analysis.capture import ClsRow, LastRow, capture_dataset, open_dump, record
from analysis.metrics import measure
from analysis.models import Vlm

ROOT = Path(__file__).parents[3]
QUESTIONS = ("what color is the circle ?", "is there a red square ?", "how many star is there on the green sign ?")
Samples = list[tuple[int, Image.Image, str]]


@pytest.fixture(scope="module")
def whole(tiny_vlm: Vlm, tiny_image: Callable[[int], Image.Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished dump of the seven samples. Shared: copy before changing it."""
    store = tmp_path_factory.mktemp("dump") / "whole.zarr"
    listed = [(100 + seed, tiny_image(seed), QUESTIONS[seed % 3]) for seed in range(7)]
    capture_dataset(tiny_vlm, listed, store, batch_size=2, progress=False)
    return store


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "dump.zarr"))


def same(dump: xr.Dataset, store: Path) -> None:
    xr.testing.assert_allclose(dump.load(), open_dump(store).load(), rtol=1e-5, atol=1e-7)


def unmark(store: Path, done: int) -> None:
    """As if the process had been killed after `done` images."""
    zarr.open_group(store, mode="r+")["captured"][done:] = False


@pytest.fixture
def seen(tiny_vlm: Vlm) -> list[int]:
    """Batch sizes of the forward passes of the model."""
    sizes: list[int] = []
    handle = tiny_vlm.model.register_forward_pre_hook(
        lambda _, __, options: sizes.append(len(options["input_ids"])), with_kwargs=True
    )
    yield sizes
    handle.remove()


def test_what_is_in_a_dump(tiny_vlm: Vlm, samples: Samples, whole: Path) -> None:
    dump = open_dump(whole)
    assert dict(dump.sizes) == {
        "image": 7, "vision_layer": 3, "vision_head": 4, "token": 36, "layer": 3, "head": 4,
    }  # fmt: skip
    assert dump["cls"].dims == ("image", "vision_layer", "vision_head", "token")
    assert dump["last"].dims == ("image", "layer", "head", "token")
    assert dump["cls"].dtype == dump["last"].dtype == np.float32
    assert dump["cls"].chunks is not None
    assert dump["image_id"].values.tolist() == list(range(100, 107))
    assert dump["question"].values.tolist() == [sample[2] for sample in samples]
    assert dump["layer"].values.tolist() == dump["vision_layer"].values.tolist() == [1, 2, 3]
    assert dump["token"].values[0] == 0
    assert dump.attrs["model"] == "tiny"
    assert dump.attrs["config_hash"] == tiny_vlm.config_hash
    assert dump.attrs["grid"] == [6, 6]
    assert dump.attrs["feature_layer"] == 2
    assert "not renormalised" in dump.attrs["captured"]
    assert "torch" in dump.attrs["provenance"]
    with torch.no_grad(), record(tiny_vlm, cls=ClsRow(), last=LastRow()) as log:
        for _, image, question in samples:
            tiny_vlm.model(**tiny_vlm.prepare(image, question))
    np.testing.assert_allclose(dump["cls"].values, log.cls.numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(dump["last"].values, log.last.numpy(), rtol=1e-4, atol=1e-5)
    for row, (_, image, question) in enumerate(samples):  # alone, so without padding
        at = (tiny_vlm.prepare(image, question)["input_ids"][0] == tiny_vlm.model.config.image_token_id).nonzero()
        assert dump["position"][row].values.tolist() == at[:, 0].tolist()


def test_plain_xarray_reads_a_dump(whole: Path) -> None:
    plain = xr.open_zarr(whole, consolidated=False)
    assert {"image_id", "question", "position", "layer"} <= set(plain.coords)
    np.testing.assert_array_equal(plain["cls"].values, open_dump(whole)["cls"].values)


def test_metrics_take_a_dump_as_it_is(whole: Path) -> None:
    dump = open_dump(whole)
    table = measure(dump, ["entropy", "centroid_row"])
    assert len(table) == 7 * 6 * 2
    assert dump["cls"].chunks is not None
    eager = measure(dump.load(), ["entropy", "centroid_row"])
    pd.testing.assert_frame_equal(table, eager)


@dataclass(frozen=True)
class Asked:
    question: str


@dataclass(frozen=True)
class Sample:
    image_id: str
    image: Image.Image
    questions: tuple[Asked, ...]


def test_objects_text_ids_and_iterators(tiny_vlm: Vlm, samples: Samples, whole: Path, tmp_path: Path) -> None:
    objects = (Sample(f"id-{n}", image, (Asked(question), Asked("no ?"))) for n, image, question in samples[:3])
    dump = capture_dataset(tiny_vlm, objects, str(tmp_path / "objects.zarr"), batch_size=8, progress=False)
    assert dump["image_id"].values.tolist() == ["id-100", "id-101", "id-102"]
    np.testing.assert_allclose(dump["last"], open_dump(whole)["last"][:3], rtol=1e-4, atol=1e-5)


def test_a_store_in_memory(tiny_vlm: Vlm, samples: Samples, whole: Path) -> None:
    memory = zarr.storage.MemoryStore()
    first = capture_dataset(tiny_vlm, samples, memory, batch_size=2, progress=False)
    same(first, whole)
    same(open_dump(memory), whole)


def test_progress_is_shown(tiny_vlm: Vlm, samples: Samples, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture_dataset(tiny_vlm, samples[:2], tmp_path / "dump.zarr")
    assert "2/2" in capsys.readouterr().err


def test_a_finished_dump_is_returned_without_running_the_model(
    tiny_vlm: Vlm, samples: Samples, store: Path, seen: list[int]
) -> None:
    same(capture_dataset(tiny_vlm, samples, store, progress=False), store)
    assert seen == []


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_only_what_is_missing_is_captured(
    tiny_vlm: Vlm, samples: Samples, store: Path, whole: Path, seen: list[int], batch_size: int
) -> None:
    unmark(store, 4)
    with pytest.raises(ValueError, match=r"holds 4 of 7 images: finish it with capture_dataset\(..., resume=True\)"):
        open_dump(store)
    dump = capture_dataset(tiny_vlm, samples, store, batch_size=batch_size, progress=False)
    assert sum(seen) == 3
    same(dump, whole)


def test_a_killed_run_is_continued(
    tiny_vlm: Vlm, samples: Samples, whole: Path, tmp_path: Path, seen: list[int]
) -> None:
    store = tmp_path / "dump.zarr"
    script = Path(__file__).with_name("killed_capture.py")
    run = subprocess.run(
        [sys.executable, "-W", "error", script, store],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    dump = capture_dataset(tiny_vlm, samples, store, batch_size=2, progress=False)
    assert sum(seen) == 3  # two batches of two were marked
    same(dump, whole)


def test_a_run_that_ended_before_the_first_batch_is_begun_again(
    tiny_vlm: Vlm, samples: Samples, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(group: zarr.Group, name: str, **options: object) -> zarr.Array:
        if name == "captured":
            raise KeyboardInterrupt
        return stock(group, name, **options)

    stock = zarr.Group.create_array
    store = tmp_path / "dump.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(zarr.Group, "create_array", interrupted)
        with pytest.raises(KeyboardInterrupt):
            capture_dataset(tiny_vlm, samples, store, batch_size=2, progress=False)
    assert (store / "cls").exists()
    same(capture_dataset(tiny_vlm, samples, store, batch_size=2, progress=False), whole)


def test_a_leftover_of_the_first_write_is_no_obstacle(tiny_vlm: Vlm, samples: Samples, tmp_path: Path) -> None:
    (tmp_path / "zarr.0123.partial").write_text("{")
    assert capture_dataset(tiny_vlm, samples[:1], tmp_path, progress=False).sizes["image"] == 1


def test_without_resume_a_store_is_refused(tiny_vlm: Vlm, samples: Samples, store: Path) -> None:
    with pytest.raises(FileExistsError, match="holds a dump already: delete it, or pass resume=True"):
        capture_dataset(tiny_vlm, samples, store, resume=False, progress=False)


def test_another_model_or_other_samples_are_refused(tiny_vlm: Vlm, samples: Samples, store: Path) -> None:
    def refused(message: str, vlm: Vlm = tiny_vlm, given: Samples = samples) -> None:
        with pytest.raises(ValueError, match=message):
            capture_dataset(vlm, given, store, progress=False)

    refused("its model is 'tiny', this one's is 'other'", replace(tiny_vlm, id="other"))
    refused("its config_hash is '[0-9a-f]{12}', this one's is '0'", replace(tiny_vlm, config_hash="0"))
    retrained = copy.deepcopy(tiny_vlm.model)
    with torch.no_grad():
        retrained.lm_head.weight.mul_(1.01)
    refused("its weights is '[0-9a-f]{12}', this one's is", replace(tiny_vlm, model=retrained))
    refused("its revision is None, this one's is 'main'", replace(tiny_vlm, revision="main"))
    refused("was begun for 7 images, `samples` holds 6", given=samples[:-1])
    refused("number 0 in it is image 100 with 'what color is the circle .', in `samples` image 101", given=[
        samples[1], samples[0], *samples[2:]
    ])  # fmt: skip
    refused("in `samples` image 102 with 'why .'", given=[*samples[:2], (102, samples[2][1], "why ?"), *samples[3:]])


def test_foreign_stores_are_refused_and_left_alone(tiny_vlm: Vlm, samples: Samples, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "thesis.tex").write_text("do not lose me")
    file = tmp_path / "file"
    file.write_text("nor me")
    group, array = tmp_path / "group.zarr", tmp_path / "array.zarr"
    zarr.create_group(group, attributes={"mine": True})
    zarr.create_array(array, shape=(3,), dtype="int64")
    for store, error, message in (
        (folder, ValueError, "is not an attention dump: no zarr.json in it"),
        (file, ValueError, "is not an attention dump but a file"),
        (group, ValueError, "is not an attention dump of this format"),
        (array, (ValueError, OSError), "attention dump"),
    ):
        for attempt in (
            lambda s=store: capture_dataset(tiny_vlm, samples, s, progress=False),
            lambda s=store: open_dump(s),
        ):
            with pytest.raises(error, match=message):
                attempt()
    assert (folder / "thesis.tex").read_text() == "do not lose me"
    assert file.read_text() == "nor me"
    assert zarr.open_group(group, mode="r").attrs["mine"]
    with pytest.raises(FileNotFoundError, match="there is no attention dump at"):
        open_dump(tmp_path / "nothing.zarr")


def test_damaged_stores_are_refused(tiny_vlm: Vlm, samples: Samples, whole: Path, tmp_path: Path) -> None:
    def damaged(name: str) -> Path:
        return Path(shutil.copytree(whole, tmp_path / name))

    half = damaged("half")
    (half / "zarr.json").write_text((half / "zarr.json").read_text()[:40])
    lost = damaged("lost")
    (lost / "cls" / "c" / "1" / "0" / "0" / "0").unlink()
    headless = damaged("headless")
    shutil.rmtree(headless / "last")
    mangled = damaged("mangled")
    (mangled / "captured" / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "array"}))
    for store, message in (
        (half, "is damaged"),
        (lost, "is damaged: 'cls' has 3 of 4 files"),
        (headless, "is damaged: 'last' cannot be read"),
        (mangled, "is damaged"),
    ):
        for attempt in (
            lambda s=store: capture_dataset(tiny_vlm, samples, s, progress=False),
            lambda s=store: open_dump(s),
        ):
            with pytest.raises(OSError, match=message):
                attempt()


@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied"])
def test_damaged_values_are_found_when_read(store: Path, whole: Path, damage: str) -> None:
    file = store / "last" / "c" / "1" / "0" / "0" / "0"
    content = bytearray(file.read_bytes())
    content[10] ^= 0xFF
    file.write_bytes({"truncated": content[: len(content) // 2], "flipped": content, "emptied": b""}[damage])
    dump = open_dump(store)
    with pytest.raises(OSError, match=r"is damaged: 'last' of images 2 to 3 cannot be read"):
        dump["last"].load()
    intact = [0, 1, 4, 5, 6]
    np.testing.assert_array_equal(dump["last"][intact], open_dump(whole)["last"][intact])
    np.testing.assert_array_equal(dump["cls"], open_dump(whole)["cls"])


def test_a_damaged_list_of_ids_is_found_at_once(store: Path) -> None:
    file = store / "question" / "c" / "1"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(OSError, match="is damaged: 'question' cannot be read"):
        open_dump(store)


def test_attention_that_is_not_a_number_is_not_stored(tiny_vlm: Vlm, samples: Samples, tmp_path: Path) -> None:
    broken = copy.deepcopy(tiny_vlm.model)
    with torch.no_grad():
        broken.model.language_model.layers[1].self_attn.q_proj.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"`last` must be numbers, got NaN for one of the images \[100, 101\]"):
        capture_dataset(replace(tiny_vlm, model=broken), samples[:2], tmp_path / "dump.zarr", progress=False)


@pytest.mark.parametrize(
    ("samples_", "options", "message"),
    [
        ([], {}, "`samples` must hold at least one sample, got none"),
        ([(1, "picture", "what ?")], {}, "sample 0 must have a PIL image and a question of type str, got str and str"),
        ([object()], {}, "sample 0 is a object: 'object' object has no attribute 'image_id'"),
        ([Sample("a", Image.new("RGB", (24, 24)), ())], {}, "sample 0 is a Sample: tuple index out of range"),
        ([(1, Image.new("RGB", (24, 24)), "what ?")], {"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
    ],
)
def test_bad_input_is_refused(tiny_vlm: Vlm, tmp_path: Path, samples_, options, message) -> None:
    store = tmp_path / "dump.zarr"
    with pytest.raises(ValueError, match=message):
        capture_dataset(tiny_vlm, samples_, store, progress=False, **options)
    assert not store.exists()

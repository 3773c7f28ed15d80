"""Dumps of images whose visual tokens differ: what is in them, killed and shared runs, and what must be refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
import zarr
from PIL import Image
from typer.testing import CliRunner

from analysis import cli
from analysis.capture import (
    ClsRow,
    LastRow,
    MeanReceived,
    TopK,
    capture_dataset,
    open_dump,
    open_dumps,
    record,
)
from analysis.metrics import measure
from analysis.models import Vlm

from ..pruning.families import FAMILIES
from .several_grids import ORDER, QUESTIONS, build_windowed_vlm, same, samples_of_several_grids, unmark

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("killed_by_layout.py")
Samples = list[tuple[Any, Image.Image, str]]
NAMES = ("2x3", "5x4", "3x3")
"""Groups, in the order in which the samples have them."""
FAMILY = {family.name: family for family in FAMILIES}


@pytest.fixture(scope="module")
def vlm() -> Vlm:
    """Shared: leave it as it was."""
    return build_windowed_vlm()


@pytest.fixture(scope="module")
def samples() -> Samples:
    return samples_of_several_grids()


@pytest.fixture(scope="module")
def whole(vlm: Vlm, samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished dump of the seven samples. Shared: copy before changing it."""
    store = tmp_path_factory.mktemp("dump") / "whole.zarr"
    capture_dataset(vlm, samples, store, batch_size=2, progress=False)
    return store


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "dump.zarr"))


@pytest.fixture
def seen(vlm: Vlm) -> Iterator[list[int]]:
    """Batch sizes of the forward passes of the model."""
    sizes: list[int] = []
    handle = vlm.model.register_forward_pre_hook(
        lambda _, __, options: sizes.append(len(options["input_ids"])), with_kwargs=True
    )
    yield sizes
    handle.remove()


@torch.no_grad()
def test_images_are_grouped_by_grid_and_equal_what_is_recorded_alone(vlm: Vlm, samples: Samples, whole: Path) -> None:
    tree = open_dumps(whole)
    assert tuple(tree.children) == NAMES
    for size, name in ((0, "2x3"), (2, "5x4"), (1, "3x3")):
        own = [number for number, chosen in enumerate(ORDER) if chosen == size]
        dump = tree[name].to_dataset()
        rows, columns = map(int, name.split("x"))
        assert dump.attrs["grid"] == [rows, columns]
        assert dump["received"].dims == ("image", "vision_layer", "vision_head", "token")
        assert dict(dump.sizes) == {
            "image": len(own), "vision_layer": 3, "vision_head": 4, "token": rows * columns, "layer": 2, "head": 4,
        }  # fmt: skip
        assert dump["image_id"].values.tolist() == [samples[number][0] for number in own]
        assert dump["question"].values.tolist() == [samples[number][2] for number in own]
        for row, number in enumerate(own):
            inputs = vlm.prepare(*samples[number][1:])
            with record(vlm, received=MeanReceived(heads=True), last=LastRow()) as log:
                vlm.model(**inputs)
            np.testing.assert_allclose(dump["received"][row], log.received[0], rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(dump["last"][row], log.last[0], rtol=1e-4, atol=1e-6)
            at = (inputs["input_ids"][0] == vlm.model.config.image_token_id).nonzero()[:, 0]
            assert dump["position"][row].values.tolist() == at.tolist()  # alone, so without padding
        assert float(dump["received"].std("token").max()) > 1e-3
        np.testing.assert_allclose(dump["received"].sum("token"), 1, rtol=1e-5)


def test_the_root_lists_all_images_in_order(samples: Samples, whole: Path) -> None:
    root = open_dumps(whole)
    assert root["image_id"].values.tolist() == [sample[0] for sample in samples]
    assert root["question"].values.tolist() == [sample[2] for sample in samples]
    assert root["layout"].values.tolist() == [("2x3", "3x3", "5x4")[size] for size in ORDER]
    assert root["captured"].values.all()
    assert root.attrs["model"] == "tiny qwen"
    source = "vision mean received, windows un-permuted, merged 2 x 2 by sum"
    assert root.attrs["vision_source"] == source
    for child in root.children.values():
        assert child["received"].attrs["source"] == source
        assert child["last"].attrs["source"] == "text last token"
        assert child["received"].chunks is not None


def test_nothing_is_padded(whole: Path) -> None:
    for name in NAMES:
        rows, columns = map(int, name.split("x"))
        assert zarr.open_group(whole / name, mode="r")["received"].shape[-1] == rows * columns
    plain = xr.open_datatree(whole, engine="zarr", consolidated=False)
    assert set(plain.children) == set(NAMES)
    np.testing.assert_array_equal(plain["5x4/last"].values, open_dump(whole, grid="5x4")["last"].values)


def test_metrics_take_each_grid_as_it_is(whole: Path) -> None:
    for child in open_dumps(whole).children.values():
        dump = child.to_dataset()
        table = measure(dump, ["entropy", "centroid_row"])
        assert len(table) == dump.sizes["image"] * 5 * 2
        pd.testing.assert_frame_equal(table, measure(dump.load(), ["entropy", "centroid_row"]))


def test_one_grid_at_a_time(whole: Path, tiny_vlm: Vlm, tiny_image: Any, tmp_path: Path) -> None:
    assert open_dump(whole, grid="3x3").sizes["image"] == 1
    with pytest.raises(ValueError, match=r"holds images of 3 grids: pass `grid`, one of 2x3, 5x4, 3x3, or open all"):
        open_dump(whole)
    with pytest.raises(KeyError, match="unknown grid '5x5'; did you mean '5x4'"):
        open_dump(whole, grid="5x5")
    alone = tmp_path / "alone.zarr"
    capture_dataset(tiny_vlm, [(7, tiny_image(0), "what color is the circle ?")], alone, progress=False)
    xr.testing.assert_identical(open_dumps(alone)["6x6"].to_dataset().load(), open_dump(alone, grid="6x6").load())
    with pytest.raises(KeyError, match="holds images of the grid 6x6 only, got '3x3'"):
        open_dump(alone, grid="3x3")
    with pytest.raises(FileNotFoundError, match="there is no attention dump at"):
        open_dumps(tmp_path / "nothing.zarr")


# continued, shared, broken ------------------------------------------------------------


def test_a_finished_dump_is_returned_without_running_the_model(
    vlm: Vlm, samples: Samples, store: Path, seen: list[int]
) -> None:
    same(capture_dataset(vlm, samples, store, progress=False), store)
    assert seen == []
    with pytest.raises(FileExistsError, match="holds a dump already: delete it, or pass resume=True"):
        capture_dataset(vlm, samples, store, resume=False, progress=False)


@pytest.mark.parametrize("batch_size", [1, 5])
def test_only_what_is_missing_is_captured(
    vlm: Vlm, samples: Samples, store: Path, whole: Path, seen: list[int], batch_size: int
) -> None:
    unmark(store, "2x3", [1])
    unmark(store, "5x4", [0, 2])
    with pytest.raises(ValueError, match=r"holds 4 of 7 images: finish it with capture_dataset\(..., resume=True\)"):
        open_dumps(store)
    part = open_dumps(store, partial=True)
    assert part["captured"].values.tolist() == [True, False, False, True, True, False, True]
    assert part["2x3"]["image_id"].values.tolist() == [100, 106]
    same(capture_dataset(vlm, samples, store, batch_size=batch_size, progress=False), whole)
    assert sum(seen) == 3


def run_script(store: Path, *shard: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", SCRIPT, store, *shard],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_killed_run_is_continued(vlm: Vlm, samples: Samples, whole: Path, tmp_path: Path, seen: list[int]) -> None:
    store = tmp_path / "dump.zarr"
    run = run_script(store)
    _, error = run.communicate()
    assert run.returncode == -signal.SIGKILL, error
    assert open_dumps(store, partial=True)["captured"].values.sum() == 3  # all of 2x3, in two batches
    same(capture_dataset(vlm, samples, store, batch_size=2, progress=False), whole)
    assert sum(seen) == 4


def test_shards_at_the_same_time(whole: Path, tmp_path: Path) -> None:
    store = tmp_path / "dump.zarr"
    runs = [run_script(store, str(index), "2") for index in range(2)]
    errors = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], errors
    same(open_dumps(store), whole)


def test_a_group_that_another_process_is_laying_out_is_left_alone(
    vlm: Vlm, samples: Samples, store: Path, whole: Path
) -> None:
    shutil.rmtree(store / "3x3" / "captured")  # made last
    for name in ("received", "last", "position"):
        shutil.rmtree(store / "3x3" / name / "c")
    part = open_dumps(store, partial=True)
    assert set(part.children) == {"2x3", "5x4"}
    assert part["captured"].values.tolist() == [True, True, True, False, True, True, True]
    same(capture_dataset(vlm, samples, store, batch_size=2, progress=False), whole)


@pytest.mark.parametrize(("writers", "batch_size"), [(2, 2), (4, 1), (6, 3)])
def test_shards_fill_one_store(
    vlm: Vlm, samples: Samples, whole: Path, tmp_path: Path, seen: list[int], writers: int, batch_size: int
) -> None:
    store = tmp_path / "dump.zarr"
    for index in reversed(range(writers)):
        tree = capture_dataset(vlm, samples, store, batch_size=batch_size, shard=(index, writers), progress=False)
        assert tree["captured"].values.sum() == sum(seen)
    assert sum(seen) == 7
    same(open_dumps(store), whole)


@pytest.mark.parametrize("fails_at", ["layout", "2x3/zarr.json", "2x3/received/c/1", "5x4/captured/c/0"])
def test_a_run_that_cannot_write_loses_nothing(
    vlm: Vlm, samples: Samples, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: str
) -> None:
    store = tmp_path / "dump.zarr"
    stock = zarr.storage.LocalStore.set

    async def set_until_full(self: zarr.storage.LocalStore, key: str, value: Any) -> None:
        if f"{self.root}/{key}".startswith(f"{store}/{fails_at}"):
            raise OSError(28, os.strerror(28), key)
        await stock(self, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(zarr.storage.LocalStore, "set", set_until_full)
        with pytest.raises(OSError, match=r"cannot be written \(No space left on device\); images captured"):
            capture_dataset(vlm, samples, store, batch_size=2, progress=False)
    same(capture_dataset(vlm, samples, store, batch_size=2, progress=False), whole)


def test_a_store_in_memory_and_an_iterator(vlm: Vlm, samples: Samples, whole: Path) -> None:
    memory = zarr.storage.MemoryStore()
    same(capture_dataset(vlm, iter(samples), memory, batch_size=2, progress=False), whole)
    same(open_dumps(memory), whole)
    url = "memory://prunescope-tests/layouts.zarr"
    same(capture_dataset(vlm, samples, url, batch_size=2, progress=False), whole)
    zarr.open_group(f"{url}/3x3", mode="r+")["captured"][:] = False
    same(capture_dataset(vlm, samples, url, batch_size=2, progress=False), whole)


def test_other_samples_or_another_capture_are_refused(vlm: Vlm, samples: Samples, store: Path) -> None:
    def refused(message: str, model: Vlm = vlm, given: Samples = samples, **options: Any) -> None:
        with pytest.raises(ValueError, match=message):
            capture_dataset(model, given, store, progress=False, **options)

    refused("its model is 'tiny qwen', this one's is 'other'", replace(vlm, id="other"))
    refused("its capture is", reducers={"last": LastRow()})
    refused("was begun for 7 images, `samples` holds 6", given=samples[:-1])
    refused("number 6 in it is image 106 with 'w5 w6 w7', in `samples` image 9", given=[
        *samples[:6], (9, *samples[6][1:])
    ])  # fmt: skip
    unmark(store, "3x3", [0])
    resized = [(key, image.resize((84, 56)) if key == 103 else image, asked) for key, image, asked in samples]
    refused("image 103 in it has visual tokens 3x3, in `samples` 2x3; choose another store", given=resized)


def test_dumps_of_the_other_kind_are_refused(
    vlm: Vlm, samples: Samples, tiny_vlm: Vlm, tiny_image: Any, store: Path, tmp_path: Path
) -> None:
    one = [(7, tiny_image(0), "what color is the circle ?")]
    with pytest.raises(ValueError, match="another model or capture: of several layouts; choose another store"):
        capture_dataset(tiny_vlm, one, store, progress=False)
    alone = tmp_path / "alone.zarr"
    capture_dataset(tiny_vlm, one, alone, progress=False)
    with pytest.raises(ValueError, match="another model or capture: of one grid; choose another store"):
        capture_dataset(vlm, samples, alone, progress=False)
    assert open_dump(alone).sizes["image"] == 1


def test_a_dump_without_positions_is_read_but_not_continued(tiny_vlm: Vlm, tiny_image: Any, tmp_path: Path) -> None:
    one = [(7, tiny_image(0), "what color is the circle ?")]
    store = tmp_path / "old.zarr"
    new = capture_dataset(tiny_vlm, one, store, progress=False).load()
    header = json.loads((store / "zarr.json").read_text())
    header["attributes"] |= {"format": "prunescope-attention-2", "coordinates": "image_id question"}
    header["attributes"]["variables"].remove("position")
    (store / "zarr.json").write_text(json.dumps(header))
    shutil.rmtree(store / "position")
    old = open_dump(store).load()
    xr.testing.assert_equal(old, new.drop_vars("position"))
    with pytest.raises(ValueError, match="of format 'prunescope-attention-2', this release reads 'prunescope-attent"):
        capture_dataset(tiny_vlm, one, store, progress=False)


def test_damaged_groups_are_refused(vlm: Vlm, samples: Samples, whole: Path, tmp_path: Path) -> None:
    lost = Path(shutil.copytree(whole, tmp_path / "lost.zarr"))
    (lost / "5x4" / "last" / "c" / "0" / "0" / "0" / "0").unlink()
    index = Path(shutil.copytree(whole, tmp_path / "index.zarr"))
    shutil.rmtree(index / "layout")
    emptied = Path(shutil.copytree(whole, tmp_path / "emptied.zarr"))
    shutil.rmtree(emptied / "layout" / "c")
    for store, message in (
        (lost, "'last' has 1 of 2 files"),
        (index, "'layout'"),
        (emptied, "'layout' cannot be read"),
    ):
        for attempt in (
            lambda s=store: open_dumps(s),
            lambda s=store: capture_dataset(vlm, samples, s, progress=False),
        ):
            with pytest.raises(OSError, match=message):
                attempt()


def test_what_cannot_be_recorded_is_refused_before_anything_is_written(
    vlm: Vlm, samples: Samples, tmp_path: Path
) -> None:
    store = tmp_path / "dump.zarr"
    for reducers, message in (
        ({"cls": ClsRow()}, "`cls` needs a vision encoder with a CLS token"),
        ({}, "`reducers` must name at least one"),
        ({"position": LastRow()}, "must not use the name of an axis or coordinate of the dump, got 'position'"),
    ):
        with pytest.raises(ValueError, match=message):
            capture_dataset(vlm, samples, store, reducers=reducers, progress=False)
    assert not store.exists()
    with pytest.raises(ValueError, match=r"`k` must be in \[1, 6\], got 7"):
        capture_dataset(vlm, samples, store, reducers={"top": TopK(LastRow(), 7)}, progress=False)
    # no attention was written, so the place is free
    assert tuple(capture_dataset(vlm, samples, store, progress=False).children) == NAMES


# the command ------------------------------------------------------------


def test_the_command(vlm: Vlm, samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, image, _ in samples[:4]:
        image.save(folder / f"{name}.png")
    monkeypatch.setattr(sys.modules["analysis.commands.capture"], "loaded", lambda model, device: vlm)
    out = tmp_path / "dump.zarr"
    command = ["capture", "tiny", "--images", str(folder), "--prompts", QUESTIONS[0], "--out", str(out)]
    half = CliRunner().invoke(cli.app, [*command, "--shard", "0/2", "--batch-size", "1"])
    assert half.exit_code == 0, half.output
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == f"{out}: 4 images of 3 grids (2x3, 5x4, 3x3), received, last"
    assert open_dumps(out)["image_id"].values.tolist() == ["100.png", "101.png", "102.png", "103.png"]

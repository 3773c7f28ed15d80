"""Dumps of chosen reducers, in half precision, on a URL, filled by several writers; full disks and other releases."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from PIL import Image

from analysis.capture import (
    ClsRow,
    Entropy,
    FullMap,
    ImageRows,
    LastRow,
    MeanReceived,
    TextMean,
    TopK,
    capture_dataset,
    open_dump,
    record,
)
from analysis.capture.dump import DumpWriter, Variable
from analysis.models import Vlm

ROOT = Path(__file__).parents[3]
Samples = list[tuple[int, Image.Image, str]]
EVERY = {
    "cls": ClsRow(),
    "last": LastRow(heads=False),
    "text_mean": TextMean(),
    "image_rows": ImageRows(heads=True),
    "received": MeanReceived(),
    "entropy": Entropy(heads=True),
    "top": TopK(LastRow(heads=False), 5),
    "maps": FullMap(heads=True),
}


@pytest.fixture(scope="module")
def plain(tiny_vlm: Vlm, tiny_image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished dump of the seven samples with the default reducers. Shared: copy before changing it."""
    store = tmp_path_factory.mktemp("dump") / "plain.zarr"
    questions = ("what color is the circle ?", "is there a red square ?", "how many star is there on the green sign ?")
    listed = [(100 + seed, tiny_image(seed), questions[seed % 3]) for seed in range(7)]
    capture_dataset(tiny_vlm, listed, store, batch_size=2, progress=False)
    return store


def same(dump: xr.Dataset, store: Path) -> None:
    xr.testing.assert_allclose(dump.load(), open_dump(store).load(), rtol=1e-5, atol=1e-7)


def test_every_reducer_in_one_dump(tiny_vlm: Vlm, samples: Samples, tmp_path: Path) -> None:
    dump = capture_dataset(
        tiny_vlm, samples, tmp_path / "dump.zarr", reducers=EVERY, batch_size=3, progress=False
    ).load()
    vision, text = ("image", "vision_layer"), ("image", "layer")
    assert {name: dump[name].dims for name in dump.data_vars} == {
        "cls": (*vision, "vision_head", "token"),
        "last": (*text, "token"),
        "text_mean": (*text, "token"),
        "image_rows": (*text, "head", "token"),
        "received": (*vision, "token"),
        "entropy": (*vision, "vision_head", "query"),
        "top_weights": (*text, "rank"),
        "top_indices": (*text, "rank"),
        "maps": (*vision, "vision_head", "query", "token"),
    }
    with torch.no_grad(), record(tiny_vlm, **EVERY) as log:
        for _, image, question in samples:
            tiny_vlm.model(**tiny_vlm.prepare(image, question))
    for name in log:
        np.testing.assert_allclose(dump[name].values, log[name].numpy(), rtol=1e-4, atol=2e-5, err_msg=name)
    assert dump["rank"].values.tolist() == [1, 2, 3, 4, 5]
    assert dump["query"].values.tolist() == dump["token"].values.tolist() == list(range(36))
    assert dump["top_indices"].dtype == np.int32
    assert dump["entropy"].attrs["source"] == "vision entropy"
    assert dump["top_weights"].attrs["source"] == "text last token, 5 largest"
    assert dump.attrs["capture"]["top"] == {
        "reducer": "TopK", "heads": False, "layers": None, "k": 5,
        "of": {"reducer": "LastRow", "heads": False, "layers": None},
    }  # fmt: skip
    assert dump.attrs["vision_source"] == "vision CLS"
    assert dump.attrs["token_order"].startswith("row-major over `grid`")


def test_layers_are_numbered_as_in_the_model(tiny_vlm: Vlm, samples: Samples, tmp_path: Path) -> None:
    reducers = {"last": LastRow(layers=(1, -1)), "text": TextMean(layers=(1, 2)), "cls": ClsRow(layers=(-2,))}
    dump = capture_dataset(tiny_vlm, samples[:1], tmp_path / "a.zarr", reducers=reducers, progress=False)
    assert dump["layer"].values.tolist() == [2, 3]
    assert dump["vision_layer"].values.tolist() == [2]
    for refused, message in (
        ({"last": LastRow(), "text": TextMean(layers=(1,))}, "must name the same layers of the text tower, `text`"),
        ({"a": TopK(LastRow(), 2), "b": TopK(LastRow(), 3)}, "must agree on the length of 'rank', got 2 and, for `b_w"),
        ({"cls": ClsRow(layers=(3,))}, r"`layers` of `cls` must be in \[-3, 2\], got 3"),
        ({}, "`reducers` must name at least one"),
        ({"image": ImageRows()}, "must not use the name of an axis or coordinate of the dump, got 'image'"),
    ):
        with pytest.raises(ValueError, match=message):
            capture_dataset(tiny_vlm, samples[:1], tmp_path / "b.zarr", reducers=refused, progress=False)
    with pytest.raises(TypeError, match=r"`cls` must be a reducer such as ClsRow\(\), got 'row'"):
        capture_dataset(tiny_vlm, samples[:1], tmp_path / "b.zarr", reducers={"cls": "row"}, progress=False)
    assert not (tmp_path / "b.zarr").exists()


def test_half_precision_keeps_entropies_whole(tiny_vlm: Vlm, samples: Samples, plain: Path, tmp_path: Path) -> None:
    store = tmp_path / "half.zarr"
    reducers = {"cls": ClsRow(), "last": LastRow(), "entropy": Entropy()}
    dump = capture_dataset(tiny_vlm, samples, store, reducers=reducers, dtype="float16", progress=False)
    assert dump["cls"].dtype == dump["last"].dtype == np.float16
    assert dump["entropy"].dtype == np.float32
    assert dump.attrs["stored"] == "float16"
    assert dump.attrs["dtype"] == "float32"  # of the model
    np.testing.assert_allclose(dump["cls"], open_dump(plain)["cls"], rtol=1e-3, atol=1e-7)
    with pytest.raises(ValueError, match="its stored is 'float16', this one's is 'float32'"):
        capture_dataset(tiny_vlm, samples, store, reducers=reducers, progress=False)
    with pytest.raises(ValueError, match="another model or capture: its capture is"):
        capture_dataset(tiny_vlm, samples, store, reducers={"cls": ClsRow()}, dtype="float16", progress=False)


def test_an_encoder_without_cls_stores_what_stands_for_it(siglip_vlm: Vlm, samples: Samples, tmp_path: Path) -> None:
    dump = capture_dataset(siglip_vlm, samples[:3], tmp_path / "dump.zarr", progress=False)
    assert list(dump.data_vars) == ["received", "last"]
    assert dump["received"].dims == ("image", "vision_layer", "vision_head", "token")
    assert dump["received"].attrs["source"] == dump.attrs["vision_source"] == "vision mean received"
    assert dump.attrs["grid"] == [4, 4]
    np.testing.assert_allclose(dump["received"].sum("token"), 1, rtol=1e-5)


def test_a_url_is_a_store(tiny_vlm: Vlm, samples: Samples, plain: Path) -> None:
    url = "memory://prunescope-tests/dump.zarr"
    try:
        with pytest.raises(FileNotFoundError, match="there is no attention dump at 'memory://"):
            open_dump(url)
        same(capture_dataset(tiny_vlm, samples, url, batch_size=2, progress=False), plain)
        assert fsspec.filesystem("memory").exists("/prunescope-tests/dump.zarr/zarr.json")
        zarr.open_group(url, mode="r+")["captured"][4:] = False
        assert open_dump(url, partial=True).sizes["image"] == 4
        same(capture_dataset(tiny_vlm, samples, url, batch_size=2, progress=False), plain)
    finally:
        fsspec.filesystem("memory").rm("/prunescope-tests", recursive=True)


@pytest.mark.parametrize(("writers", "batch_size"), [(2, 2), (3, 1), (5, 3)])
def test_shards_fill_one_store(
    tiny_vlm: Vlm, samples: Samples, plain: Path, tmp_path: Path, writers: int, batch_size: int
) -> None:
    store = tmp_path / "dump.zarr"
    done = 0
    for index in reversed(range(writers)):
        dump = capture_dataset(tiny_vlm, samples, store, batch_size=batch_size, shard=(index, writers), progress=False)
        assert dump.sizes["image"] >= done
        done = dump.sizes["image"]
    same(open_dump(store), plain)


def test_shards_at_the_same_time(plain: Path, tmp_path: Path) -> None:
    store = tmp_path / "dump.zarr"
    script = Path(__file__).with_name("shard_capture.py")
    runs = [
        subprocess.Popen(
            [sys.executable, "-W", "error", script, store, str(index), "2"],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
        )
        for index in range(2)
    ]  # fmt: skip
    for run in runs:
        _, error = run.communicate()
        assert run.returncode == 0, error
    same(open_dump(store), plain)


def test_a_broken_shard_is_finished_by_whoever_comes(
    tiny_vlm: Vlm, samples: Samples, plain: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(plain, tmp_path / "dump.zarr"))
    zarr.open_group(store, mode="r+")["captured"][[1, 4, 5]] = False  # holes in the middle of several shards
    with pytest.raises(ValueError, match="holds 4 of 7 images"):
        open_dump(store)
    part = open_dump(store, partial=True)
    assert part["image_id"].values.tolist() == [100, 102, 103, 106]
    np.testing.assert_array_equal(part["cls"], open_dump(plain)["cls"][[0, 2, 3, 6]])
    capture_dataset(tiny_vlm, samples, store, shard=(0, 2), progress=False)
    assert open_dump(store, partial=True).sizes["image"] == 5
    same(capture_dataset(tiny_vlm, samples, store, progress=False), plain)


def test_a_second_layout_does_not_disturb_the_first(tmp_path: Path) -> None:
    store = tmp_path / "dump.zarr"
    layout = {"last": Variable(("layer", "token"), (2, 3), "float32", "text last token")}
    lay_out = (store, layout, {"layer": [1, 2], "token": [0, 1, 2]}, 4, 2, 7, {"grid": [1, 3]})
    values = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    DumpWriter.create(*lay_out).write(0, [7, 8], ["a", "b"], {"last": values})
    DumpWriter.create(*lay_out).write(2, [9, 10], ["c", "d"], {"last": values})
    dump = open_dump(store)
    np.testing.assert_array_equal(dump["last"], np.concatenate([values, values]))
    assert dump["image_id"].values.tolist() == [7, 8, 9, 10]
    assert dump["question"].values.tolist() == ["a", "b", "c", "d"]


def test_a_layout_of_other_sizes_is_replaced(tmp_path: Path) -> None:
    store = tmp_path / "dump.zarr"
    for tokens in (3, 5):
        layout = {"last": Variable(("layer", "token"), (2, tokens), "float32", "text last token")}
        along = {"layer": [1, 2], "token": range(tokens)}
        writer = DumpWriter.create(store, layout, along, 1, 1, 7, {"grid": [1, tokens]})
    writer.write(0, [7], ["a"], {"last": np.ones((1, 2, 5))})
    assert dict(open_dump(store).sizes) == {"image": 1, "layer": 2, "token": 5}


@pytest.mark.parametrize("fails_at", ["cls", "last", "image_id", "captured"])
def test_a_full_disk_costs_the_batch_only(
    tiny_vlm: Vlm, samples: Samples, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: str
) -> None:
    store = tmp_path / "dump.zarr"
    stock = zarr.storage.LocalStore.set

    async def set_until_full(self: zarr.storage.LocalStore, key: str, value: object) -> None:
        if key.startswith(f"{fails_at}/c/2"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), key)
        await stock(self, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(zarr.storage.LocalStore, "set", set_until_full)
        with pytest.raises(OSError, match=r"cannot be written \(No space left on device\); images captured") as caught:
            capture_dataset(tiny_vlm, samples, store, batch_size=2, progress=False)
    assert caught.value.errno == errno.ENOSPC
    part = open_dump(store, partial=True)
    assert part["image_id"].values.tolist() == [100, 101, 102, 103]
    np.testing.assert_allclose(part["last"], open_dump(plain)["last"][:4], rtol=1e-5, atol=1e-7)
    same(capture_dataset(tiny_vlm, samples, store, batch_size=2, progress=False), plain)


def test_a_path_that_cannot_be_written(tiny_vlm: Vlm, samples: Samples, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match=r"dump.zarr' cannot be written \(Not a directory\)"):
        capture_dataset(tiny_vlm, samples, tmp_path / "file" / "dump.zarr", progress=False)
    assert (tmp_path / "file").read_text() == "mine"

    async def denied(self: zarr.storage.LocalStore, key: str, value: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), key)

    monkeypatch.setattr(zarr.storage.LocalStore, "set", denied)
    with pytest.raises(PermissionError, match=r"cannot be written \(Permission denied\)"):
        capture_dataset(tiny_vlm, samples, tmp_path / "denied.zarr", progress=False)


def test_a_dump_of_another_release_is_named(tiny_vlm: Vlm, samples: Samples, plain: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(plain, tmp_path / "dump.zarr"))
    header = json.loads((store / "zarr.json").read_text())
    header["attributes"]["format"] = "prunescope-attention-9"
    (store / "zarr.json").write_text(json.dumps(header))
    before = sorted((path.name, path.stat().st_mtime_ns) for path in store.rglob("*"))
    for attempt in (
        lambda: open_dump(store),
        lambda: capture_dataset(tiny_vlm, samples, store, progress=False),
    ):
        with pytest.raises(ValueError, match="of format 'prunescope-attention-9', this release reads 'prunescope-at"):
            attempt()
    assert sorted((path.name, path.stat().st_mtime_ns) for path in store.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shard": (2, 2)}, r"`shard` must be \(i, n\) with 0 <= i < n, got \(2, 2\)"),
        ({"shard": (-1, 2)}, r"`shard` must be \(i, n\)"),
        ({"dtype": "float8"}, "`dtype` must be one of float32, float16, got 'float8'"),
    ],
)
def test_bad_options_are_refused(tiny_vlm: Vlm, samples: Samples, tmp_path: Path, options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        capture_dataset(tiny_vlm, samples, tmp_path / "dump.zarr", progress=False, **options)
    assert not (tmp_path / "dump.zarr").exists()

"""Loading from a folder, and what is said when it cannot be."""

from __future__ import annotations

import importlib
import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from analysis.models import Vlm, config_hash, load, wrap


@pytest.fixture(scope="module")
def saved(tiny_vlm: Vlm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny_llava"
    tiny_vlm.model.save_pretrained(folder)
    tiny_vlm.processor.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "tiny_llava"))


def test_round_trip(saved: Path, tiny_vlm: Vlm, tiny_image: Callable[[int], Image.Image]) -> None:
    vlm = load(saved)
    assert (vlm.id, vlm.revision) == (str(saved), None)
    assert vlm.model.dtype == torch.float32
    assert not vlm.model.training
    assert len(vlm.config_hash) == 12
    image, question = tiny_image(0), "what color is the circle ?"
    assert vlm.answer(image, question) == tiny_vlm.answer(image, question)


def test_hash_names_the_weights_and_not_the_place(saved: Path, folder: Path) -> None:
    vlm = load(saved)
    assert load(folder).config_hash == vlm.config_hash
    with torch.no_grad():
        vlm.model.lm_head.weight[0, 0] += 1.0
    vlm.model.save_pretrained(folder)
    assert load(folder).config_hash != vlm.config_hash


def test_hash_names_the_configuration(tiny_vlm: Vlm, tiny_gqa_vlm: Vlm) -> None:
    assert tiny_vlm.config_hash == config_hash(tiny_vlm.model) != tiny_gqa_vlm.config_hash


def test_hash_names_the_dtype(saved: Path) -> None:
    assert load(saved, dtype=torch.bfloat16).config_hash != load(saved).config_hash


def test_wrap_puts_into_evaluation_mode(tiny_vlm: Vlm) -> None:
    tiny_vlm.model.train()
    assert not wrap(tiny_vlm.model, tiny_vlm.processor).model.training


def test_missing_folder_suggests_the_model_beside_it(saved: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no model folder at '.*tiny_lava'; did you mean '.*tiny_llava'\?"):
        load(saved.parent / "tiny_lava")


def test_missing_folder_without_a_neighbour(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no model folder at '.*nowhere'$"):
        load(tmp_path / "nowhere")


def test_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"is not a model folder: it has no config\.json"):
        load(tmp_path)


def test_damaged_configuration(folder: Path) -> None:
    (folder / "config.json").write_text("{not json")
    with pytest.raises(OSError, match=r"the config\.json of '.*' cannot be read"):
        load(folder)


def test_unsupported_family(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "lava"}))
    with pytest.raises(ValueError, match=r"unknown model type 'lava'; did you mean 'llava'\?"):
        load(folder)


def test_unsupported_vision_tower(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["model_type"] = "siglip_vision_model"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"'llava' checkpoint is not supported: its vision tower"):
        load(folder)


def test_damaged_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(OSError, match=r"the weights of '.*' cannot be read"):
        load(folder)


def test_weights_only_as_pickle_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"the weights of '.*' cannot be read.*safetensors"):
        load(folder)


def test_processor_without_a_chat_template(folder: Path) -> None:
    for path in folder.glob("chat_template*"):
        path.unlink()
    with pytest.raises(OSError, match=r"must handle images and have a chat template"):
        load(folder)


def test_missing_processor(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name not in {"config.json", "model.safetensors"}:
            path.unlink()
    with pytest.raises(OSError, match=r"the processor of '.*' cannot be read"):
        load(folder)


def test_threads_load_one_after_the_other(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two loads at once left a transformers in which no model ties its weights any more."""
    loader = importlib.import_module("analysis.models.load").AutoModelForImageTextToText
    original, inside, most = loader.from_pretrained, 0, 0

    def watched(*args: Any, **kwargs: Any) -> Any:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.05)
        try:
            return original(*args, **kwargs)
        finally:
            inside -= 1

    monkeypatch.setattr(loader, "from_pretrained", watched)
    with ThreadPoolExecutor(3) as pool:
        loaded = list(pool.map(load, [saved] * 3))
    assert most == 1
    assert len({vlm.config_hash for vlm in loaded}) == 1

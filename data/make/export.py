"""Exports a training checkpoint to `data/mini_llava`: `python -m data.make.export CHECKPOINT`.

The folder is a stock one: `AutoProcessor` and `LlavaForConditionalGeneration` load it offline. Weights are stored as
float16. The exported folder is loaded again and must answer as the packed training forward does before it replaces
an older one. The log of the run and its phases go to `measured/training.jsonl` and
`measured/training.csv` beside it.
"""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    CLIPImageProcessor,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    SiglipImageProcessor,
)

from .batches import IGNORE, Batch, make_batch
from .history import phase_table
from .model import MEAN, PREFIX, STD, Trainee
from .scene import GRID, PATCH
from .tiled import TiledTrainee
from .train import Recipe, load_checkpoint
from .trainees import new_trainee
from .vocabulary import BOS, EOS, IMAGE, PAD, TOKEN, WORDS

FOLDER = Path(__file__).parents[1] / "mini_llava"
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}USER:"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %} <image>{% else %} {{ part['text'] }}{% endif %}"
    "{% endfor %} {% else %}ASSISTANT: {{ message['content'][0]['text'] }}</s> {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def build_processor(*, has_cls: bool = True, tiles: int = 1) -> LlavaProcessor | LlavaNextProcessor:
    """Word-level tokenizer, 192 px images scaled to [-2, 2], and the template `USER: <image> question ASSISTANT:`.

    With CLS the image processor is CLIP's, else SigLIP's; LLaVA-NeXT's with `tiles` x `tiles` crops.
    """
    words = Tokenizer(models.WordLevel(dict(TOKEN), unk_token=PAD))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, TOKEN[BOS])])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        additional_special_tokens=[IMAGE],
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
    )
    side = GRID * PATCH
    scale: dict[str, Any] = {
        "size": {"height": side, "width": side},
        "image_mean": [MEAN] * 3,
        "image_std": [STD] * 3,
    }
    common: dict[str, Any] = {
        "tokenizer": tokenizer,
        "patch_size": PATCH,
        "vision_feature_select_strategy": "default" if has_cls else "full",
        "image_token": IMAGE,
        "num_additional_image_tokens": int(has_cls),
        "chat_template": CHAT_TEMPLATE,
    }
    if tiles > 1:
        crop = {"height": side // tiles, "width": side // tiles}
        scale |= {"size": crop, "crop_size": crop, "image_grid_pinpoints": [[side, side]]}
        return LlavaNextProcessor(image_processor=LlavaNextImageProcessorPil(**scale, do_center_crop=False), **common)
    images = CLIPImageProcessor(**scale, do_center_crop=False) if has_cls else SiglipImageProcessor(**scale)
    return LlavaProcessor(image_processor=images, **common)


@torch.no_grad()
def save_folder(trainee: Trainee, folder: Path) -> None:
    """Write model (as float16) and processor; the trainee's own parameters are rounded as those in the file are."""
    copy.deepcopy(trainee.model).half().save_pretrained(folder)
    tiles = trainee.packing.tiles if isinstance(trainee, TiledTrainee) else 1
    build_processor(has_cls=trainee.has_cls, tiles=tiles).save_pretrained(folder)
    for parameter in trainee.model.parameters():  # not buffers: `half` would round the rotary frequencies, too
        parameter.copy_(parameter.half())


@torch.no_grad()
def largest_difference(folder: Path, trainee: Trainee, batch: Batch) -> float:
    """Largest difference of an answer's first logits: stock model and processor on one prompt, against the packed
    training forward on float16-rounded weights."""
    processor = AutoProcessor.from_pretrained(folder)
    stock = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    features, _ = trainee.see(batch)
    packed = trainee.model.lm_head(trainee.read(features, batch, renumber=False)[0])
    worst = 0.0
    for image in range(len(batch.images)):
        for number in torch.nonzero(batch.task[image] >= 0).flatten().tolist():
            last = int((batch.targets[image, number] != IGNORE).nonzero()[0])
            words = [WORDS[t] for t in batch.tokens[image, number, :last]]  # without ASSISTANT:
            content = [{"type": "image"}, {"type": "text", "text": " ".join(words)}]
            prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
            inputs = processor(images=batch.images[image].numpy(), text=prompt, return_tensors="pt")
            if tuple(inputs["input_ids"][0, : len(PREFIX)].tolist()) != PREFIX:
                raise ValueError(
                    f"the exported tokenizer must start a prompt with {PREFIX}, got {inputs['input_ids'][0, :4]}"
                )
            logits = stock(**inputs).logits[0, -1]
            worst = max(worst, float((logits - packed[image, number, last]).abs().max()))
    return worst


def export(checkpoint: Path, recipe: str, folder: Path, *, log_name: str = "training") -> str:
    """Write, reload and compare; the old folder is replaced only by one that passed.

    Parameters
    ----------
    checkpoint
        `checkpoint.safetensors` of a training run, with its `log.jsonl` beside it.
    recipe
        The recipe it was trained with.
    folder
        Where the model goes. A card that lies there stays.
    log_name
        Name of the log and of its table in `measured` beside the folder.

    Returns
    -------
    str
        What was written, in one line.

    Raises
    ------
    ValueError
        If the exported model does not answer as the trained one does.
    """
    trainee = new_trainee(Recipe.read(recipe).size)
    progress = load_checkpoint(checkpoint, trainee)
    trainee.eval()
    spare = folder.with_name(folder.name + ".writing")
    shutil.rmtree(spare, ignore_errors=True)
    save_folder(trainee, spare)
    difference = largest_difference(
        spare, trainee, make_batch(np.random.default_rng(7), 4, GRID, questions=16, where=0)
    )
    if difference > 1e-3:
        raise ValueError(f"the exported model must answer as the trained one does, logits differ by {difference:.2e}")
    card = folder / "README.md"
    if card.exists():
        shutil.copy(card, spare / card.name)
    shutil.rmtree(folder, ignore_errors=True)
    spare.rename(folder)
    log = checkpoint.with_name("log.jsonl")
    if log.exists():
        measured = folder.parent / "measured"
        measured.mkdir(exist_ok=True)
        shutil.copy(log, measured / f"{log_name}.jsonl")
        phase_table(log).to_csv(measured / f"{log_name}.csv", index=False)
    size = sum(file.stat().st_size for file in folder.iterdir())
    return f"{folder}: step {progress.step}, {progress.images:,} images, {size:,} bytes, logits within {difference:.1e}"


def main(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint.safetensors of a training run")],
    recipe: Annotated[str, typer.Option(help="the recipe it was trained with")] = "cpu",
    folder: Annotated[Path, typer.Option(help="where the model goes")] = FOLDER,
) -> None:
    """Write, reload and compare; the old folder is replaced only by one that passed."""
    typer.echo(export(checkpoint, recipe, folder))


if __name__ == "__main__":
    typer.run(main)

"""The stages of LLaVA's recipe on the shape of the embedded model: language first, then alignment, then tuning.

A stage starts from the weights where another ended, or from random ones, and ends after its steps. The vision tower is
that of the embedded model throughout and never changes.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.console import Console
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from analysis.study.run import EMBEDDED
from solvers.files import replacing

from .alone import alone
from .docstrings import docstrings, versions
from .export import build_processor
from .model import Size, Trainee, Weights, build_model
from .plain_text import stock_tokenizer, stream, train_tokenizer, windows
from .train import Optimiser, Phase, Progress, Recipe, draw, load_checkpoint, save_checkpoint

ANSWERS = Weights(dense=0, position=0, totals=0, named=0)
WARM_UP = 30
SAVED_EVERY, LOGGED_EVERY = 60, 30  # seconds
console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Stage:
    """One stretch of training.

    Parameters
    ----------
    name
        Of the stage and of its folder.
    start
        The stage whose weights it goes on from; None: random ones.
    reads
        Windows of plain text, or pictures with questions of which the answers count.
    trains
        Everything else is frozen. The head that predicts words belongs to the language model.
    steps
        Number of steps.
    first
        Number of the first batch of pictures: stages with the same numbers see the same pictures and questions.
    rate
        Learning rate, linear from the first to the last step.
    """

    name: str
    start: str | None
    reads: Literal["text", "pictures"]
    trains: Literal["language", "projector", "both"]
    steps: int
    first: int = 0
    rate: tuple[float, float] = (3e-3, 3e-3)


def stages(text: int, aligned: int, tuned: int, longer: int) -> tuple[Stage, ...]:
    """LLaVA's three stages with as many steps, then more of the last; and the control, which sees the pictures of the
    last two from random weights with everything trained."""
    language = Stage("pretrained", None, "text", "language", text, rate=(3e-3, 1.545e-3))
    first, fine = Stage("aligned", "pretrained", "pictures", "projector", aligned), (2e-3, 1e-4)
    control = replace(first, name="control half way", start=None, trains="both")

    def tuning(name: str, start: str) -> tuple[Stage, Stage]:
        once = Stage(name, start, "pictures", "both", tuned, first=aligned, rate=fine)
        return once, replace(once, name=f"{name} longer", start=name, steps=longer, first=aligned + tuned)

    random = Stage("random", None, "text", "language", 0)
    return (random, language, first, *tuning("tuned", first.name), control, *tuning("control", control.name))


@dataclass(frozen=True)
class Plan:
    """What is trained, on what, for how long.

    Parameters
    ----------
    stages
        In the order in which they are run.
    packages, held_out
        Whose docstrings are read, and whose show how well: a package of its own, as texts within one are alike.
    vocabulary
        Number of tokens.
    length
        Tokens of a window of text. 576 visual tokens and a question have at most 592.
    windows
        Windows of text in a step.
    pictures
        How pictures and questions are drawn; its minutes and rate are not looked at.
    seed
        Of the weights, of the order of the windows of text and of the pictures.
    """

    stages: tuple[Stage, ...] = stages(text=520, aligned=40, tuned=320, longer=600)
    packages: tuple[str, ...] = (
        *("dask", "distributed", "fsspec", "huggingface-hub", "joblib", "jinja2", "matplotlib", "numba", "numpy"),
        *("pandas", "pillow", "pyarrow", "rich", "scipy", "seaborn", "sympy", "torch", "transformers", "typer"),
        *("xarray", "zarr"),
    )
    held_out: tuple[str, ...] = ("networkx",)
    vocabulary: int = 2048
    length: int = 768
    windows: int = 8
    pictures: Phase = field(
        default_factory=lambda: Phase(
            "pictures", 0, (10, 16, 24), 3600, (0, 0), (0.4, 0.2, 0.4), questions=14, relations=2, where=0
        )
    )
    size: Size = field(default_factory=Size)
    seed: int = 0
    bfloat16: bool = True

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)


@dataclass(frozen=True)
class Text:
    """The tokenised corpus of a plan, made once and kept in a folder.

    Raises
    ------
    ValueError
        On first use, if the folder holds the text of other packages, or a package is not installed.
    """

    plan: Plan
    folder: Path

    @cached_property
    def tokenizer(self) -> Tokenizer:
        self._made()
        return Tokenizer.from_file(str(self.folder / "tokenizer.json"))

    @cached_property
    def read(self) -> NDArray[np.int32]:
        """Token ids of the packages that are read."""
        return self._tokens()["read"]

    @cached_property
    def held_out(self) -> NDArray[np.int32]:
        """Token ids of the packages that are not."""
        return self._tokens()["held_out"]

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the packages the text was taken from."""
        self._made()
        found: dict[str, str] = json.loads((self.folder / "versions.json").read_text())
        return found

    def _tokens(self) -> dict[str, NDArray[np.int32]]:
        self._made()
        return load_file(self.folder / "tokens.safetensors")

    def _made(self) -> None:
        path = self.folder / "tokens.safetensors"  # written last
        names = self.plan.packages + self.plan.held_out
        if path.exists():
            kept = json.loads((self.folder / "versions.json").read_text())
            if list(kept) != list(names):
                raise ValueError(f"`packages` must be those of the text in {self.folder}, {', '.join(kept)}")
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        read, held_out = docstrings(self.plan.packages), docstrings(self.plan.held_out)
        known = {entry.text for entry in read}
        tokenizer = train_tokenizer((entry.text for entry in read), self.plan.vocabulary)
        tokenizer.save(str(self.folder / "tokenizer.json"))
        (self.folder / "versions.json").write_text(json.dumps(versions(names), indent=1) + "\n")
        tokens = {
            "read": stream(tokenizer, read),
            "held_out": stream(tokenizer, [entry for entry in held_out if entry.text not in known]),
        }
        with replacing(path) as unfinished:
            save_file(tokens, unfinished)


def start_trainee(plan: Plan) -> Trainee:
    """Random language model and projector behind the vision tower of the embedded model."""
    torch.manual_seed(plan.seed)
    model = build_model(plan.size)
    model.resize_token_embeddings(plan.vocabulary, mean_resizing=False)
    trainee = Trainee(model)
    shipped = LlavaForConditionalGeneration.from_pretrained(EMBEDDED, dtype=torch.float32, local_files_only=True)
    model.model.vision_tower.load_state_dict(shipped.model.vision_tower.state_dict())
    model.set_attn_implementation("sdpa_float32")
    return trainee


def freeze(trainee: Trainee, trains: Literal["language", "projector", "both"]) -> None:
    """Leave gradients to what the stage trains."""
    inner = trainee.model.model
    language, projector = trains in ("language", "both"), trains in ("projector", "both")
    trainee.requires_grad_(False)
    for part, trained in (
        (inner.language_model, language),
        (trainee.model.lm_head, language),
        (inner.multi_modal_projector, projector),
    ):
        part.requires_grad_(trained)


class StageTrainer:
    """Runs a stage in a folder: `checkpoint.safetensors` and a line in `log.jsonl` per half minute; resumable.

    Raises
    ------
    FileNotFoundError
        If the stage it starts from has not been run.
    """

    def __init__(self, plan: Plan, stage: Stage, text: Text, work: Path) -> None:
        self.plan, self.stage, self.text = plan, stage, text
        self.folder = work / stage.name.replace(" ", "_")
        self.path = self.folder / "checkpoint.safetensors"
        self.log = work / "log.jsonl"
        self.trainee = start_trainee(plan)
        self.progress = Progress()
        if stage.start is not None and not self.path.exists():
            before = work / stage.start.replace(" ", "_") / "checkpoint.safetensors"
            if not before.exists():
                raise FileNotFoundError(f"stage {stage.name!r} starts from {stage.start!r}, which has not been run")
            load_checkpoint(before, self.trainee)
        freeze(self.trainee, stage.trains)
        self.optimiser = Optimiser(self.trainee)
        if self.path.exists():
            self.progress = load_checkpoint(self.path, self.trainee, self.optimiser)
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def model_folder(self) -> Path:
        """Where the finished stage lies as a stock model."""
        return self.folder / "model"

    def run(self) -> None:
        """Train to the last step and write the model, unless that has been done.

        Raises
        ------
        RuntimeError
            If another process trains in the folder.
        """
        with alone(self.folder):
            if not (self.model_folder / "config.json").exists():
                self._run()

    def _run(self) -> None:
        begun, spent = time.monotonic(), self.progress.spent
        saved = logged = begun
        while self.progress.step < self.stage.steps:
            self._step()
            now = time.monotonic()
            self.progress.spent = spent + now - begun
            if now - logged > LOGGED_EVERY or self.progress.step == self.stage.steps:
                logged = now
                self._write_log()
            if now - saved > SAVED_EVERY:
                saved = now
                save_checkpoint(self.path, self.trainee, self.optimiser, self.progress)
        save_checkpoint(self.path, self.trainee, self.optimiser, self.progress)
        self._save_model()

    def _step(self) -> None:
        progress, (first, last) = self.progress, self.stage.rate
        share = progress.step / max(self.stage.steps - 1, 1)
        rate = min(1.0, (progress.step + 1) / WARM_UP) * (first + (last - first) * share)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.plan.bfloat16):
            loss = self._text_loss() if self.stage.reads == "text" else self._answer_loss()
        loss.backward()
        trained = [p for p in self.trainee.parameters() if p.requires_grad]
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        self.optimiser.step(rate)
        progress.step += 1
        progress.follow("loss", loss.item())

    def _text_loss(self) -> Tensor:
        count = self.plan.windows
        at = np.arange(self.progress.step * count, (self.progress.step + 1) * count)
        inputs, targets = windows(self.text.read, self._order[at % len(self._order)], self.plan.length)
        self.progress.images += count
        return F.cross_entropy(predictions(self.trainee.model, inputs).flatten(0, 1), targets.flatten())

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        """Numbers of the windows of text in the order in which they are read."""
        return np.random.default_rng(self.plan.seed).permutation(len(self.text.read) // self.plan.length)

    def _answer_loss(self) -> Tensor:
        recipe = Recipe(self.plan.size, (), seed=self.plan.seed)
        batch = draw(recipe, self.plan.pictures, 0, self.stage.first + self.progress.step)
        self.progress.images += len(batch.images)
        losses, right = self.trainee(batch, ANSWERS)
        self.progress.follow("right", float(right[batch.task >= 0].float().mean()))
        result: Tensor = losses["loss"]
        return result

    def _write_log(self) -> None:
        progress = self.progress
        line = {"stage": self.stage.name, "seed": self.plan.seed, "step": progress.step, "seen": progress.images}
        line |= {"minutes": round(progress.spent / 60, 2), "cpu_minutes": round(time.process_time() / 60, 2)}
        line |= {name: round(value, 4) for name, value in progress.means.items()}
        with self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        console.print(json.dumps(line))

    def _save_model(self) -> None:
        processor = build_processor()
        processor.tokenizer = stock_tokenizer(self.text.tokenizer)
        spare = self.folder / "model.writing"
        self.trainee.model.save_pretrained(spare)
        processor.save_pretrained(spare)
        spare.rename(self.model_folder)


def predictions(model: LlavaForConditionalGeneration, inputs: Tensor) -> Tensor:
    """Logits of the next token after every token of plain text [window, token, vocabulary], float32."""
    hidden = model.model.language_model(input_ids=inputs, use_cache=False).last_hidden_state
    logits: Tensor = model.lm_head(hidden).float()
    return logits

"""Trains the embedded model: `python -m data.make.train`. Resumable: run it again and it goes on.

The recipe: dense pre-training of the vision tower on small windows, questions on small windows, relations on their own,
windows of many sizes with renumbered position ids, the full grid, and last what pruning leaves of it. A phase ends
after its steps or, where the recipe has none, after its minutes; what is done is in the checkpoint, so an interruption
costs at most the time since the last one. With steps, another machine and another load see the same batches.
"""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from solvers.files import replacing

from .alone import alone
from .batches import Batch, make_batch
from .model import Size, Trainee, Weights
from .pruned import Pruning
from .trainees import new_trainee
from .vocabulary import TASKS, TRAINING_TASKS
from .warm_start import warm_start

HERE = Path(__file__).parent
GLANCES = {
    "needed@64": Pruning(64, promised=1.0, foreground=0.0),
    "random@64": Pruning(64, promised=0.0, foreground=0.0, undecided=True),
}
console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    `tokens` is the budget of visual and question tokens per step, from which the batch size follows for each window.
    `minutes` end it, unless there are `steps`. Learning rates run linearly from the first to the last value of `rate`;
    `renumber` is the share of steps with consecutive image position ids, `pruned` the share of steps whose images keep
    a random number of tokens, log-uniform from `least_kept` to all.
    """

    name: str
    minutes: float
    windows: tuple[int, ...]
    tokens: int
    rate: tuple[float, float]
    chances: tuple[float, ...] = ()
    questions: int = 12
    counts: int = 2
    relations: int = 2
    where: int = 2
    only: tuple[str, ...] = ()
    renumber: float = 0.0
    pruned: float = 0.0
    least_kept: int = 32
    weights: Weights = field(default_factory=Weights)
    steps: int | None = None


@dataclass(frozen=True)
class Recipe:
    """A whole run. `start` is a folder, seen from `data`, whose weights it starts from (see `warm_start`); None: random
    weights."""

    size: Size
    phases: tuple[Phase, ...]
    seed: int = 0
    workers: int = 0
    bfloat16: bool = True
    start: str | None = None

    @classmethod
    def read(cls, name: str) -> Recipe:
        """The recipe of `data/make/NAME.toml`."""
        path = HERE / f"{name}.toml"
        if not path.exists():
            known = ", ".join(sorted(p.stem for p in HERE.glob("*.toml")))
            raise FileNotFoundError(f"`recipe` must be one of {known}, got {name!r}")
        raw = tomllib.loads(path.read_text())
        phases = []
        for entry in raw.pop("phases"):
            lists = {k: tuple(v) for k, v in entry.items() if isinstance(v, list)}
            phases.append(Phase(**{**entry, **lists, "weights": Weights(**entry.get("weights", {}))}))
        return cls(size=Size(**raw.pop("size", {})), phases=tuple(phases), **raw)


class Optimiser:
    """Muon for the matrices inside the blocks, AdamW for everything else, at one learning rate."""

    def __init__(self, trainee: Trainee) -> None:
        inner = {n: p for n, p in trainee.named_parameters() if p.ndim == 2 and ("layers" in n or "projector" in n)}
        outer = [p for n, p in trainee.named_parameters() if n not in inner]
        self.parts: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(
                list(inner.values()),
                lr=1e-3,
                weight_decay=0.05,
                momentum=0.95,
                adjust_lr_fn="match_rms_adamw",
            ),
            torch.optim.AdamW(outer, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01),
        )

    def step(self, rate: float) -> None:
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
            part.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """The state as flat named tensors, so that it can live in a safetensors file."""
        flat = {}
        for p, part in enumerate(self.parts):
            for index, state in part.state_dict()["state"].items():
                for key, value in state.items():
                    flat[f"optimiser.{p}.{index}.{key}"] = torch.as_tensor(value).contiguous()
        return flat

    def load(self, flat: dict[str, Tensor]) -> None:
        for p, part in enumerate(self.parts):
            whole: dict[str, Any] = part.state_dict()
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in flat.items():
                if name.startswith(f"optimiser.{p}."):
                    index, key = name.split(".")[2:]
                    state.setdefault(int(index), {})[key] = value
            whole["state"] = state
            part.load_state_dict(whole)


@dataclass
class Progress:
    """Where training stands; everything here is JSON."""

    phase: int = 0
    spent: float = 0.0  # seconds in this phase
    begun: int = 0  # step at which this phase began
    step: int = 0
    images: int = 0
    means: dict[str, float] = field(default_factory=dict)

    def share(self, phase: Phase) -> float:
        """How much of the phase is done; it ends at 1."""
        if phase.steps is not None:
            return (self.step - self.begun) / phase.steps
        return self.spent / (phase.minutes * 60)

    def follow(self, name: str, value: float, keep: float = 0.95) -> None:
        self.means[name] = keep * self.means.get(name, value) + (1 - keep) * value


def save_checkpoint(path: Path, trainee: Trainee, optimiser: Optimiser, progress: Progress) -> None:
    """Weights, optimiser and progress in one file, replaced in one move: a kill leaves the old or the new one."""
    tensors = {f"trainee.{n}": t.detach().contiguous().cpu() for n, t in trainee.state_dict().items()}
    tensors |= {n: t.cpu() for n, t in optimiser.tensors().items()}
    with replacing(path) as unfinished:
        save_file(tensors, unfinished, metadata={"progress": json.dumps(vars(progress))})


def load_checkpoint(path: Path, trainee: Trainee, optimiser: Optimiser | None = None) -> Progress:
    with safe_open(path, "pt") as file:
        progress = Progress(**json.loads(file.metadata()["progress"]))
    tensors = load_file(path)
    trainee.load_state_dict({n.removeprefix("trainee."): t for n, t in tensors.items() if n.startswith("trainee.")})
    if optimiser is not None:
        optimiser.load(tensors)
    return progress


def draw(recipe: Recipe, phase: Phase, number: int, step: int) -> Batch:
    """The batch of a step: a function of the recipe and the step alone, so that a resumed run draws what it would
    have drawn."""
    rng = np.random.default_rng((recipe.seed, number, step))
    window = int(rng.choice(phase.windows, p=phase.chances or None))
    pruning, read = None, window**2
    if rng.random() < phase.pruned:
        read = int(np.exp(rng.uniform(np.log(min(phase.least_kept, read)), np.log(read))))
        pruning = Pruning(read)
    # the vision tower reads the whole window, the language model what is kept of it
    size = max(2, phase.tokens // ((window**2 + read) // 2 + 2 + 6 * phase.questions))
    return make_batch(
        rng,
        size,
        window,
        questions=phase.questions,
        counts=phase.counts,
        relations=phase.relations,
        where=phase.where,
        only=phase.only,
        pruning=pruning,
    )


class _Steps(torch.utils.data.IterableDataset[Batch]):
    """Batches from worker processes, each taking every n-th step."""

    def __init__(self, recipe: Recipe, number: int, first: int) -> None:
        self.recipe, self.number, self.first = recipe, number, first

    def __iter__(self) -> Iterator[Batch]:
        worker = torch.utils.data.get_worker_info()
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        torch.set_num_threads(torch.get_num_threads() if worker is None else 1)
        step = self.first + offset
        while True:
            yield draw(self.recipe, self.recipe.phases[self.number], self.number, step)
            step += stride


def batches(recipe: Recipe, number: int, first: int) -> Iterator[Batch]:
    steps = _Steps(recipe, number, first)
    if not recipe.workers:
        return iter(steps)
    loader = torch.utils.data.DataLoader(steps, batch_size=None, num_workers=recipe.workers, prefetch_factor=8)
    return iter(loader)


@torch.no_grad()
def quick_score(
    trainee: Trainee, images: int = 60, window: int = 24, seed: int = 999, pruning: Pruning | None = None
) -> dict[str, float]:
    """Teacher-forced exact match per task on fresh scenes: a glance during training, not the gate."""
    device = next(trainee.parameters()).device
    rng = np.random.default_rng(seed)
    right, asked = np.zeros(len(TRAINING_TASKS)), np.zeros(len(TRAINING_TASKS))
    only_answers = Weights(dense=0, position=0, totals=0, named=0)
    for _ in range(0, images, 10):
        batch = make_batch(rng, 10, window, questions=16, where=1, pruning=pruning)
        _, hit = trainee(batch.to(device), only_answers)
        for task in range(len(TRAINING_TASKS)):
            mine = batch.task == task
            right[task] += (hit.cpu() & mine).sum().item()
            asked[task] += mine.sum().item()
    scores = {name: float(right[i] / max(asked[i], 1)) for i, name in enumerate(TRAINING_TASKS)}
    return {name: round(value, 3) for name, value in scores.items()} | {
        "mean": round(float(np.mean([scores[name] for name in TASKS])), 4)
    }


def fastest_threads(trainee: Trainee, batch: Batch, weights: Weights, most: int) -> int:
    """1 or `most`, whichever runs this step faster now: on a shared machine two threads can be the slower choice."""
    choices = sorted({1, most})
    seconds: dict[int, float] = {}
    for threads in choices * 2:
        torch.set_num_threads(threads)
        start = time.perf_counter()
        trainee(batch, weights)[0]["loss"].backward()
        took = time.perf_counter() - start
        seconds[threads] = min(took, seconds.get(threads, took))
    trainee.zero_grad(set_to_none=True)
    return min(choices, key=lambda threads: seconds[threads])


class Trainer:
    """Runs a recipe in a folder: `checkpoint.safetensors`, and `log.jsonl` with a line per half minute."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.folder = recipe, folder
        self.threads = torch.get_num_threads()  # what the caller allows: OMP_NUM_THREADS, by default all cores
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.trainee = new_trainee(recipe.size).to(self.device)
        if self.device.type == "cpu":
            self.trainee.model.set_attn_implementation("sdpa_float32")
        self.optimiser = Optimiser(self.trainee)
        self.progress = Progress()
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "checkpoint.safetensors"
        if self.path.exists():
            self.progress = load_checkpoint(self.path, self.trainee, self.optimiser)
            console.print(f"resumed at phase {self.progress.phase}, step {self.progress.step}")
        elif recipe.start is not None:
            warm_start(self.trainee, HERE.parent / recipe.start)

    def run(self) -> None:
        """Train to the end of the recipe.

        Raises
        ------
        RuntimeError
            If another process trains in the folder.
        """
        with alone(self.folder):
            while self.progress.phase < len(self.recipe.phases):
                self._run_phase(self.recipe.phases[self.progress.phase])
                self._score()
                self.progress.phase += 1
                self.progress.spent, self.progress.begun = 0.0, self.progress.step
                save_checkpoint(self.path, self.trainee, self.optimiser, self.progress)

    def _run_phase(self, phase: Phase) -> None:
        first, resumed_at = time.monotonic(), self.progress.spent
        saved = logged = tuned = -1e9
        glanced = first
        stream = batches(self.recipe, self.progress.phase, self.progress.step)
        while self.progress.share(phase) < 1:
            batch = next(stream).to(self.device)
            if self.device.type == "cpu" and time.monotonic() - tuned > 240:
                with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.bfloat16):  # the step as it will be run
                    torch.set_num_threads(fastest_threads(self.trainee, batch, phase.weights, self.threads))
                tuned = time.monotonic()
            self._step(phase, batch)
            now = time.monotonic()
            self.progress.spent = resumed_at + now - first
            if now - logged > 30:
                logged = now
                self._log("step")
            if now - glanced > 600 and phase.questions:
                glanced = now
                self._score("glance")
            if now - saved > 120:
                saved = now
                save_checkpoint(self.path, self.trainee, self.optimiser, self.progress)

    def _score(self, kind: str = "score") -> None:
        """Accuracy on fresh scenes: with all tokens, with those needed among the 64 kept, and with a random 64."""
        scores = quick_score(self.trainee)
        for name, pruning in GLANCES.items():
            kept = quick_score(self.trainee, pruning=pruning)
            scores |= {f"{task} {name}": value for task, value in kept.items() if task != "where"}
        self._log(kind, **scores)

    def _step(self, phase: Phase, batch: Batch) -> None:
        progress = self.progress
        start, end = phase.rate
        warm = min(1.0, (progress.step + 1) / 60)
        rate = warm * (start + (end - start) * min(1.0, progress.share(phase)))
        renumber = np.random.default_rng((1, progress.step)).random() < phase.renumber
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.bfloat16):
            losses, right = self.trainee(batch, phase.weights, renumber=bool(renumber))
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_(self.trainee.parameters(), 1.0)
        self.optimiser.step(rate)
        progress.step += 1
        progress.images += len(batch.images)
        if self.device.type == "cuda" and progress.step % 20:
            return  # reading a loss waits for the device
        for name, loss in losses.items():
            progress.follow(name, loss.item())
        for number, name in enumerate(TRAINING_TASKS):
            mine = batch.task == number
            if mine.any():
                progress.follow(name, float(right[mine].float().mean()))

    def _log(self, kind: str, **scores: float) -> None:
        """Append a line to the log, and say in short where training stands."""
        p, phases = self.progress, self.recipe.phases
        phase = phases[min(p.phase, len(phases) - 1)]
        line = {"kind": kind, "phase": phase.name, "minutes": round(p.spent / 60, 2), "step": p.step}
        line |= {"images": p.images, "threads": torch.get_num_threads()}
        line |= {"cpu_minutes": round(time.process_time() / 60, 1)}
        line |= scores or {name: round(value, 3) for name, value in p.means.items()}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        if scores:
            console.print("fresh scenes: " + "  ".join(f"{k} {v:.3f}" for k, v in scores.items()))
            return
        shown = "  ".join(f"{name} {p.means[name]:.3f}" for name in ("loss", *TRAINING_TASKS) if name in p.means)
        done = f"{p.phase + 1}/{len(phases)} {phase.name} {p.share(phase):.0%} {p.spent / 60:.1f} min"
        console.print(f"{done}  step {p.step}  {shown}")


def main(
    recipe: Annotated[str, typer.Argument(help="a .toml beside this file; auto: gpu if there is one")] = "auto",
    folder: Annotated[Path | None, typer.Option(help="by default runs/RECIPE, runs/RECIPE-SEED with a seed")] = None,
    seed: Annotated[int | None, typer.Option(help="instead of the recipe's")] = None,
) -> None:
    """Train in a folder; goes on where it was stopped."""
    name = ("gpu" if torch.cuda.is_available() else "cpu") if recipe == "auto" else recipe
    chosen, own = Recipe.read(name), name
    if seed is not None:
        chosen, own = replace(chosen, seed=seed), f"{name}-{seed}"
    Trainer(chosen, folder or Path("runs") / own).run()


if __name__ == "__main__":
    typer.run(main)

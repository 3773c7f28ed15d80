"""The model class that lmms-eval makes and asks."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NoReturn

import torch
from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from lmms_eval.models.model_utils.gen_metrics import log_metrics

from solvers.progress import progress_bar

from .arguments import Arguments
from .replies import Reply, replies_to
from .requests import Chat, Generation, read_chat


class PruneScope(lmms):  # type: ignore[misc]  # lmms-eval has no types
    """A checkpoint under a pruner, for lmms-eval (0.7.3); `Arguments` has the arguments.

    Tasks of the output type `generate_until` are answered, with any number of pictures per prompt. Likelihoods of given
    answers, several rounds and drawn chains of thought are refused: a score of them would say nothing. Errors while
    answering are raised with the document's number; lmms-eval's command prints them and reports no score.

    With `--log_samples`, `token_counts` has the tokens of each prompt and answer; `throughput` of the results has the
    means over questions of the visual tokens that the layers saw.
    """

    is_simple: ClassVar[bool] = False

    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.arguments = Arguments.read(given)
        self.vlm = self.arguments.load()
        # a wrong budget is to be told before the data are loaded
        with self.arguments.pruning(self.vlm):
            pass

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.vlm.device

    @property
    def batch_size(self) -> int:
        """Prompts per batch."""
        return self.arguments.batch_size

    def generate_until(self, requests: list[Instance]) -> list[GenerationResult]:
        """Answers in the order of the requests."""
        found: dict[int, Reply] = {}
        start = time.perf_counter()
        with progress_bar(self.rank == 0) as bar:
            job = bar.add_task("answering", total=len(requests))
            for generation, members in self._batches(requests):
                for numbers, chats in self._read(requests, members):
                    try:
                        replies = replies_to(self.vlm, chats, generation, self.arguments)
                    except Exception as error:
                        error.add_note(f"while answering {_places(requests, numbers)}")
                        raise
                    found.update(zip(numbers, replies, strict=True))
                bar.advance(job, len(members))
        self._report(list(found.values()), time.perf_counter() - start)
        ordered = (found[number] for number in range(len(requests)))
        return [GenerationResult(reply.text, TokenCounts(reply.input_tokens, reply.output_tokens)) for reply in ordered]

    def loglikelihood(self, requests: list[Instance]) -> NoReturn:
        """Refused."""
        _refuse(requests, "the likelihood of given answers")

    def generate_until_multi_round(self, requests: list[Instance]) -> NoReturn:
        """Refused."""
        _refuse(requests, "several rounds")

    def generate_visual_cot(self, requests: list[Instance]) -> NoReturn:
        """Refused."""
        _refuse(requests, "pictures drawn on the way")

    def _batches(self, requests: Sequence[Instance]) -> Iterator[tuple[Generation, list[int]]]:
        """Numbers of requests that are answered together, because they are generated alike."""
        alike: dict[Generation, list[int]] = defaultdict(list)
        for number, request in enumerate(requests):
            alike[Generation.read(request.args[2])].append(number)
        size = self.arguments.batch_size
        for generation, members in alike.items():
            for start in range(0, len(members), size):
                yield generation, members[start : start + size]

    def _read(self, requests: Sequence[Instance], members: Sequence[int]) -> Iterator[tuple[list[int], list[Chat]]]:
        """The chats of a batch; those without pictures apart, which processors cannot take with the others."""
        parts: dict[bool, tuple[list[int], list[Chat]]] = {}
        for number in members:
            _, messages_of, _, document, task, split = requests[number].args
            try:
                chat = read_chat(self.vlm, messages_of(self.task_dict[task][split][document]))
            except Exception as error:
                error.add_note(f"while reading {_places(requests, [number])}")
                raise
            numbers, chats = parts.setdefault(bool(chat.pictures), ([], []))
            numbers.append(number)
            chats.append(chat)
        yield from parts.values()

    def _report(self, replies: Sequence[Reply], seconds: float) -> None:
        tokens = sum(reply.output_tokens for reply in replies)
        pruner = self.arguments.pruner
        log_metrics(
            total_elapsed_time=seconds,
            total_gen_tokens=tokens,
            avg_speed=tokens / seconds,
            additional_metrics={
                "num_requests": len(replies),
                "visual_tokens": sum(reply.visual_tokens for reply in replies) / max(1, len(replies)),
                "input_tokens": sum(reply.input_tokens for reply in replies) / max(1, len(replies)),
                "pruner": "none" if pruner is None else repr(pruner),
                "weights": self.vlm.config_hash,
            },
        )


def _places(requests: Sequence[Instance], numbers: Sequence[int]) -> str:
    return ", ".join(f"document {requests[number].args[3]} of {requests[number].args[4]!r}" for number in numbers)


def _refuse(requests: Sequence[Instance], what: str) -> NoReturn:
    tasks = ", ".join(sorted({str(request.task_name) for request in requests}))
    raise ValueError(f"prunescope answers tasks of the output type generate_until only, but {tasks} asks for {what}")

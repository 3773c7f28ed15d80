"""A stand-in of the documented base class of lmms-eval's models, for where lmms-eval itself is not installed."""

from __future__ import annotations

import abc
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest

from analysis.evaluation.lmms import arguments
from analysis.models import Vlm


class StandInBase(abc.ABC):
    """`lmms_eval.api.model.lmms` of 0.7.3, as far as a model outside of lmms-eval sees it."""

    is_simple = True

    def __init__(self) -> None:
        self._rank = 0
        self.task_dict: dict[str, Any] = {}

    @property
    def rank(self) -> int:
        return self._rank

    @abc.abstractmethod
    def loglikelihood(self, requests: Any) -> Any: ...

    @abc.abstractmethod
    def generate_until(self, requests: Any) -> Any: ...

    @abc.abstractmethod
    def generate_until_multi_round(self, requests: Any) -> Any: ...


@dataclass
class StandInCounts:
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass
class StandInResult:
    text: str
    token_counts: StandInCounts | None = None


@dataclass(frozen=True)
class StandInManifest:
    model_id: str
    simple_class_path: str | None = None
    chat_class_path: str | None = None


@dataclass
class StandInRequest:
    """`lmms_eval.api.instance.Instance`: six arguments for a model that takes chats."""

    args: tuple[Any, ...]
    task_name: str = "toy"


@dataclass
class Plugin:
    """The model class and what it reported to `log_metrics`."""

    model: Any
    reported: list[dict[str, Any]] = field(default_factory=list)

    def requests(
        self, documents: Sequence[Any], generation: dict[str, Any], messages_of: Callable[[Any], Any]
    ) -> list[StandInRequest]:
        """One per document of a task "toy"."""
        self.model.task_dict["toy"] = {"test": documents}
        return [
            StandInRequest(("context", messages_of, dict(generation), number, "toy", "test"))
            for number in range(len(documents))
        ]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """lmms-eval's modules, replaced; what `log_metrics` was called with."""
    reported: list[dict[str, Any]] = []
    contents: dict[str, dict[str, Any]] = {
        "lmms_eval": {},
        "lmms_eval.api": {},
        "lmms_eval.api.instance": {
            "GenerationResult": StandInResult,
            "Instance": StandInRequest,
            "TokenCounts": StandInCounts,
        },
        "lmms_eval.api.model": {"lmms": StandInBase},
        "lmms_eval.models": {},
        "lmms_eval.models.model_utils": {},
        "lmms_eval.models.model_utils.gen_metrics": {"log_metrics": lambda **said: reported.append(said)},
        "lmms_eval.models.registry_v2": {"ModelManifest": StandInManifest},
    }
    for name, content in contents.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    yield reported
    sys.modules.pop("analysis.evaluation.lmms.model", None)


@pytest.fixture
def make_plugin(
    stand_in: list[dict[str, Any]], tiny_vlm: Vlm, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Plugin]:
    """`make_plugin(**model_args)`: the model of lmms-eval around the tiny one."""
    monkeypatch.setattr(arguments, "load", lambda *args, **options: tiny_vlm)
    module = importlib.import_module("analysis.evaluation.lmms.model")

    def made(**given: Any) -> Plugin:
        return Plugin(module.PruneScope(pretrained="tiny", **given), stand_in)

    return made

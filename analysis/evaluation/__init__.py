"""What dropping visual tokens costs: end-task accuracy, FLOPs and memory, a row per question."""

from __future__ import annotations

from .accuracy import accuracy_table as accuracy_table
from .answering import Context as Context
from .answering import answer_texts as answer_texts
from .answering import answer_tokens as answer_tokens
from .cost import Cost as Cost
from .cost import cost as cost
from .cost import cost_table as cost_table
from .reliability import split_half as split_half
from .run import evaluate as evaluate
from .scoring import exact_match as exact_match
from .tasks import TASKS as TASKS
from .tasks import AbstractTask as AbstractTask
from .tasks import MiniVqa as MiniVqa
from .tasks import Question as Question
from .tasks import Sample as Sample
from .tasks import task as task

"""What dropping visual tokens costs: end-task accuracy, FLOPs and memory, a row per question."""

from __future__ import annotations

from analysis.cost import Cost as Cost
from analysis.cost import cost as cost
from analysis.cost import cost_table as cost_table

from .accuracy import accuracy_table as accuracy_table
from .agreement import ranking_agreement as ranking_agreement
from .answering import Context as Context
from .answering import answer_texts as answer_texts
from .answering import answer_tokens as answer_tokens
from .budgets import area_under_curve as area_under_curve
from .budgets import critical_budget as critical_budget
from .comparison import paired_comparison as paired_comparison
from .comparison import relative_accuracy as relative_accuracy
from .reliability import split_half as split_half
from .reproducibility import reproducibility as reproducibility
from .run import evaluate as evaluate
from .scoring import exact_match as exact_match
from .seeds import seed_spread as seed_spread
from .tasks import TASKS as TASKS
from .tasks import AbstractBenchmark as AbstractBenchmark
from .tasks import AbstractTask as AbstractTask
from .tasks import Gqa as Gqa
from .tasks import Manifest as Manifest
from .tasks import MiniVqa as MiniVqa
from .tasks import MmBench as MmBench
from .tasks import Mme as Mme
from .tasks import Pope as Pope
from .tasks import Question as Question
from .tasks import Sample as Sample
from .tasks import ScienceQa as ScienceQa
from .tasks import TextVqa as TextVqa
from .tasks import VqaV2 as VqaV2
from .tasks import task as task

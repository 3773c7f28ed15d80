"""Run in a process of its own: the task in a folder under several model arguments, in lmms-eval, results as JSON."""

from __future__ import annotations

import json
import sys
import traceback
from typing import Any

from lmms_eval.evaluator import simple_evaluate
from lmms_eval.tasks import TaskManager


def outcome(folder: str, task: str, model_args: str, batch_size: int) -> dict[str, Any]:
    manager = TaskManager(include_path=folder, include_defaults=False)
    try:
        results = simple_evaluate(
            "prunescope", model_args, tasks=[task], task_manager=manager, batch_size=batch_size, device="cpu"
        )
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "notes": traceback.format_exception(error)[-1]}
    samples = sorted(results["samples"][task], key=lambda sample: sample["doc_id"])
    return {
        "accuracy": results["results"][task]["exact,none"],
        "answers": [sample["filtered_resps"][0] for sample in samples],
        "tokens": [sample["token_counts"][0] for sample in samples],
        "throughput": results["throughput"],
        "config": results["config"]["model_args"],
    }


if __name__ == "__main__":
    folder, asked, written = sys.argv[1:]
    with open(asked) as file:
        runs = json.load(file)
    found = [outcome(folder, **run) for run in runs]
    with open(written, "w") as file:
        json.dump(found, file)

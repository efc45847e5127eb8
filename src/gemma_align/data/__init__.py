"""Data: readers of published formats, generated sets, cleaning, splits, and the prompt formats.

from gemma_align.data import load_task
task = load_task("clinical", config.data)
print("\\n".join(task.report.lines()))
"""

from gemma_align.data.fewshot import few_shot, first_answer
from gemma_align.data.report import DataReport
from gemma_align.data.splits import fingerprint, subset
from gemma_align.data.tasks import TASKS, load_task
from gemma_align.data.templates import Fitted, PromptFormat, choose_format, fit

__all__ = [
    "TASKS",
    "DataReport",
    "Fitted",
    "PromptFormat",
    "choose_format",
    "few_shot",
    "fingerprint",
    "first_answer",
    "fit",
    "load_task",
    "subset",
]

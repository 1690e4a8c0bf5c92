"""Make records: ask every model of a pool the same prompts, grade the answers, price them.

The asking is inspect-ai's (extra ``collect``): its providers, concurrency, retries, logs and viewer.
"""

from avengers_pro.collection.collect import Collected, Plan, collect
from avengers_pro.collection.graders import Grade, Grader
from avengers_pro.collection.grading import grade
from avengers_pro.collection.prompts import Prompt, read_prompts

__all__ = ["Collected", "Grade", "Grader", "Plan", "Prompt", "collect", "grade", "read_prompts"]

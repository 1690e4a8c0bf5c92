"""Prompts as a task of inspect-ai: ask once, grade once."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from avengers_pro.collection.graders import Grade, Judge, PythonTests, name_of, tests_of
from avengers_pro.collection.grading import grade
from avengers_pro.collection.judging import judge_prompt, read_verdict
from avengers_pro.collection.keeping import KEY, refusal_of
from avengers_pro.collection.models import JUDGE
from avengers_pro.collection.prompts import Prompt
from avengers_pro.collection.reading import code_in
from avengers_pro.collection.sandbox import TestRun, run_tests

if TYPE_CHECKING:
    from anyio import CapacityLimiter
    from inspect_ai import Task
    from inspect_ai.dataset import Sample
    from inspect_ai.scorer import Scorer

CONFINED_AT_ONCE = 2
SCORER = "graded"
DATASET, ID = "dataset", "id"
"""Where a sample's metadata says what its row of the records will say."""


def task_of(prompts: Sequence[Prompt], name: str) -> "Task":
    """Build the task; each prompt is a sample, named by its key."""
    from inspect_ai import Task
    from inspect_ai.dataset import MemoryDataset
    from inspect_ai.solver import generate

    dataset = MemoryDataset([_sample(prompt) for prompt in prompts], name=name)
    return Task(
        dataset=dataset, solver=generate(), scorer=_scorer({prompt.key: prompt for prompt in prompts}), name=name
    )


def _sample(prompt: Prompt) -> "Sample":
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

    kinds = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
    target = prompt.target
    return Sample(
        id=prompt.key,
        input=[kinds[role](content=text) for role, text in prompt.messages],
        target="" if target is None else list(map(str, target)) if isinstance(target, list) else str(target),
        metadata={KEY: prompt.key, DATASET: prompt.dataset, ID: prompt.id, "grader": name_of(prompt.grader)},
    )


def _scorer(prompts: dict[str, Prompt]) -> "Scorer":
    import anyio
    from inspect_ai.scorer import Score, Target, mean, scorer
    from inspect_ai.solver import TaskState

    confined = anyio.CapacityLimiter(CONFINED_AT_ONCE)

    @scorer(metrics=[mean()], name=SCORER)
    def graded() -> "Scorer":
        async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001  # the prompt knows its target
            refusal = refusal_of(state.output)
            if refusal is not None:
                return Score.unscored(explanation=refusal)
            prompt = prompts[str(state.sample_id)]
            found = await _grade(prompt, state.output.completion, confined)
            if math.isnan(found.score):
                return Score.unscored(explanation=found.reason)
            return Score(value=found.score, answer=found.found, explanation=found.reason or None)

        return score

    return graded()


async def _grade(prompt: Prompt, answer: str, confined: "CapacityLimiter") -> Grade:
    match prompt.grader:
        case Judge() as grader:
            from inspect_ai.model import get_model

            reply = await get_model(role=JUDGE, required=True).generate(judge_prompt(prompt, answer, grader))
            return read_verdict(reply.completion)
        case PythonTests() as grader:
            from anyio.to_thread import run_sync

            run = await run_sync(_run_tests, prompt, answer, grader, limiter=confined)
            return Grade(run.score, None, run.reason)
        case grader:
            return grade(answer, prompt.target, grader)


def _run_tests(prompt: Prompt, answer: str, grader: PythonTests) -> TestRun:
    return run_tests(
        code_in(answer),
        tests_of(grader, prompt.target),
        timeout_s=grader.timeout_s,
        memory_mb=grader.memory_mb,
        processes=grader.processes,
    )

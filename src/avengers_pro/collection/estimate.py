"""What asking will probably cost, before it is done."""

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from avengers_pro.collection.answers import Answers
from avengers_pro.collection.collect import Plan, collected_into
from avengers_pro.collection.graders import Judge
from avengers_pro.collection.judging import judge_prompt
from avengers_pro.collection.models import asked_of, settings_of
from avengers_pro.collection.spending import ASSUMED_COMPLETION_TOKENS, CHARS_PER_TOKEN, expected_usd
from avengers_pro.routing.pool import ModelCard

_VERDICT_TOKENS = 20.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one model's share will probably be.

    Attributes:
        calls: Still to be paid.
        answered: Already paid for.
        prompt_tokens: Of the calls, by four characters a token.
        completion_tokens: Of the calls; each as the model's mean so far, else the longest allowed, else 500.
        cost_usd: NaN = no price is known.
        assumed: Whether the length of answers is an assumption, none being known.
    """

    calls: int
    answered: int
    prompt_tokens: float
    completion_tokens: float
    cost_usd: float
    assumed: bool


def estimate(plan: Plan) -> tuple[Mapping[str, Estimate], Estimate | None]:
    """Estimate prompts; of a task see ``estimate_task``.

    Returns:
        By model; and the judge's, None if there is none to ask.
    """
    found: dict[str, Estimate] = {}
    judged = 0
    judge_chars = 0.0
    for card in plan.cards:
        known, mean = _history(plan, card)
        settings = settings_of(card, plan.asking)
        per_answer = _per_answer(plan, mean)
        calls, answered, chars = 0, 0, 0.0
        for prompt in plan.prompts:
            asked = asked_of(settings, prompt.messages)
            for epoch in range(1, plan.samples + 1):
                if (prompt.key, epoch, asked) in known:
                    answered += 1
                    continue
                calls += 1
                chars += sum(len(text) for _, text in prompt.messages)
                if isinstance(prompt.grader, Judge):
                    judged += 1
                    judge_chars += len(judge_prompt(prompt, "", prompt.grader)) + per_answer * CHARS_PER_TOKEN
        cost = expected_usd(card, chars, per_answer * calls)
        found[card.name] = Estimate(calls, answered, chars / CHARS_PER_TOKEN, per_answer * calls, cost, mean is None)
    if plan.judge is None or not judged:
        return found, None
    tokens = _VERDICT_TOKENS * judged
    cost = expected_usd(plan.judge, judge_chars, tokens)
    return found, Estimate(judged, 0, judge_chars / CHARS_PER_TOKEN, tokens, cost, assumed=True)


def estimate_task(plan: Plan, prompt_lengths: Sequence[int]) -> Mapping[str, Estimate]:
    """Estimate a task, of whose calls the dataset's texts are known: one call a sample, without what the task adds.

    Args:
        plan: What to do.
        prompt_lengths: Characters of each sample, from ``prompt_lengths`` of ``loading``.

    Returns:
        By model. What was answered before is not subtracted: which of the task's questions it answers is not known.
    """
    found: dict[str, Estimate] = {}
    calls = len(prompt_lengths) * plan.samples
    chars = float(sum(prompt_lengths) * plan.samples)
    for card in plan.cards:
        known, mean = _history(plan, card)
        tokens = calls * _per_answer(plan, mean)
        cost = expected_usd(card, chars, tokens)
        found[card.name] = Estimate(calls, len(known), chars / CHARS_PER_TOKEN, tokens, cost, mean is None)
    return found


def total_usd(estimates: Mapping[str, Estimate], judge: Estimate | None) -> float:
    """Sum the estimates; NaN if a price is missing where something is to be paid."""
    parts = [*estimates.values(), *([] if judge is None else [judge])]
    return math.fsum(part.cost_usd for part in parts if part.calls)


def _history(plan: Plan, card: ModelCard) -> tuple[frozenset[tuple[str, int, str]], float | None]:
    if not collected_into(plan.logs):
        return frozenset(), None
    with closing(Answers(plan.logs)) as answers:
        return answers.known(card.name), answers.mean_completion_tokens(card.name)


def _per_answer(plan: Plan, mean: float | None) -> float:
    return mean if mean is not None else float(plan.asking.max_tokens or ASSUMED_COMPLETION_TOKENS)

"""Asking a pool: what is planned, what it may cost, and doing it."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avengers_pro.collection.answers import FILE_NAME, Answers
from avengers_pro.collection.graders import Judge, PythonTests
from avengers_pro.collection.models import JUDGE, Asking, build_model, inspect_names
from avengers_pro.collection.prompts import Prompt
from avengers_pro.collection.results import Harvest, harvest
from avengers_pro.collection.sandbox import check_sandbox
from avengers_pro.collection.spending import Spending
from avengers_pro.collection.task import task_of
from avengers_pro.errors import AvengersProError, MissingExtraError, SettingsError, StoreError
from avengers_pro.routing.pool import ModelCard

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog
    from inspect_ai.model import Model

Progress = Callable[[int, int, float], None]
"""Called with (draws done, draws in all or 0 if not known, dollars spent)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to collect.

    Attributes:
        cards: The pool; their names become the models of the records.
        logs: Folder of the logs and of the answers paid for; made when missing.
        prompts: What to ask; empty if a task says it.
        task: A task of inspect-ai: ``package/name`` or ``file.py@name``; None = the prompts.
        name: Of the task in the logs, for prompts.
        judge: Grades where a grader is ``judge``, and is the role ``grader`` of a task; None = nobody.
        samples: Draws of each prompt and model.
        limit: Samples of a task to run; None = all. Prompts are limited when they are read.
        max_cost_usd: Most to spend in all, earlier runs into the same folder included; None = any.
        allow_code_execution: Whether code of a model may be run, confined.
        asking: How models are asked.
        score: Which score of a task counts; None = its first scorer's.
        score_scale: What a perfect score of a task is.
    """

    cards: tuple[ModelCard, ...]
    logs: Path
    prompts: tuple[Prompt, ...] = ()
    task: str | None = None
    name: str = "prompts"
    judge: ModelCard | None = None
    samples: int = 1
    limit: int | None = None
    max_cost_usd: float | None = None
    allow_code_execution: bool = False
    asking: Asking = field(default_factory=Asking)
    score: str | None = None
    score_scale: float = 1.0

    def check(self) -> None:
        """Refuse what cannot be done, before anything is paid.

        Raises:
            SettingsError: If something is contradictory or missing, or a cap is set on a model of unknown price.
            SandboxError: If code would have to be run and the limits on it do not hold here.
        """
        if bool(self.prompts) == (self.task is not None):
            raise SettingsError("collecting needs prompts or a task of inspect-ai, and only one of them")
        if any(isinstance(prompt.grader, Judge) for prompt in self.prompts) and self.judge is None:
            raise SettingsError('a grader is "judge", but nobody is named: add [judge] to the pool, or --judge MODEL')
        self._check_code()
        unpriced = [card.name for card in self._paid() if card.input_price is None or card.output_price is None]
        if self.max_cost_usd is not None and unpriced:
            raise SettingsError(
                f"the cost cannot be capped, as {', '.join(unpriced)} has no price; state input_price and output_price "
                "in the pool, or leave --max-cost out"
            )

    def _check_code(self) -> None:
        coded = sum(isinstance(prompt.grader, PythonTests) for prompt in self.prompts)
        if coded and not self.allow_code_execution:
            raise SettingsError(
                f"{coded} prompts are graded by running code that the models write; allow it, confined, with "
                "--allow-code-execution"
            )
        if coded:
            check_sandbox()

    def _paid(self) -> tuple[ModelCard, ...]:
        return self.cards if self.judge is None else (*self.cards, self.judge)


@dataclass(frozen=True, slots=True)
class Collected:
    """What a run brought.

    Attributes:
        harvest: Records and counts.
        spent_usd: By this run, judges included.
        total_usd: By all runs into the folder.
        judge_usd: By all runs into the folder, for judging; in no model's cost.
        unknown_costs: Answers of this run whose cost is not known.
        capped: Whether the cap kept something from being asked.
        interrupted: Whether it was stopped from outside.
    """

    harvest: Harvest
    spent_usd: float
    total_usd: float
    judge_usd: float
    unknown_costs: int
    capped: bool
    interrupted: bool


def collect(plan: Plan, progress: Progress | None = None) -> Collected:
    """Ask, grade and price. What was answered before, for the same pool and folder, is not asked again.

    Args:
        plan: What to do.
        progress: Told after each draw.

    Raises:
        MissingExtraError: If inspect-ai is not installed.
        SettingsError: If the plan or the pool is wrong, a key is missing, or inspect does not know the task.
        StoreError: If another process collects into the folder, or an answer cannot be kept.
        AvengersProError: If a task fails as a whole, or is interrupted before anything was graded.
    """
    need_inspect()
    plan.check()
    plan.logs.mkdir(parents=True, exist_ok=True)
    with closing(Answers(plan.logs)) as answers:
        before = answers.spent_usd()
        spending = Spending(before, plan.max_cost_usd)
        names = inspect_names(plan.cards)
        models = [
            build_model(card, names[card.name], asking=plan.asking, answers=answers, spending=spending)
            for card in plan.cards
        ]
        judge = _judge(plan, answers, spending)
        start = time.time()
        logs = _evaluate(plan, models, judge, spending, progress)
        interrupted = not logs or any(log.status == "cancelled" for log in logs)
        if interrupted and not any(log.samples for log in logs):
            raise AvengersProError("interrupted; what was answered is kept. Run the same command again to go on")
        if spending.closed is not None:
            raise StoreError(spending.closed)
        _drop_superseded(plan.logs, logs, start)
        cards = {names[card.name]: card for card in plan.cards}
        return Collected(
            harvest(logs, cards, score=plan.score, score_scale=plan.score_scale),
            spent_usd=spending.spent_usd - before,
            total_usd=spending.spent_usd,
            judge_usd=answers.spent_usd(JUDGE),
            unknown_costs=spending.unknown,
            capped=spending.capped,
            interrupted=interrupted,
        )


def need_inspect() -> None:
    """Refuse early if a library is missing.

    Raises:
        MissingExtraError: Naming it.
    """
    from importlib.util import find_spec

    for package, name in (("inspect_ai", "inspect-ai"), ("openai", "openai")):
        if find_spec(package) is None:
            raise MissingExtraError(name, "collect", "collecting records")


def collected_into(folder: Path) -> bool:
    """Whether a folder holds answers of an earlier run."""
    return (folder / FILE_NAME).is_file()


def _judge(plan: Plan, answers: Answers, spending: Spending) -> "Model | None":
    if plan.judge is None:
        return None
    # Its own name, though the same model may be in the pool: its calls are counted apart.
    (name,) = inspect_names([plan.judge]).values()
    asking = Asking(retries=plan.asking.retries, concurrency=plan.asking.concurrency)
    return build_model(plan.judge, name, asking=asking, answers=answers, spending=spending, role=JUDGE)


def _evaluate(
    plan: Plan, models: Sequence["Model"], judge: "Model | None", spending: Spending, progress: Progress | None
) -> list["EvalLog"]:
    from inspect_ai import eval as run
    from inspect_ai._util.error import PrerequisiteError  # not exported, yet what a wrong task name raises
    from inspect_ai.log import read_eval_log

    total = len(plan.prompts) * len(models) * plan.samples
    watched = [*models, *([] if judge is None else [judge])]
    _watch(watched, lambda done: None if progress is None else progress(done, total, spending.spent_usd))
    roles: dict[str, Any] = {} if judge is None else {JUDGE: judge, "grader": judge}
    try:
        logs = run(
            task_of(plan.prompts, plan.name) if plan.task is None else plan.task,
            model=list(models),
            model_roles=roles,
            epochs=plan.samples,
            limit=plan.limit,
            fail_on_error=False,
            max_tasks=len(models),
            log_dir=str(plan.logs.absolute()),
            log_level="critical",
            log_realtime=False,
            display="none",
            score_display=False,
            ctl_server=False,
            metadata={"avengers_pro": {"models": _named(plan.cards)}},
        )
    except (PrerequisiteError, FileNotFoundError, LookupError, ValueError, ImportError) as error:
        if plan.task is None:
            raise
        raise SettingsError(f"task {plan.task!r}: inspect-ai cannot run it: {error}") from error
    for log in logs:
        if log.status == "error" and log.error is not None:
            raise AvengersProError(
                f"the task failed with {log.eval.model}: {log.error.message.splitlines()[0]}; its log: {log.location}"
            )
    # Of an interrupted run inspect returns the head alone; its file may hold more.
    return [log if log.samples else read_eval_log(log.location) for log in logs]


def _named(cards: Sequence[ModelCard]) -> Mapping[str, str]:
    return {name: card for card, name in inspect_names(cards).items()}


def _watch(models: Sequence["Model"], tell: Callable[[int], None]) -> None:
    """Count samples as they end, and close the models' connections while their event loop still runs.

    inspect keeps one hook of a name for the process, the latest.
    """
    from inspect_ai.hooks import Hooks, RunEnd, SampleEnd, hooks

    class Watching(Hooks):
        """Counts samples; closes models."""

        done = 0

        async def on_sample_end(self, data: SampleEnd) -> None:  # noqa: ARG002
            """Count one."""
            self.done += 1
            tell(self.done)

        async def on_run_end(self, data: RunEnd) -> None:  # noqa: ARG002
            """Close what was opened for this run."""
            for model in models:
                await model.api.aclose()

    hooks(name="avengers_pro_collect", description="Progress of avengers-pro collect")(Watching)


def _drop_superseded(folder: Path, logs: Sequence["EvalLog"], start: float) -> None:
    """Remove logs of earlier, unfinished runs that a new log says everything about."""
    from inspect_ai.log import list_eval_logs, read_eval_log

    fresh = {Path(log.location).name for log in logs}
    covered = {
        (log.eval.task, log.eval.model): {(sample.id, sample.epoch) for sample in log.samples or ()} for log in logs
    }
    for info in list_eval_logs(str(folder.absolute())):
        path = Path(info.name.removeprefix("file://"))
        if path.name in fresh or path.stat().st_mtime > start:
            continue
        try:
            old = read_eval_log(str(path), header_only=True)
        except (OSError, ValueError, KeyError, EOFError):
            continue  # torn, or of another program
        ids, epochs = old.eval.dataset.sample_ids or [], range(1, (old.eval.config.epochs or 1) + 1)
        known = covered.get((old.eval.task, old.eval.model))
        if known is not None and ids and all((name, epoch) in known for name in ids for epoch in epochs):
            path.unlink()

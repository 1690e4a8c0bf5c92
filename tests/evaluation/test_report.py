"""The reports of a real evaluation: complete, escaped, self-contained, verdict first."""

import re
import sys
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest

from avengers_pro.demo import sample_path
from avengers_pro.embedding import Vectors, load_embedder
from avengers_pro.errors import MissingExtraError
from avengers_pro.evaluation import Evaluation, Protocol, evaluate
from avengers_pro.evaluation.charts import ProfileRow
from avengers_pro.evaluation.report import Cases, find_cases, html_report, markdown_report
from avengers_pro.evaluation.report.numbers import change, dollars, knob, percent, plain, points
from avengers_pro.records import Records, read_records
from avengers_pro.routing import build_method

HOSTILE = "</script><img src=x onerror=alert(1)>"
NOTE = "simulated data"
PROTOCOL = Protocol(seeds=(42, 999), alphas=tuple(np.linspace(0, 1, 11).round(6).tolist()))
VOID = {"meta", "link", "br", "img", "hr", "input"}
PARAMS = {"clusters": 6, "top_clusters": 2}
SECTIONS = ["frontier", "saves", "datasets", "shares", "cases", "sure", "measured"]


def vectors_of(records: Records) -> Vectors:
    return load_embedder("static").embed(records.queries)


def shown(query: str) -> str:
    line = " ".join(query.split())
    return line if len(line) <= 240 else line[:239].rstrip() + "…"


def judged(records: Records, note: str = NOTE) -> Evaluation:
    vectors = vectors_of(records)
    methods = ("avengers-pro-paper", "avengers")
    return evaluate(records, methods, protocol=PROTOCOL, vectors=vectors, params=PARAMS, source="sample", note=note)


def cases_of(evaluation: Evaluation, records: Records) -> Cases:
    method = build_method("avengers-pro-paper", PARAMS)
    found = find_cases(evaluation, records, method, PROTOCOL, vectors_of(records))
    assert found is not None
    return found


@pytest.fixture(scope="session")
def few() -> Records:
    records = read_records(sample_path()).records
    return records.take(np.random.default_rng(0).choice(len(records), 600, replace=False))


@pytest.fixture(scope="session")
def evaluation(few: Records) -> Evaluation:
    return judged(few)


@pytest.fixture(scope="session")
def hostile(evaluation: Evaluation) -> Evaluation:
    """Names that try to break out: of the best single model, of all datasets, of the source, and in the note."""
    text = evaluation.to_json().decode()
    for name in ("openai/", "sim-"):
        text = text.replace(name, f"{HOSTILE}|{name}")
    renamed = Evaluation.from_json(text.encode())
    renamed.records.note = renamed.records.source = HOSTILE
    assert renamed.verdict.reference.startswith(HOSTILE)
    assert all(name.startswith(HOSTILE) for name in renamed.records.datasets)
    return renamed


@pytest.fixture(scope="session")
def cases(evaluation: Evaluation, few: Records) -> Cases:
    return cases_of(evaluation, few)


@pytest.fixture(scope="session")
def page(evaluation: Evaluation, cases: Cases) -> str:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    return html_report(evaluation, [ProfileRow(0, 10, "Prove it", {"a": 0.5, "b": float("nan")})], cases)


class Outline(HTMLParser):
    """Checks that tags are balanced and remembers what a page has."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open and self.open[-1] not in {"script", "style", "title"}:
            self.words.append(data.strip())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def markdown_tables(text: str) -> list[list[str]]:
    tables: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            tables[-1].append(line)
        elif tables[-1]:
            tables.append([])
    return [table for table in tables if table]


def test_the_page_is_balanced_and_says_the_verdict_first(page: str, evaluation: Evaluation) -> None:
    found = outline(page)
    assert found.words[0] == "Skip to the content"
    assert found.words[1].startswith(f"{evaluation.verdict.method} {evaluation.verdict.outcome}")
    assert found.words[2] == evaluation.verdict.text
    assert found.words[3] == f"Note: {NOTE}"
    assert found.named("html") == [{"lang": "en"}]
    assert len(found.named("h1")) == 1
    assert len(found.named("table")) == len(found.named("caption")) >= 8


def test_the_story_has_its_order_in_both_forms(page: str, evaluation: Evaluation, cases: Cases) -> None:
    found = outline(page)
    assert [attrs["id"] for attrs in found.named("section")] == SECTIONS
    headings = [line[3:] for line in markdown_report(evaluation, {}, cases).splitlines() if line.startswith("## ")]
    places = [found.words.index(heading) for heading in headings]
    assert len(places) == len(SECTIONS)
    assert places == sorted(places)


def test_the_page_loads_nothing_runs_no_script_and_is_small(page: str) -> None:
    found = outline(page)
    assert [tag for tag, _ in found.tags if tag in {"script", "link", "img", "iframe", "object", "embed"}] == []
    for _, attrs in found.tags:
        assert "src" not in attrs
        assert (attrs.get("href") or "#").startswith("#")
        assert not [name for name in attrs if name.startswith("on")]
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    assert "@import" not in page
    assert "url(" not in page.split("</style>", maxsplit=1)[0]
    assert len(page.encode()) < 1_000_000


def test_every_figure_is_drawn_with_the_note_and_its_own_ids(page: str) -> None:
    drawn = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(drawn) == 5
    assert all(f"Note: {NOTE}" in figure for figure in drawn)
    ids = [attrs["id"] for _, attrs in outline(page).tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for name in re.findall(r"url\(#([^)]+)\)", page):
        assert name in ids


def test_what_scrolls_can_be_reached_by_keyboard_and_has_a_name(page: str) -> None:
    boxes = [attrs for attrs in outline(page).named("div") if attrs.get("class") in {"card", "table"}]
    assert len(boxes) >= 12
    assert all(box["tabindex"] == "0" and box["role"] == "region" and box["aria-label"] for box in boxes)


def test_paper_gets_no_dark_colours_and_nothing_folded(page: str) -> None:
    style = page.split("<style>", maxsplit=1)[1].split("</style>", maxsplit=1)[0]
    assert re.findall(r"@media ([^{]*dark[^{]*) {", style) == ["screen and (prefers-color-scheme: dark)"]
    printed = style.split("@media print {", maxsplit=1)[1]
    assert "details::details-content" in printed
    assert re.search(r"figure, tr, p[^{]*{ break-inside: avoid; }", printed)


def test_cases_are_the_test_queries_as_recorded(evaluation: Evaluation, few: Records, cases: Cases) -> None:
    split = evaluation.splits[0]
    assert (cases.seed, cases.reference) == (split.seed, split.best_single)
    assert sum(t.better + t.same + t.worse for t in cases.tallies) == split.test
    assert cases.wins
    assert cases.losses
    single = few.models.index(cases.reference)
    rows: dict[str, list[int]] = {}
    for row, query in enumerate(few.queries):
        rows.setdefault(shown(query), []).append(row)
    for case in (*cases.wins, *cases.losses, *cases.savings):
        column = few.models.index(case.model)
        same = [row for row in rows[case.query] if few.datasets[row] == case.dataset]
        recorded = [(few.scores[row, column], few.scores[row, single], few.costs[row, column]) for row in same]
        assert (case.score, case.single_score, case.cost_usd) in recorded
    assert all(case.score > case.single_score for case in cases.wins)
    assert all(case.score < case.single_score for case in cases.losses)
    assert all(case.score == case.single_score and case.cost_usd < case.single_cost_usd for case in cases.savings)


def test_the_tallies_add_up_to_the_reported_cost(evaluation: Evaluation, cases: Cases) -> None:
    result = evaluation.methods["avengers-pro-paper"].splits[0]
    point = result.operating_points[cases.goal]
    assert cases.alpha == point.alpha
    assert point.cost_per_query is not None
    paid = sum(tally.cost_usd for tally in cases.tallies)
    assert paid == pytest.approx(point.cost_per_query * evaluation.splits[0].test)


def test_the_published_selection_of_several_models_has_no_cases(evaluation: Evaluation, few: Records) -> None:
    method = build_method("avengers-pro-paper", PARAMS)
    assert find_cases(evaluation, few, method, replace(PROTOCOL, max_router=2), vectors_of(few)) is None


def test_the_bill_is_told_in_dollars(evaluation: Evaluation, page: str) -> None:
    row = next(r for r in evaluation.paired if r.metric == "cost change at equal" and r.a == "avengers-pro-paper")
    told = f"pays ${100 * (1 + row.difference):.0f} [${100 * (1 + row.interval[0]):.0f} to"
    assert told in page
    assert told in markdown_report(evaluation)


def test_links_lead_somewhere(page: str) -> None:
    found = outline(page)
    ids = {attrs.get("id") for _, attrs in found.tags}
    assert {(attrs["href"] or "")[1:] for attrs in found.named("a")} <= ids


def test_hostile_names_and_queries_stay_text_in_the_page(hostile: Evaluation, cases: Cases) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    evil = [replace(case, query=HOSTILE, dataset=HOSTILE, model=HOSTILE) for case in cases.wins]
    quoted = replace(cases, method=HOSTILE, reference=HOSTILE, wins=tuple(evil), losses=tuple(evil))
    page = html_report(hostile, [ProfileRow(0, 10, f"{HOSTILE}\x07", {f"{HOSTILE}\x00": 0.5})], quoted)
    assert HOSTILE not in page
    assert "<img src=x" not in page
    found = outline(page)
    assert found.named("img") == found.named("script") == []
    assert found.words[2] == hostile.verdict.text
    assert found.words.count(HOSTILE) >= 2 * len(evil)


def test_without_costs_the_page_and_the_markdown_say_so(few: Records) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    records = replace(few, costs=np.full(few.scores.shape, np.nan))
    free = judged(records, note="")
    cases = cases_of(free, records)
    assert cases.savings == ()
    assert "It saves" not in markdown_report(free, cases=cases)
    for text in (html_report(free), markdown_report(free)):
        assert "Without costs only quality can be asked for" in text
        assert "nan" not in text.lower().split()
        assert "Of every $100" not in text
        assert "Note:" not in text


def test_without_the_extra_only_the_page_is_refused(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "altair", None)
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(MissingExtraError, match=r"drawing figures needs altair: pip install 'avengers-pro\[report\]'"):
        html_report(evaluation)
    assert markdown_report(evaluation).startswith(evaluation.verdict.text)


def test_markdown_says_the_verdict_first_then_the_note(evaluation: Evaluation) -> None:
    lines = markdown_report(evaluation, {"frontier": "my figures/frontier.svg"}).splitlines()
    assert lines[0] == evaluation.verdict.text
    assert lines[2] == f"> **Note: {NOTE}**"
    assert "![Score against cost of methods and single models](<my%20figures/frontier.svg>)" in lines
    assert f"*Note: {NOTE}*" in lines


def test_markdown_tables_are_rectangular_whatever_the_names(
    evaluation: Evaluation, hostile: Evaluation, cases: Cases
) -> None:
    evil = replace(cases, wins=(replace(cases.wins[0], query=f"{HOSTILE}|\n| a |"),))
    for result in (evaluation, hostile):
        tables = markdown_tables(markdown_report(result, {}, evil))
        assert len(tables) >= 5
        for table in tables:
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
            assert set(table[1]) <= set("|:- ")


def test_hostile_names_stay_text_in_markdown(hostile: Evaluation) -> None:
    text = markdown_report(hostile, {"frontier": HOSTILE})
    assert "<img" not in text
    assert "</script" not in text
    assert unescape(text.splitlines()[0]).replace("\\", "") == hostile.verdict.text


def test_markdown_opens_no_link_image_or_emphasis_in_a_name(evaluation: Evaluation) -> None:
    renamed = Evaluation.from_json(evaluation.to_json())
    renamed.records.source = "![x](http://tracker.example/p.png) *bold* `code` _em_ snake_case"
    text = markdown_report(renamed)
    assert r"\![x\](http://tracker.example/p.png) \*bold\* \`code\` \_em\_ snake_case" in text


def test_operating_points_tell_change_and_interval(evaluation: Evaluation) -> None:
    text = markdown_report(evaluation)
    paired = {(row.a, row.metric): row for row in evaluation.paired if row.b == "best-single"}
    row = paired["avengers-pro-paper", "score at quality"]
    assert f"{points(row.difference)} [{points(row.interval[0])}, {points(row.interval[1])}]" in text
    line = next(line for line in text.splitlines() if line.startswith("| avengers-pro-paper | best quality |"))
    assert knob(evaluation.methods["avengers-pro-paper"].mean.operating_points["quality"].alpha) in line


def test_what_was_left_out_is_told(evaluation: Evaluation, page: str) -> None:
    assert "openai/gpt-5-chat" in evaluation.records.left_out
    for text in (page, markdown_report(evaluation)):
        assert "openai/gpt-5-chat (not observed on every query)" in text
        assert "seeds 42, 999" in text
        assert evaluation.records.fingerprint in text


def test_markdown_is_short(evaluation: Evaluation, cases: Cases) -> None:
    assert len(markdown_report(evaluation, {}, cases).encode()) < 25_000


def test_numbers_are_written_plainly_and_missing_ones_are_dashes() -> None:
    assert [form(None) for form in (percent, change, points, dollars, plain, knob)] == ["–"] * 6  # noqa: RUF001
    assert (percent(float("nan")), dollars(float("nan"))) == ("–", "–")  # noqa: RUF001
    assert (percent(0.64257), percent(-0.184)) == ("64.3", "−18.4")  # noqa: RUF001
    assert (change(-0.33684), change(0.0868)) == ("−33.7 %", "+8.7 %")  # noqa: RUF001
    assert (points(0.0222), points(-0.0001)) == ("+2.2", "0.0")
    assert [dollars(value) for value in (0.0, 0.23184, 59.66, 0.0279749, 12345.6)] == [
        "$0",
        "$0.232",
        "$59.7",
        "$0.0280",
        "$12,346",
    ]

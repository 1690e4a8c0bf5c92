"""The reports of a real evaluation: complete, escaped, self-contained, verdict first."""

import re
import sys
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest

from avengers_pro.demo import sample_path
from avengers_pro.errors import MissingExtraError
from avengers_pro.evaluation import Evaluation, Protocol, evaluate
from avengers_pro.evaluation.charts import ProfileRow
from avengers_pro.evaluation.report import html_report, markdown_report
from avengers_pro.evaluation.report.numbers import change, dollars, knob, percent, plain, points
from avengers_pro.records import Records, read_records

HOSTILE = "</script><img src=x onerror=alert(1)>"
NOTE = "simulated data"
PROTOCOL = Protocol(seeds=(42, 999), alphas=tuple(np.linspace(0, 1, 11).round(6).tolist()))
VOID = {"meta", "link", "br", "img", "hr", "input"}


def judged(records: Records, note: str = NOTE) -> Evaluation:
    vectors = np.random.default_rng(1).normal(size=(len(records), 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    params = {"clusters": 6, "top_clusters": 2}
    methods = ("avengers-pro-paper", "avengers")
    return evaluate(records, methods, protocol=PROTOCOL, vectors=vectors, params=params, source="sample", note=note)


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
def page(evaluation: Evaluation) -> str:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    return html_report(evaluation, [ProfileRow(0, 10, "Prove it", {"a": 0.5, "b": float("nan")})])


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
    assert found.words[0] == evaluation.verdict.text
    assert found.words[1] == f"Note: {NOTE}"
    assert found.named("html") == [{"lang": "en"}]
    assert len(found.named("h1")) == 1
    assert len(found.named("table")) == len(found.named("caption")) >= 8


def test_the_page_loads_nothing_and_is_small(page: str) -> None:
    found = outline(page)
    assert [tag for tag, _ in found.tags if tag in {"link", "img", "iframe", "object", "embed"}] == []
    for _, attrs in found.tags:
        assert "src" not in attrs
        assert (attrs.get("href") or "#").startswith("#")
    assert "@import" not in page
    assert "url(" not in page.split("</style>", maxsplit=1)[0]
    assert len(page.encode()) < 3_000_000


def test_every_figure_has_its_place_and_the_note(page: str) -> None:
    places = {attrs["id"] for attrs in outline(page).named("div") if attrs.get("class") == "chart"}
    assert places == {f"figure-{name}" for name in ("frontier", "alpha", "datasets", "shares", "clusters")}
    assert page.count(f"Note: {NOTE}") == 1 + len(places)


def test_links_lead_somewhere(page: str) -> None:
    found = outline(page)
    ids = {attrs.get("id") for _, attrs in found.tags}
    assert {(attrs["href"] or "")[1:] for attrs in found.named("a")} <= ids


def test_hostile_names_stay_text_in_the_page(hostile: Evaluation) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    rows = [ProfileRow(0, 10, HOSTILE, {HOSTILE: 0.5})]
    page = html_report(hostile, rows)
    assert HOSTILE not in page
    assert "<img src=x" not in page
    found = outline(page)
    assert found.named("img") == []
    assert len(found.named("script")) == page.count("</script>") == 2
    assert found.words[0] == hostile.verdict.text


def test_without_costs_the_page_and_the_markdown_say_so(few: Records) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    free = judged(replace(few, costs=np.full(few.scores.shape, np.nan)), note="")
    for text in (html_report(free), markdown_report(free)):
        assert "Without costs only quality can be asked for" in text
        assert "nan" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL).lower().split()
        assert "Note:" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)


def test_without_the_extra_only_the_page_is_refused(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "altair", None)
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(MissingExtraError, match=r"drawing figures needs altair: pip install 'avengers-pro\[report\]'"):
        html_report(evaluation)
    assert markdown_report(evaluation).startswith(evaluation.verdict.text)


def test_markdown_says_the_verdict_first_then_the_note(evaluation: Evaluation) -> None:
    lines = markdown_report(evaluation, "my figures/frontier.svg").splitlines()
    assert lines[0] == evaluation.verdict.text
    assert lines[2] == f"> **Note: {NOTE}**"
    assert "![Score against cost of methods and single models](<my%20figures/frontier.svg>)" in lines
    assert f"*Note: {NOTE}*" in lines


def test_markdown_tables_are_rectangular_whatever_the_names(evaluation: Evaluation, hostile: Evaluation) -> None:
    for result in (evaluation, hostile):
        tables = markdown_tables(markdown_report(result))
        assert len(tables) >= 8
        for table in tables:
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
            assert set(table[1]) <= set("|:- ")


def test_hostile_names_stay_text_in_markdown(hostile: Evaluation) -> None:
    text = markdown_report(hostile, HOSTILE)
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

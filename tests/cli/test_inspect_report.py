"""The report of a router: what it was fitted on, its models, what it expects, its kinds of query, its history."""

import re
from html.parser import HTMLParser

import pytest

from avengers_pro.evaluation.report import router_chart, router_html, router_markdown
from avengers_pro.records import Records
from avengers_pro.routing import Policy, Router

HOSTILE = "</script><img src=x onerror=alert(1)>"
NOTE = "simulated data"


class Words(HTMLParser):
    """Remembers tags and checks that they are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sections: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "section":
            self.sections.append(dict(attrs)["id"])
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(page: str) -> Words:
    words = Words()
    words.feed(page)
    words.close()
    assert words.open == []
    return words


@pytest.fixture(scope="session")
def fitted(small: Records) -> Router:
    return Router.fit(small)


@pytest.fixture(scope="session")
def page(fitted: Router) -> str:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    return router_html(fitted, source="router", note=NOTE)


def test_the_page_tells_what_a_router_is_made_of(fitted: Router, page: str) -> None:
    found = read(page)
    assert found.sections == ["fitted", "models", "frontier", "kinds", "guards", "lineage"]
    assert not {"script", "img", "link", "iframe"} & set(found.tags)
    assert f"A router over {len(fitted.models)} models" in page
    assert "It was fitted on 300 queries" in page
    assert page.count(f"Note: {NOTE}") == 2
    for told in (fitted.fingerprint, fitted.embedding.id, "Guard: ", "Novelty: ", *fitted.models):
        assert told in page


def test_the_expected_scores_are_those_of_the_calibration(fitted: Router) -> None:
    found = fitted.fitted.calibration
    row = next(line for line in router_markdown(fitted).splitlines() if line.startswith("| 1.00 |"))
    score = found.scores[0] if found.open else found.reference_score
    assert f"| {100 * score:.1f} |" in row


def test_kinds_name_the_models_that_routing_chooses(fitted: Router) -> None:
    text = router_markdown(fitted)
    cells = [line.split(" | ") for line in text.splitlines() if re.search(r"\(\d+ %\) \|$", line)]
    assert cells
    chosen = fitted.route_vectors(fitted.fitted.evidence.sample.vectors, Policy(alpha=0.0))
    models = {fitted.models[column] for column in set(chosen.tolist())}
    assert {re.sub(r" \(\d+ %\) \|$", "", row[-1]).replace("\\", "") for row in cells} <= models


def test_without_quoting_no_training_query_is_in_the_report(fitted: Router, page: str) -> None:
    pytest.importorskip("altair")
    quoted = [texts[0][:40] for texts in fitted.examples if texts and re.fullmatch(r"[\w ,.]+", texts[0][:40])]
    assert any(text in page for text in quoted)
    silent = [router_html(fitted, quoting=False), router_markdown(fitted, quoting=False)]
    assert not any(text in report for text in quoted for report in silent)


def test_hostile_models_and_queries_stay_text(small: Records) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    evil = Records.from_arrays(
        [f"{HOSTILE} {query}" for query in small.queries],
        [f"{HOSTILE}|{name}" for name in small.models],
        small.scores,
        costs=small.costs,
        datasets=small.datasets,
    )
    router = Router.fit(evil, method="avengers-pro")
    page, text = (
        router_html(router, source=HOSTILE, note=HOSTILE),
        router_markdown(router, source=HOSTILE, note=HOSTILE),
    )
    for report in (page, text):
        assert "<img" not in report
        assert "</script" not in report
    assert "script" not in read(page).tags
    kinds = [line for line in text.splitlines() if line.endswith("%) |")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in kinds} == {7}


def test_a_method_without_calibration_says_so(small: Records) -> None:
    pytest.importorskip("altair")
    for method in ("avengers-pro-paper", "knn"):
        router = Router.fit(small, method=method)
        assert router_chart(router) is None
        page = router_html(router)
        assert f"{method} keeps no calibration" in page
        assert f"{method} has no guard" in page
    assert "This method tells no kinds of query apart" in page


def test_changes_are_in_the_lineage(fitted: Router) -> None:
    changed = fitted.remove_model(fitted.models[0])
    lines = router_markdown(changed).splitlines()
    assert any(line.startswith("| 2 | remove_model | model = ") for line in lines)


def test_inspect_writes_both_forms(shell, router) -> None:
    pytest.importorskip("altair")
    ran = shell("inspect", router, "--report", "out.html", "--note", NOTE)
    assert ran.code == 0, ran.err
    assert "wrote out.html" in ran.err
    assert NOTE in (shell.folder / "out.html").read_text()
    ran = shell("inspect", router, "--report", "out.md", "--json")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("{")
    text = (shell.folder / "out.md").read_text()
    assert "![Score against cost, as expected](<out-frontier.svg>)" in text
    assert (shell.folder / "out-frontier.svg").read_text().startswith("<svg")


def test_inspect_refuses_other_reports_and_records(shell, router, records) -> None:
    assert shell("inspect", router, "--report", "out.pdf").code == 2
    assert shell("inspect", records, "--report", "out.html").code == 2
    assert shell("inspect", router, "--report", "nowhere/out.html").code == 1


def test_evaluate_leaves_figures_beside_markdown_and_quotes_on_request_only(shell, records) -> None:
    pytest.importorskip("altair")
    few = ("--seeds", 1, "--alphas", "0:1:0.25", "--method", "avengers-pro-paper", "--report", "r.md")
    ran = shell("evaluate", records, *few)
    assert ran.code == 0, ran.err
    text = (shell.folder / "r.md").read_text()
    for key in ("frontier", "datasets", "shares"):
        assert f"](<r-{key}.svg>)" in text
        assert f"wrote r-{key}.svg" in ran.err
        assert (shell.folder / f"r-{key}.svg").exists()
    assert "## Where routing wins and loses" in text
    assert shell("evaluate", records, *few, "--no-queries").code == 0
    assert "## Where routing wins and loses" not in (shell.folder / "r.md").read_text()

"""The dashboard in a real browser, over a real gateway with a real ledger and the simulated provider."""

import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from dashboard_pages import HOSTILE, PAGES, decided, identity, over, write
from live import FIRST, POOL, SECOND, eventually

playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "build" / "axe" / "axe.min.js"
SHOTS = ROOT / "build" / "screenshots"
WIDTHS = {"wide": 1280, "narrow": 390}
CUT_OFF = """[...document.querySelectorAll('.chart svg .role-legend text')].filter((text) =>
  text.getBoundingClientRect().right > text.closest('svg').getBoundingClientRect().right
).map((text) => text.textContent)"""
"""What legends say beyond the edge of their charts."""
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def look(chromium):
    """Return a function that opens a page; what the console complains of, but for what is expected, fails the test."""
    contexts, complaints, expected = [], [], []

    def start(url, path="/dashboard", *, width=1280, theme="light", zone="UTC"):
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme, timezone_id=zone, locale="en-GB"
        )
        contexts.append(context)
        page = context.new_page()
        page.expected = expected
        page.on("console", lambda said: said.type in {"error", "warning"} and complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.set_default_timeout(90_000)
        page.goto(url + path)
        return page

    yield start
    for context in contexts:
        context.close()
    assert [said for said in complaints if not any(part in said for part in expected)] == []


@pytest.fixture
def busy(gateway, provider):
    """A gateway with traffic that differs."""
    live = gateway(provider, {"policy": {"alpha": 0.7}, "sessions": {"enabled": False}})
    for alpha in (0.0, 0.3, 0.6, 1.0):
        live.ask(model=f"avengers-pro@{alpha}")
    aside(live.rows)
    aside(
        write,
        live.store,
        *(
            (
                decided(n, ago_s=60 + 200 * n, baseline_cost_usd=0.02),
                over(n, cost_usd=0.002 * (1 + n % 7), served_by=POOL[n % 3]),
            )
            for n in range(60)
        ),
        (
            decided(900, novel=True, asked=HOSTILE),
            over(900, served_by=SECOND, fallbacks=1, attempts='[["a@b:1","500"]]'),
        ),
        (decided(901), over(901, outcome="upstream-error", served_by=None, cost_usd=None, status=502)),
    )
    return live


def aside(work: Callable[..., Any], *given: Any) -> Any:
    """Call what runs an event loop of its own; playwright's runs in this thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work, *given).result()


def barriers(page):
    """Return what axe-core, if it is there, finds serious: the rule and the element."""
    if not AXE.exists():
        return []
    page.evaluate(AXE.read_text(encoding="utf-8"))
    return [
        (each["id"], node["html"][:200])
        for each in page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        if each["impact"] in {"serious", "critical"}
        for node in each["nodes"]
    ]


ENTRIES = {path.rpartition("/")[2]: path for path in PAGES} | {"decision": f"/dashboard/decisions/{identity(900)}"}


@pytest.mark.parametrize("name", ENTRIES)
def test_every_page_is_sound_in_both_themes_and_widths(busy, look, name):
    """No complaint in the console, nothing wider than the screen, no serious finding of axe-core."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    findings = []
    for theme in ("light", "dark"):
        for size, width in WIDTHS.items():
            page = look(busy.url, ENTRIES[name], width=width, theme=theme)
            for chart in page.locator("figure[data-chart]").all():
                chart.locator("svg").first.wait_for()
            if name == "playground":
                page.locator("#candidates tr").first.wait_for()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (theme, width)
            assert page.evaluate(CUT_OFF) == [], (theme, width)
            page.screenshot(path=SHOTS / f"{name}-{theme}-{size}.png", full_page=True)
            findings += [(theme, size, *barrier) for barrier in barriers(page)]
            page.close()
    assert findings == []
    if not AXE.exists():
        pytest.skip("build/axe/axe.min.js is not there; .ci/run fetches it")


def test_login_is_sound(gateway, look):
    live = gateway("http://127.0.0.1:9", {"access": {"required": True, "refresh": 0.05}})
    _, secret = aside(live.key, "user")
    eventually(lambda: live.app.gateway.keys.active == 1)
    page = look(live.url, "/dashboard/decisions")
    assert page.url.endswith("/dashboard/login")
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        assert barriers(page) == []
    page.expected.append("403")  # the browser reports the refusal's status
    page.get_by_label("API key").fill("ap-nothing")
    page.get_by_role("button", name="Log in").click()
    assert "no such API key" in page.get_by_role("alert").inner_text()
    assert barriers(page) == []
    page.get_by_label("API key").fill(secret)
    page.get_by_role("button", name="Log in").click()
    assert page.get_by_role("heading", name="Overview").is_visible()
    page.goto(live.url + "/dashboard/models")
    assert page.get_by_role("button", name="Load the router's folder again").count() == 0
    page.get_by_role("button", name="Log out").click()
    assert page.url.endswith("/dashboard/login")


def test_the_slider_moves_the_operating_point(busy, look):
    page = look(busy.url, "/dashboard/frontier")
    page.locator("#frontier svg").wait_for()
    slider = page.get_by_role("slider", name="Alpha")
    ring = "path[aria-roledescription='point'][aria-label*='alpha']"
    before = page.locator("#at-cost").inner_text()
    slider.focus()
    page.keyboard.press("Home")
    assert page.locator("#alpha-value").inner_text() == "0.00"
    cheapest = page.locator("#at-cost").inner_text()
    page.keyboard.press("End")
    assert page.locator("#name").inner_text() == "avengers-pro@1.00"
    dearest = page.locator("#at-cost").inner_text()
    assert float(cheapest[1:]) < float(before[1:]) <= float(dearest[1:])
    eventually(
        lambda: page.locator(ring).count() == 0 or "1.00" in page.locator(ring).first.get_attribute("aria-label")
    )
    assert page.locator("#at-shares tr").count() >= 1


def test_the_playground_decides_while_one_types(busy, look):
    page = look(busy.url, "/dashboard/playground")
    page.locator("#candidates tr").first.wait_for()
    page.get_by_label("Query").fill(HOSTILE)
    page.get_by_role("slider", name="Alpha").fill("1")
    eventually(lambda: page.locator("#chosen").inner_text().startswith(FIRST), 30)
    page.get_by_label(FIRST, exact=True).check()
    eventually(lambda: page.locator("#chosen").inner_text().startswith(SECOND), 30)
    removed = page.locator("#candidates tr", has_text=FIRST).inner_text()
    assert "not among" in removed or "excluded" in removed
    page.expected.append("422")  # the browser reports the refusal's status
    page.get_by_label("Most it may cost, US dollars").fill("0")
    page.locator("#problem:not([hidden])").wait_for()
    assert "infeasible" in page.locator("#problem").inner_text()
    page.get_by_label("Most it may cost, US dollars").fill("")
    page.locator("#problem[hidden]").wait_for(state="attached")
    before = len(aside(busy.rows))
    page.get_by_role("button", name="Send").click()
    page.locator("#answer:not([hidden])").wait_for()
    assert page.locator("#answer-text").inner_text()
    assert len(aside(busy.rows)) == before + 1


def test_filters_filter(busy, look):
    page = look(busy.url, "/dashboard/decisions")
    assert page.locator("tbody tr").count() == 50
    page.get_by_role("link", name="Older").click()
    assert 0 < page.locator("tbody tr").count() < 50
    page.goto(busy.url + "/dashboard/decisions")
    page.get_by_label("Outcome").select_option("errors")
    page.get_by_role("button", name="Filter").click()
    assert page.locator("tbody tr").count() == 1
    assert "upstream-error" in page.locator("tbody").inner_text()
    page.locator("tbody a").click()
    assert page.get_by_role("heading", name=f"{FIRST} was chosen").is_visible()


def test_new_requests_show_up_by_themselves_unless_paused(busy, look):
    page = look(busy.url, "/dashboard/decisions?outcome=ok&age=1h")
    page.locator("#live").wait_for()
    old = page.locator("tbody a").first.get_attribute("href")
    new = busy.ask().decision
    aside(busy.rows)
    eventually(lambda: page.locator("tbody a").first.get_attribute("href").endswith(new), 60)
    assert new not in old
    page.get_by_role("button", name="Pause").click()
    assert page.locator("#updated").inner_text() == "Paused"
    page.reload()
    assert page.get_by_role("button", name="Go on").is_visible()


def test_charts_follow_the_traffic(busy, look):
    page = look(busy.url, "/dashboard?range=1h")
    page.locator("#requests svg").wait_for()
    before = page.locator("#requests").get_attribute("data-rows")
    busy.ask()
    aside(busy.rows)
    eventually(lambda: page.locator("#requests").get_attribute("data-rows") != before, 60)
    page.locator("#requests svg").wait_for()
    assert page.locator("#requests svg path[aria-roledescription='bar']").count() > 0


def test_times_are_those_of_the_viewers_zone(busy, look):
    shown = {}
    for zone in ("UTC", "Asia/Tokyo"):
        page = look(busy.url, f"/dashboard/decisions/{identity(1)}", zone=zone)
        time = page.locator("time").first
        eventually(lambda time=time: "UTC" not in time.inner_text())
        shown[zone] = time.inner_text()
        assert time.get_attribute("datetime").endswith("+00:00")
    hours = {zone: int(re.search(r"(\d\d):\d\d:\d\d", text)[1]) for zone, text in shown.items()}
    assert (hours["Asia/Tokyo"] - hours["UTC"]) % 24 == 9


def test_a_kind_of_query_opens_by_list_and_by_address(busy, look):
    page = look(busy.url, "/dashboard/clusters#2")
    assert page.locator("#opened").inner_text() == "Kind 2"
    page.get_by_role("combobox", name="Kind of query").select_option("1")
    assert page.locator("#opened").inner_text() == "Kind 1"
    assert page.locator("#kind-candidates tr").count() == len(POOL)
    circles = page.locator("#map svg path[aria-roledescription='circle']")
    circles.first.wait_for()
    circles.last.click(force=True)
    eventually(lambda: page.locator("#opened").inner_text() != "Kind 1" or circles.count() == 1)


def test_the_theme_can_be_chosen_and_stays(busy, look):
    page = look(busy.url, theme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    page.get_by_role("button", name="Dark theme").click()
    assert page.evaluate(background) == "rgb(20, 23, 26)"
    page.reload()
    assert page.evaluate(background) == "rgb(20, 23, 26)"
    assert page.get_by_role("button", name="Light theme").is_visible()


def test_everything_is_reached_by_the_keyboard(busy, look):
    page = look(busy.url, "/dashboard")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("(document.activeElement.getAttribute('href') ?? document.activeElement.textContent).trim()")
        )
    assert {*PAGES, "?range=1h", "Pause", "How these numbers are made"} <= reached


def test_a_script_that_gets_into_a_page_is_not_run(busy, look):
    """As if escaping had failed: the page's policy still stands in the way."""
    page = look(busy.url)
    page.expected += ["Content Security Policy", "404"]  # the browser reports what it blocked
    blocked = page.evaluate(
        """() => new Promise((resolve) => {
          document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
          const script = document.createElement("script");
          script.textContent = "window.injected = true";
          document.body.append(script);
          setTimeout(() => resolve("nothing was blocked"), 2000);
        })"""
    )
    assert blocked.startswith("script-src")
    assert page.evaluate("window.injected") is None
    inline = page.evaluate(
        "() => { document.body.innerHTML += '<img src=x onerror=\"window.injected = 1\">'; return 1; }"
    )
    assert inline == 1
    assert page.evaluate("() => new Promise(done => setTimeout(() => done(window.injected ?? null), 300))") is None

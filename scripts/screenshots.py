"""Pictures of the dashboard for the docs: a simulated week, and the simulated demo, seen by Chromium.

    python scripts/screenshots.py

Needs Chromium and the extras all and dev. Writes docs/figures/dashboard-*.png.
"""

import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from avengers_pro.demo import sample_path
from avengers_pro.demo.history import Course, simulated_records, write_history
from avengers_pro.demo.live import live_gateway
from avengers_pro.demo.traffic import Traffic, send_traffic
from avengers_pro.records import read_records
from avengers_pro.routing import Router

PAST, REQUESTS, PER_SECOND = 6000, 600, 40.0
DAYS = 6.5
SHOTS = {  # the first one waits for the charts' code
    "frontier": "/frontier",
    "clusters": "/clusters",
    "overview": "?range=7d",
}
SIZE = {"width": 1180, "height": 900}
FIGURES = Path(__file__).parents[1] / "docs" / "figures"


def main() -> None:
    """Serve, send traffic, look."""
    chromium = shutil.which("chromium") or sys.exit("chromium is needed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        router = Router.fit(read_records(sample_path()).records)
        router.save(folder / "router")
        past = Course(days=DAYS, start=time.time() - DAYS * 86_400, feedback=0.3)
        asyncio.run(write_history(f"sqlite:///{folder}/ledger.db", router, simulated_records(PAST, seed=7), past))
        with live_gateway(folder / "router", folder / "ledger.db") as url:
            asyncio.run(send_traffic(url, PER_SECOND, Traffic(), most=REQUESTS))
            with sync_playwright() as play:
                browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                page = browser.new_page(viewport=SIZE, device_scale_factor=1)
                for shot, path in SHOTS.items():
                    page.goto(f"{url}/dashboard{path}")
                    page.wait_for_selector("main svg, main canvas", timeout=60_000)
                    time.sleep(3)  # every chart of the page
                    page.screenshot(path=FIGURES / f"dashboard-{shot}.png")
                    print(FIGURES / f"dashboard-{shot}.png")
                browser.close()


if __name__ == "__main__":
    main()

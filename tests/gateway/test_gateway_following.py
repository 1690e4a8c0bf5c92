"""Gateways that take their router from a URL change to what is published there, and back, each by itself."""

import shutil

import pytest
from live import FIRST, POOL, SECOND, call, eventually

from avengers_pro.errors import SettingsError
from avengers_pro.routing import Router
from avengers_pro.routing.artifact import ARRAYS, HEADER
from avengers_pro.routing.publishing import publish, use

QUICK = {"server": {"reload_interval": 0.05}}


@pytest.fixture(scope="module")
def second_folder(tmp_path_factory, sample, sample_vectors):
    """A router that does not know FIRST."""
    folder = tmp_path_factory.mktemp("second") / "router"
    Router.fit(sample.select_models(POOL[1:]).take(range(0, 2000, 10)), vectors=sample_vectors[::10]).save(folder)
    return folder


@pytest.fixture(params=["file", "memory", "path"])
def url(request, tmp_path):
    return {
        "file": f"file://{tmp_path}/published",
        "memory": f"memory://{tmp_path.name}",
        "path": str(tmp_path / "published"),
    }[request.param]


@pytest.fixture
def pair(gateway, provider, router_folder):
    """Return a function that starts two gateways on a URL where one router is published, as v1."""

    def start(url, **tables):
        publish(router_folder, url, "v1")
        return [gateway(provider, {**QUICK, **tables}, router=url) for _ in range(2)]

    return start


def chosen(gateways):
    return [live.ask().headers["x-avengers-pro-model"] for live in gateways]


def test_all_follow_what_is_published_and_go_back(pair, second_folder, url):
    gateways = pair(url)
    assert chosen(gateways) == [FIRST, FIRST]
    publish(second_folder, url, "v2")
    eventually(lambda: chosen(gateways) == [SECOND, SECOND])
    use("v1", url)
    eventually(lambda: chosen(gateways) == [FIRST, FIRST])
    assert all(live.metric("router_reloads_total", result="done") == 2 for live in gateways)
    assert all(live.metric("router_reloads_total", result="failed") == 0 for live in gateways)


def test_a_broken_version_is_refused_once_and_the_old_router_goes_on(pair, second_folder, tmp_path, caplog):
    url = f"file://{tmp_path}/published"
    gateways = pair(url)
    copy = shutil.copytree(second_folder, tmp_path / "third")
    Router.load(copy).reprice(SECOND, factor=2.0).save(copy)
    version = tmp_path / "published" / "v3"
    version.mkdir()
    shutil.copy(copy / HEADER, version)
    (version / ARRAYS).write_bytes((copy / ARRAYS).read_bytes()[:-8])
    caplog.clear()
    use("v3", url)
    eventually(lambda: all(live.metric("router_reloads_total", result="failed") == 1 for live in gateways))
    assert chosen(gateways) == [FIRST, FIRST]
    said = [record for record in caplog.records if "the old router goes on" in record.getMessage()]
    assert len(said) == len(gateways)
    assert all(f"{url}/v3: " in record.getMessage() for record in said)
    publish(copy, url, "v3")  # repaired: the pointer is written again, so it is looked at again
    eventually(lambda: chosen(gateways) == [SECOND, SECOND])
    assert all(live.metric("router_reloads_total", result="failed") == 1 for live in gateways)


@pytest.mark.parametrize("pointer", ["../second\n", "/\n", "v1/..\n", "v9\n", "v2"])
@pytest.mark.parametrize("scheme", ["file://", ""])
def test_a_pointer_that_leads_nowhere_is_refused(pair, second_folder, tmp_path, pointer, scheme):
    url = f"{scheme}{tmp_path}/published"
    shutil.copytree(second_folder, tmp_path / "second")
    gateways = pair(url)
    publish(second_folder, url, "v2")
    eventually(lambda: chosen(gateways) == [SECOND, SECOND])
    use("v1", url)
    eventually(lambda: chosen(gateways) == [FIRST, FIRST])
    (tmp_path / "pointer").write_text(pointer)
    (tmp_path / "pointer").replace(tmp_path / "published" / "current")  # at once: half a pointer would be refused, too
    eventually(lambda: all(live.metric("router_reloads_total", result="failed") == 1 for live in gateways))
    answer = gateways[0].call("/admin/reload", method="POST")
    assert (answer.status, answer.error["code"]) == (409, "reload_refused")
    assert chosen(gateways) == [FIRST, FIRST]


def test_a_place_that_is_away_is_said_once_and_asked_until_it_is_back(pair, second_folder, tmp_path, caplog):
    url = f"file://{tmp_path}/published"
    gateways = pair(url)
    publish(second_folder, url, "v2")
    eventually(lambda: chosen(gateways) == [SECOND, SECOND])
    current = tmp_path / "published" / "current"
    text = current.read_text()
    current.unlink()
    current.mkdir()  # reading it is an error of the file system
    eventually(lambda: all(live.metric("router_reloads_total", result="failed") >= 3 for live in gateways))
    assert chosen(gateways) == [SECOND, SECOND]
    said = [record for record in caplog.records if "the old router goes on" in record.getMessage()]
    assert len(said) == len(gateways)
    current.rmdir()
    current.write_text(text.replace("v2", "v1"))
    eventually(lambda: chosen(gateways) == [FIRST, FIRST])


def test_a_shadow_is_followed_too(gateway, provider, router_folder, second_folder, tmp_path):
    url = f"file://{tmp_path}/shadows"
    publish(router_folder, url, "v1")
    live = gateway(provider, {**QUICK, "shadow": {"router": url}}, router=router_folder)

    def newest():
        live.ask()
        return live.rows()[-1]["shadow_model"]

    assert eventually(newest) == FIRST
    publish(second_folder, url, "v2")
    eventually(lambda: newest() == SECOND)


def test_where_no_copy_can_be_kept_a_folder_is_read_and_a_url_refused(
    gateway, provider, router_folder, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("AVENGERS_PRO_HOME", str(tmp_path / "file"))
    assert gateway(provider, router=router_folder).ask().headers["x-avengers-pro-model"] == FIRST
    url = f"file://{tmp_path}/published"
    publish(router_folder, url, "v1")
    with pytest.raises(SettingsError, match="AVENGERS_PRO_HOME"):
        gateway(provider, router=url)


def test_copying_over_the_folder_in_use_changes_nothing_in_use(gateway, provider, router_folder, tmp_path):
    """As ``cp`` does it: the file is cut to nothing, and written to, while it is in use."""
    folder = shutil.copytree(router_folder, tmp_path / "router")
    live = gateway(provider, {"server": {"reload_interval": 3600.0}}, router=folder)
    before = live.ask().headers["x-avengers-pro-model"]
    (folder / ARRAYS).write_bytes(b"")
    assert live.ask("Another question, so that arrays are looked at").status == 200
    (folder / ARRAYS).write_bytes(bytes(100_000))
    assert live.ask().headers["x-avengers-pro-model"] == before


def test_the_password_of_a_url_is_not_shown(gateway, provider, router_folder, tmp_path):
    url = f"memory://me:hunter2@{tmp_path.name}"
    publish(router_folder, url, "v1")
    live = gateway(provider, router=url)
    page = call(live.url, "/dashboard/models").body.decode()
    assert f"memory://{tmp_path.name}" in page
    assert "hunter2" not in page

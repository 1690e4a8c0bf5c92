"""Routers at a URL: published side by side, one of them current, fetched, checked and kept."""

import base64
import http.server
import os
import shutil
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from avengers_pro.errors import ArtifactError, DamagedArtifactError, UnreachableRouterError
from avengers_pro.routing import Router
from avengers_pro.routing.artifact import ARRAYS, HEADER
from avengers_pro.routing.place import CURRENT, RouterPlace
from avengers_pro.routing.publishing import publish, use, versions
from simulated import synthetic


@pytest.fixture(scope="module")
def routers(tmp_path_factory):
    """Two routers that choose differently."""
    folder, (records, vectors) = tmp_path_factory.mktemp("routers"), synthetic()
    for number, name in enumerate(records.models[:2]):
        Router.fit(records.select_models([name]), vectors=vectors).save(folder / str(number))
    return folder / "0", folder / "1"


@pytest.fixture(autouse=True)
def own_home(monkeypatch, tmp_path):
    monkeypatch.setenv("AVENGERS_PRO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(params=["file", "memory", "path"])
def url(request, tmp_path):
    return {
        "file": f"file://{tmp_path}/published",
        "memory": f"memory://{uuid.uuid4().hex}/routers",
        "path": str(tmp_path / "published"),
    }[request.param]


def model_of(where) -> str:
    (model,) = Router.load(where).models
    return model


def cached(home: Path) -> list[Path]:
    return sorted((home / "routers").iterdir())


def test_what_is_published_last_is_current_until_another_one_is_used(routers, url):
    first, second = (model_of(router) for router in routers)
    assert versions(url) == ()
    assert publish(routers[0], url, "v1") == "v1"
    assert model_of(url) == first
    publish(routers[1], url, "v2")
    assert model_of(url) == second
    use("v1", url)
    assert model_of(url) == first
    assert [(one.name, one.is_current) for one in versions(url)] == [("v1", True), ("v2", False)]


def test_a_version_is_named_by_its_fingerprint_and_can_be_published_again(routers, url):
    name = publish(routers[0], url)
    assert publish(routers[0], url) == name
    (version,) = versions(url)
    assert version.name == version.fingerprint[:12] == name


def test_another_router_never_takes_the_place_of_a_version(routers, url):
    publish(routers[0], url, "v1")
    with pytest.raises(ArtifactError, match="another router is version 'v1'"):
        publish(routers[1], url, "v1")
    assert model_of(url) == model_of(routers[0])


def test_a_router_is_no_place_for_versions(routers, tmp_path):
    Router.load(routers[0]).save(tmp_path / "router")
    for router in (tmp_path / "router", routers[1]):
        with pytest.raises(ArtifactError, match="a saved router, not a place for versions"):
            publish(router, str(tmp_path / "router"))
    assert model_of(tmp_path / "router") == model_of(routers[0])


def test_every_pointing_can_be_told_from_the_one_before(routers, url):
    publish(routers[0], url, "v1")
    before = RouterPlace(url).stamp()
    assert RouterPlace(url).stamp() == before
    use("v1", url)
    assert RouterPlace(url).stamp() != before


def test_folders_that_are_no_versions_are_not_listed(routers, tmp_path):
    publish(routers[0], str(tmp_path), "v1")
    shutil.copytree(routers[0], tmp_path / "\x1b[31m")
    (tmp_path / "empty").mkdir()
    assert [one.name for one in versions(str(tmp_path))] == ["v1"]


def test_an_unknown_version_is_not_used(routers, url):
    publish(routers[0], url, "v1")
    with pytest.raises(ArtifactError, match=r"no version 'v9'; there are: v1"):
        use("v9", url)


def test_a_damaged_router_is_not_published(routers, url, tmp_path):
    broken = shutil.copytree(routers[0], tmp_path / "broken")
    (broken / ARRAYS).write_bytes((broken / ARRAYS).read_bytes()[:-1])
    with pytest.raises(DamagedArtifactError):
        publish(broken, url)
    assert versions(url) == ()


@pytest.mark.parametrize(
    "name", ["../x", "..", "/etc", "a/b", "", ".hidden", "a b", "v\n1", "current", "Current", "x" * 101]
)
def test_names_that_would_lead_elsewhere_are_refused(routers, tmp_path, name):
    place = tmp_path / "published"
    for act in (lambda: publish(routers[0], str(place), name), lambda: use(name, str(place))):
        with pytest.raises(ArtifactError, match="no name of a version"):
            act()


@pytest.mark.parametrize(
    "pointer",
    [b"../0\n", b"/etc\n", b"..\n", b"\n", b"", b"v1", b"\xff\n", b"current\n", b"v1/../../0\n", b"x" * 10**6],
)
@pytest.mark.parametrize("scheme", ["file://", ""])
def test_a_pointer_that_leads_elsewhere_or_is_cut_off_is_refused(routers, tmp_path, pointer, scheme):
    url = f"{scheme}{tmp_path}/published"
    publish(routers[0], url, "v1")
    shutil.copytree(routers[0], tmp_path / "0")
    (tmp_path / "published" / CURRENT).write_bytes(pointer)
    with pytest.raises(ArtifactError, match=r"current"):
        Router.load(url)


def test_a_path_may_have_spaces_and_any_letters(routers, tmp_path):
    place = tmp_path / "our r\u00f6uters 100%"
    publish(routers[0], str(place), "v1")
    assert sorted(each.name for each in place.iterdir()) == ["current", "v1"]
    assert model_of(place) == model_of(f"file://{place}") == model_of(routers[0])
    assert [one.name for one in versions(str(place))] == ["v1"]


def test_whoever_publishes_at_the_same_time_is_not_in_the_way(routers, tmp_path):
    place = f"file://{tmp_path}/published"
    for number in (0, 1):
        publish(routers[number], place, f"v{number}")

    def often(number):
        for _ in range(100):
            use(f"v{number}", place)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(often, number % 2) for number in range(4)]:
            done.result()
    assert model_of(place) in {model_of(router) for router in routers}
    assert sorted(each.name for each in (tmp_path / "published").iterdir()) == ["current", "v0", "v1"]


def test_publishing_again_that_is_interrupted_leaves_the_version_whole(routers, tmp_path, monkeypatch):
    place = tmp_path / "published"
    publish(routers[0], str(place), "v1")

    def interrupted(source, target, **_):
        Path(target).write_bytes(Path(source).read_bytes()[:100])
        raise OSError("the disk is full")

    monkeypatch.setattr(shutil, "copyfile", interrupted)
    with pytest.raises(UnreachableRouterError, match="the disk is full"):
        publish(routers[0], str(place), "v1")
    assert Router.load(place / "v1").models == Router.load(routers[0]).models
    assert sorted(each.name for each in (place / "v1").iterdir()) == [HEADER, ARRAYS]


def test_a_pointer_may_be_written_by_hand(routers, tmp_path):
    url = f"file://{tmp_path}/published"
    publish(routers[0], url, "v1")
    publish(routers[1], url, "v2")
    (tmp_path / "published" / CURRENT).write_text("v1\r\n")
    assert model_of(url) == model_of(routers[0])


def test_a_url_may_be_that_of_a_router_itself(routers):
    assert model_of(f"file://{routers[0]}") == model_of(routers[0])
    place = RouterPlace(f"file://{routers[0]}")
    assert place.stamp() is not None
    assert place.stamp() != RouterPlace(f"file://{routers[1]}").stamp()


def test_nothing_there_is_an_error(tmp_path):
    with pytest.raises(DamagedArtifactError, match=HEADER):
        Router.load(f"file://{tmp_path}")
    with pytest.raises(DamagedArtifactError, match=HEADER):
        Router.load(f"memory://{uuid.uuid4().hex}")
    assert RouterPlace(f"file://{tmp_path}").stamp() is None
    assert RouterPlace(tmp_path / "nowhere").stamp() is None


# Copies


def test_a_router_is_fetched_once(routers, tmp_path, own_home):
    url = f"file://{tmp_path}/published"
    publish(routers[0], url, "v1")
    folder = RouterPlace(url).folder()
    inode = (folder / ARRAYS).stat().st_ino
    assert RouterPlace(url).folder() == folder
    assert (folder / ARRAYS).stat().st_ino == inode
    assert cached(own_home) == [folder]


def test_a_damaged_copy_is_made_again(routers, tmp_path):
    url = f"file://{tmp_path}/published"
    publish(routers[0], url, "v1")
    folder = RouterPlace(url).folder()
    (folder / ARRAYS).write_bytes(b"scratch")
    assert model_of(url) == model_of(routers[0])


def test_a_damaged_version_leaves_nothing_behind(routers, tmp_path, own_home):
    url = f"file://{tmp_path}/published"
    publish(routers[0], url, "v1")
    arrays = tmp_path / "published" / "v1" / ARRAYS
    whole = arrays.read_bytes()
    for damage in (whole[:-8], b"", whole[:-1] + b"\x01"):
        arrays.write_bytes(damage)
        with pytest.raises(DamagedArtifactError):
            Router.load(url)
    arrays.unlink()
    with pytest.raises(ArtifactError):
        Router.load(url)
    assert cached(own_home) == []
    publish(routers[0], url, "v1")  # repairs it
    assert model_of(url) == model_of(routers[0])


def test_only_the_latest_copies_are_kept(tmp_path, own_home):
    records, vectors = synthetic(n=40)
    found = []
    for number in range(6):
        Router.fit(records, method="avengers-pro-paper", vectors=vectors, clusters=2, seed=number).save(
            tmp_path / "one"
        )
        found.append(RouterPlace(tmp_path / "one").copied())
        os.utime(found[-1], (number, number))
    assert len(set(found)) == 6
    assert cached(own_home) == sorted(found[2:])


def test_copies_of_many_processes_are_one_file(routers, own_home):
    code = (
        "import sys; from avengers_pro.routing.place import RouterPlace\n"
        "sys.stdin.read(1)\n"
        f"folder = RouterPlace({str(routers[0])!r}).copied()\n"
        f"print((folder / {ARRAYS!r}).stat().st_ino)\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(4)
    ]
    for process in started:
        process.stdin.write(b"x")
        process.stdin.flush()
    inodes = {process.communicate(timeout=60)[0] for process in started}
    assert len(inodes) == 1
    assert b"" not in inodes
    assert len(cached(own_home)) == 1


def test_a_home_that_cannot_be_written_is_named(routers, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("AVENGERS_PRO_HOME", str(tmp_path / "file"))
    with pytest.raises(ArtifactError, match="AVENGERS_PRO_HOME"):
        RouterPlace(routers[0]).copied()
    assert model_of(routers[0])


# Over HTTP


class _Files(http.server.SimpleHTTPRequestHandler):
    """Files for whoever knows the password."""

    def do_GET(self):
        if self.headers["authorization"] != "Basic " + base64.b64encode(b"me:hunter2").decode():
            self.send_error(401)
            return
        super().do_GET()

    def log_message(self, *_):
        pass


@contextmanager
def serving(folder, handler=_Files):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_router_is_read_over_http_with_a_password_that_is_not_shown(routers, tmp_path):
    publish(routers[0], str(tmp_path / "published"), "v1")
    publish(routers[1], str(tmp_path / "published"), "v2")
    with serving(tmp_path / "published") as address:
        place = RouterPlace(f"http://me:hunter2@{address}")
        assert place.shown == f"http://{address}"
        stamp = place.stamp()
        assert model_of(f"http://me:hunter2@{address}/") == model_of(routers[1])
        use("v1", str(tmp_path / "published"))
        assert place.stamp() != stamp
        assert model_of(f"http://me:hunter2@{address}") == model_of(routers[0])
        assert model_of(f"http://me:hunter2@{address}/v2") == model_of(routers[1])
        with pytest.raises(UnreachableRouterError, match="401") as refused:
            Router.load(f"http://me:wrong-pw@{address}")
        assert "wrong-pw" not in str(refused.value)
        with pytest.raises(DamagedArtifactError, match=HEADER):
            Router.load(f"http://me:hunter2@{address}/nothing")
        with pytest.raises(UnreachableRouterError) as refused:
            publish(routers[0], f"http://me:hunter2@{address}", "v3")
        assert "hunter2" not in str(refused.value)
    with pytest.raises(UnreachableRouterError) as gone:
        Router.load(f"http://me:hunter2@{address}")
    assert "hunter2" not in str(gone.value)


def test_a_place_that_hangs_is_given_up_and_asked_one_thing_at_a_time(monkeypatch, tmp_path):
    from avengers_pro.routing import remote

    asked, release = [], threading.Event()

    class _Hangs(_Files):
        def do_GET(self):
            asked.append(self.path)
            release.wait(20)
            self.send_error(404)

    monkeypatch.setattr(remote, "LOOK_S", 0.2)
    with serving(tmp_path, _Hangs) as address:
        place = RouterPlace(f"http://{address}")
        for _ in range(3):
            with pytest.raises(UnreachableRouterError, match=r"longer than 0\.2 s"):
                place.stamp()
        assert len(asked) == 1
        release.set()


@pytest.mark.parametrize("url", ["http://host/routers?sig=hunter2", "http://me:hunter2@host/routers#x"])
def test_a_url_that_names_cannot_be_added_to_is_refused(url):
    with pytest.raises(ArtifactError, match="environment") as refused:
        Router.load(url)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("user", ["me:hunter2", "me:a/hunter2", "hunter2"])
def test_a_password_is_shown_nowhere(user):
    place = RouterPlace(f"nosuch://{user}@host/x")
    with pytest.raises(ArtifactError, match="nosuch://host/x") as refused:
        place.stamp()
    assert "hunter2" not in str(refused.value) + place.shown


@pytest.mark.parametrize("user", ["me:hunter2", "me:hun%74er2"])
def test_what_a_library_says_is_passed_on_without_the_password(user):
    """This one quotes the name that it cannot use, before it looks for a server."""
    pytest.importorskip("s3fs")
    with pytest.raises(UnreachableRouterError, match="Invalid bucket name") as refused:
        RouterPlace(f"s3://{user}@bucket/x").stamp()
    assert "hun" not in str(refused.value)


def test_an_unknown_file_system_is_an_error():
    with pytest.raises(ArtifactError, match="no file system"):
        Router.load("nowhere://a/b")


def test_without_fsspec_the_extra_is_named(tmp_path):
    (tmp_path / "fsspec.py").write_text("raise ModuleNotFoundError(\"No module named 'fsspec'\", name='fsspec')")
    code = "from avengers_pro.routing import Router; Router.load('s3://bucket/routers')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
    )  # fmt: skip
    assert "pip install 'avengers-pro[serve]'" in done.stderr

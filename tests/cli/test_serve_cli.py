"""``avengers-pro serve`` as a shell, a client and a supervisor see it."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import openai
import pytest

from avengers_pro.demo.pool import MODELS
from avengers_pro.demo.provider import Speed, create_provider, serving
from avengers_pro.routing import Router
from cli.served import ASKED, CHAT, post, program, served, wait_for, write_config

SLOW = Speed(first_token_s=0.05, tokens_per_s=40.0)


@pytest.fixture(scope="module")
def upstream():
    with serving(create_provider()) as url:
        yield url


@pytest.fixture
def config(tmp_path, upstream):
    return write_config(tmp_path / "gateway.toml", upstream)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, router, upstream):
    """One gateway for the tests that only use it."""
    folder = tmp_path_factory.mktemp("gateway")
    config = write_config(folder / "gateway.toml", upstream, '[logging]\nlevel = "debug"\n')
    with served(folder, router, config) as (running, url):
        yield running, url


def test_the_openai_client_needs_only_another_base_url(gateway):
    _, url = gateway
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        answer = client.chat.completions.with_raw_response.create(model="avengers-pro", messages=ASKED)
        model = answer.headers["x-avengers-pro-model"]
        assert model in {card.name for card in MODELS}
        assert model in answer.parse().choices[0].message.content
        chunks = client.chat.completions.create(model="avengers-pro@0", messages=ASKED, stream=True)
        assert "simulated answer" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_it_says_what_it_serves_and_the_next_step_works(gateway):
    running, url = gateway
    assert f"{url}/v1" in running.err
    for model in MODELS:
        assert f"{model.name}  {model.input_price:g}/{model.output_price:g}  (config)" in running.err
    assert "keys    none needed" in running.err
    step = re.search(r"^Next: (curl .*)$", running.err, re.MULTILINE)[1]
    done = subprocess.run(f"{step} -s", shell=True, capture_output=True, text=True, check=True, timeout=30)
    assert json.loads(done.stdout)["choices"]


def test_answers_do_not_name_the_server_but_the_date(gateway):
    _, url = gateway
    with urllib.request.urlopen(f"{url}/healthz", timeout=30) as answer:
        assert answer.headers["server"] is None
        assert answer.headers["date"]


def test_a_request_is_a_line_of_the_log_at_debug_without_what_was_said(gateway):
    running, url = gateway
    word = "swordfish-in-the-prompt"
    with post(f"{url}/v1/chat/completions", {**CHAT, "messages": [{"role": "user", "content": word}]}) as answer:
        decision, model = answer.headers["x-avengers-pro-decision"], answer.headers["x-avengers-pro-model"]
    (line,) = wait_for(lambda: [line for line in running.log() if line.get("decision") == decision], "the line")
    assert (line["level"], line["path"], line["status"]) == ("debug", "/v1/chat/completions", 200)
    assert line["model"] == model
    assert line["milliseconds"] > 0
    assert line["time"].endswith("Z")
    assert word not in running.err


def test_a_head_that_is_too_long_is_refused_before_it_ends(gateway):
    _, url = gateway
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n" + b"x-a: " + b"a" * 60_000 + b"\r\n")
        connection.sendall(b"x-b: " + b"b" * 60_000 + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_a_running_stream_finish(tmp_path, router, number):
    with serving(create_provider(speed=SLOW)) as upstream:
        config = write_config(tmp_path / "gateway.toml", upstream)
        with (
            served(tmp_path, router, config) as (running, url),
            post(f"{url}/v1/chat/completions", {**CHAT, "stream": True}) as answer,
        ):
            answer.readline()
            running.process.send_signal(number)
            wait_for(lambda: "stopping" in running.err, "the stop")
            assert answer.read().endswith(b"data: [DONE]\n\n")
            assert running.process.wait(30) == 0
    assert [line["message"] for line in running.log()] == ["listening", "stopping", "stopped"]
    assert "Traceback" not in running.err


def test_a_stream_longer_than_the_drain_is_ended_with_an_error(tmp_path, router, shell):
    with serving(create_provider(speed=Speed(tokens_per_s=2.0))) as upstream:
        config = write_config(tmp_path / "gateway.toml", upstream, "[server]\ndrain_timeout = 0.2\n")
        with (
            served(tmp_path, router, config) as (running, url),
            post(f"{url}/v1/chat/completions", {**CHAT, "stream": True}) as answer,
        ):
            decision = answer.headers["x-avengers-pro-decision"]
            answer.readline()
            running.process.send_signal(signal.SIGTERM)
            rest = answer.read()
            assert running.process.wait(30) == 0
    assert b"[DONE]" not in rest
    assert json.loads(rest.split(b"data: ")[-1])["error"]["code"] == "shutdown"
    assert "Traceback" not in running.err
    assert next(line for line in running.log() if line["message"] == "requests cut off")["requests"] == 1
    (row,) = map(json.loads, shell("ledger", "export", "--config", config).out.splitlines())
    assert (row["id"], row["outcome"]) == (decision, "shutdown")


def test_sighup_loads_the_router_again_and_a_bad_one_is_refused(tmp_path, router, upstream):
    folder = shutil.copytree(router, tmp_path / "router")
    config = write_config(tmp_path / "gateway.toml", upstream, "[server]\nreload_interval = 3600\n")
    with served(tmp_path, folder, config) as (running, url):

        def candidates():
            with post(f"{url}/v1/route", CHAT) as answer:
                return {row["model"] for row in json.load(answer)["candidates"]}

        assert "openai/gpt-5" in candidates()
        Router.load(folder).remove_model("openai/gpt-5").save(folder)
        running.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "openai/gpt-5" not in candidates(), "the new router")
        (folder / "router.json").write_text("{}")
        running.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "reload refused" in running.err, "the refusal")
        assert "openai/gpt-5" not in candidates()
        assert running.stop() == 0


def test_a_port_in_use_is_one_line_and_status_1(shell, config, router):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = shell("serve", router, "--config", config, "--port", port)
    assert ran.code == 1
    assert f"error: 127.0.0.1:{port}: cannot be listened on" in ran.err
    assert "Traceback" not in ran.err


def test_a_gateway_that_does_not_start_says_why_once(tmp_path, config):
    code = (
        "import sys\n"
        "from avengers_pro.errors import AvengersProError\n"
        "from avengers_pro.gateway.app import create_app\n"
        "from avengers_pro.gateway.server import run\n"
        "from avengers_pro.gateway.settings import read_settings\n"
        f"settings = read_settings({str(config)!r})\n"
        "try: run(create_app('nowhere', settings), settings)\n"
        "except AvengersProError as error: sys.exit(f'told: {error}')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"told: .*nowhere.*\n", done.stderr)


def test_check_lists_everything_with_file_and_key(shell, config, router, tmp_path):
    assert "0 errors" in shell("serve", router, "--config", config, "--check").out
    text = (
        config.read_text().replace('name = "openai/gpt-5"', 'name = "openai/gpt5"').replace("input_price = 0.5\n", "")
    )
    config.write_text('[server]\nhost = "0.0.0.0"\n[policy]\nexclude = ["openai/gtp-5-chat"]\n' + text)
    ran = shell("serve", router, "--config", config, "--check")
    assert ran.code == 1
    assert re.search(r"^error +\S+gateway.toml: server.host: .*no API key", ran.out, re.MULTILINE)
    assert re.search(
        r"^error +\S+gateway.toml: policy.exclude: .*did you mean 'openai/gpt-5-chat'", ran.out, re.MULTILINE
    )
    assert re.search(
        r"^warning +\S+gateway.toml: models\[7\].name: .*did you mean 'openai/gpt-5'", ran.out, re.MULTILINE
    )
    rows = json.loads(shell("serve", router, "--config", config, "--check", "--json").out)
    assert {row["file"] for row in rows} == {str(config)}
    assert [row["key"] for row in rows if row["level"] == "error"][:2] == ["policy.exclude", "models[1]"]
    assert not (tmp_path / "ledger.db").exists()
    insecure = shell("serve", router, "--config", config, "--check", "--json", "--insecure").out
    assert "server.insecure" in {row["key"] for row in json.loads(insecure)}


def test_check_looks_at_the_shadow_too(shell, config, router):
    config.write_text(config.read_text() + '\n[shadow]\nrouter = "nowhere"\n')
    ran = shell("serve", router, "--config", config, "--check")
    assert ran.code == 1
    assert re.search(r"^error +\S+gateway.toml: shadow.router: nowhere", ran.out, re.MULTILINE)
    config.write_text(config.read_text().replace('"nowhere"', f'"{router}"'))
    assert "0 errors" in shell("serve", router, "--config", config, "--check").out


def test_what_is_wrong_keeps_it_from_starting(shell, config, router):
    config.write_text(config.read_text() + '\n[policy]\nexclude = ["none/such"]\n')
    ran = shell("serve", router, "--config", config)
    assert ran.code == 1
    assert "policy.exclude" in ran.err
    assert "cannot be served like this" in ran.err


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("[server]\nport = 99999\n", "server.port", "<= 65535"),
        ("[servr]\nport = 1\n", None, "did you mean 'server'"),
        ("[server\n", None, "not TOML"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_finding_too(shell, tmp_path, router, text, key, said):
    (tmp_path / "bad.toml").write_text(text)
    ran = shell("serve", router, "--config", "bad.toml", "--check", "--json")
    assert ran.code == 1
    (row,) = json.loads(ran.out)
    assert (row["level"], row["file"], row["key"]) == ("error", "bad.toml", key)
    assert said in row["message"]
    assert shell("serve", router, "--config", "bad.toml").code == 1


def test_a_router_that_is_not_there_is_a_finding(shell, config):
    (row,) = json.loads(shell("serve", "nowhere", "--config", config, "--check", "--json").out)
    assert row["file"] == "nowhere"
    missing = shell("serve", "nowhere", "--config", "none.toml")
    assert missing.code == 1
    assert "none.toml: no such file" in missing.err


def test_without_the_extra_it_says_which_one(config, router):
    code = (
        "import sys; sys.modules['uvicorn'] = None\n"
        f"sys.argv = ['avengers-pro', 'serve', {str(router)!r}, '--config', {str(config)!r}]\n"
        "from avengers_pro.cli.main import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "avengers-pro[serve]" in done.stderr


def test_the_address_comes_from_the_command_line_first(tmp_path, router, upstream):
    config = write_config(tmp_path / "gateway.toml", upstream, '[server]\nhost = "0.0.0.0"\nport = 1\n')
    with served(tmp_path, router, config, "--host", "localhost") as (running, url):
        assert url.startswith("http://localhost:")
        with urllib.request.urlopen(f"{url}/readyz", timeout=30) as answer:
            assert answer.status == 200
        assert running.stop() == 0


def test_text_is_for_people(tmp_path, router, upstream):
    config = write_config(tmp_path / "gateway.toml", upstream, '[logging]\nformat = "text"\nlevel = "debug"\n')
    with served(tmp_path, router, config) as (running, url):
        running.said(rf"Z info +listening (url={re.escape(url)})")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{url}/v1/%0Aforged%1B[2J", timeout=30)
        running.said(r"(path=/v1/\\nforged\\x1b\[2J status=404)")


def test_the_demo_serves_and_its_simulated_clients_keep_it_busy(tmp_path, shell):
    arguments = ("demo", "--serve", "--port", 0, "--requests-per-second", 50)
    with program(tmp_path, *arguments) as running:
        url = running.said(r"base_url +(http://\S+)/v1", on="out")
        running.said(r"(Ctrl-C)", on="out")
        running.said(r"(fitting the demo's router, once, on simulated records)")
        assert "simulated" in running.out

        def rated():
            told = shell("ledger", "stats", "--store", "sqlite:///avengers-pro-demo/ledger.db", "--json")
            return told.code == 0 and json.loads(told.out)["total"]["feedback"]

        wait_for(rated, "feedback")
        code = re.search(r"^from openai.*?(?=\n\n)", running.out, re.MULTILINE | re.DOTALL)[0]
        assert len(code.splitlines()) == 6
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "simulated answer" in done.stdout
        with urllib.request.urlopen(f"{url}/metrics", timeout=30) as page:
            assert b"avengers_pro_requests_total" in page.read()
        assert running.stop(signal.SIGINT) == 0
    assert re.search(r"stopped; \d+ of \d+ simulated requests answered, [1-9]\d* rated", running.err)
    assert "Traceback" not in running.err

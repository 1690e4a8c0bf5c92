"""The files of deploy/: they parse, and what they name exists in the code."""

import json
import re
import shlex
from pathlib import Path

import click
import pytest

from avengers_pro.cli.main import program
from avengers_pro.gateway.settings import read_settings
from avengers_pro.gateway.telemetry import Telemetry

yaml = pytest.importorskip("yaml")
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SETTINGS = "/etc/avengers-pro/gateway.toml"


def documents(name):
    return [one for one in yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8")) if one is not None]


@pytest.fixture(scope="module")
def kubernetes():
    found = [*documents("kubernetes/gateway.yaml"), *documents("kubernetes/upgrade.yaml")]
    return {one["kind"]: one for one in found}


@pytest.fixture(scope="module")
def compose():
    (found,) = documents("compose.yaml")
    return found


def check_command(arguments):
    """Parse a command line with the program's own parser, without running it."""
    command, context, rest = program, click.Context(program, info_name="avengers-pro"), list(arguments)
    while isinstance(command, click.Group):
        _, command, rest = command.resolve_command(context, rest)
        context = click.Context(command, parent=context)
    command.parse_args(context, rest)
    assert context.params["config"] == Path(SETTINGS)


def test_every_yaml_file_parses():
    names = sorted(path.relative_to(DEPLOY) for suffix in ("yaml", "yml") for path in DEPLOY.rglob(f"*.{suffix}"))
    assert len(names) == 7
    assert all(documents(name) for name in names)


def test_commands_are_those_of_the_program(compose, kubernetes):
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert 'ENTRYPOINT ["avengers-pro"]' in dockerfile
    check_command(json.loads(re.search(r"^CMD (\[.*\])$", dockerfile, re.MULTILINE)[1]))
    for name in ("upgrade", "keys", "gateway"):
        check_command(compose["services"][name]["command"])
    for kind in ("Deployment", "Job"):
        (container,) = kubernetes[kind]["spec"]["template"]["spec"]["containers"]
        check_command(container["args"])


def test_settings_are_accepted_and_the_same_everywhere():
    settings = read_settings(DEPLOY / "gateway.toml")
    url = settings.store.database_url({"POSTGRES_PASSWORD": "secret"})
    assert url.startswith("postgresql+asyncpg://avengers:secret@postgres")
    assert not settings.store.required
    copy = DEPLOY / "kubernetes" / "gateway.toml"
    assert copy.read_bytes() == (DEPLOY / "gateway.toml").read_bytes()
    (kustomization,) = documents("kubernetes/kustomization.yaml")
    assert all((DEPLOY / "kubernetes" / name).is_file() for name in kustomization["resources"])


def test_ports_agree(compose, kubernetes):
    port = read_settings(DEPLOY / "gateway.toml").server.port
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert f"EXPOSE {port}\n" in dockerfile
    assert f"http://127.0.0.1:{port}/readyz" in dockerfile
    nginx = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    assert f"server gateway:{port};" in nginx
    assert compose["services"]["balancer"]["ports"] == [f"{re.search(r'listen (.*);', nginx)[1]}:8080"]
    (prometheus,) = documents("prometheus.yml")
    assert prometheus["scrape_configs"][0]["dns_sd_configs"][0]["port"] == port
    pod = kubernetes["Deployment"]["spec"]["template"]
    assert pod["spec"]["containers"][0]["ports"] == [{"name": "http", "containerPort": port}]
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(port)
    assert kubernetes["Service"]["spec"]["ports"][0]["targetPort"] == "http"


def test_containers_write_only_where_they_must_and_are_not_root(compose, kubernetes):
    assert re.search(r"^USER (\d+)$", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)[1] != "0"
    assert compose["services"]["gateway"]["read_only"]
    spool = read_settings(DEPLOY / "gateway.toml").store.spool
    assert any(volume.endswith(f":{spool}") for volume in compose["services"]["gateway"]["volumes"])
    for kind in ("Deployment", "Job"):
        spec = kubernetes[kind]["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"]
    mounted = {
        one["mountPath"]
        for one in kubernetes["Deployment"]["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    }
    assert {"/router", "/tmp", spool, str(Path(SETTINGS).parent)} == mounted  # noqa: S108


def test_pods_are_found_by_their_labels_and_have_time_to_drain(kubernetes):
    deployment = kubernetes["Deployment"]
    pod = deployment["spec"]["template"]
    for labels in (
        deployment["spec"]["selector"]["matchLabels"],
        kubernetes["Service"]["spec"]["selector"],
        kubernetes["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ):
        assert labels.items() <= pod["metadata"]["labels"].items()
    scaler = kubernetes["HorizontalPodAutoscaler"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert kubernetes["PodDisruptionBudget"]["spec"]["minAvailable"] < scaler["minReplicas"]
    assert "replicas" not in deployment["spec"]  # or every apply would undo the autoscaler
    container = pod["spec"]["containers"][0]
    drain = read_settings(DEPLOY / "gateway.toml").server.drain_timeout
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["spec"]["terminationGracePeriodSeconds"] > drain + pause
    paths = {container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert paths == {"/readyz", "/healthz"}


def test_the_board_asks_for_metrics_that_exist():
    page = Telemetry().page().decode()
    exported = set(re.findall(r"^# TYPE (\w+) \w+$", page, re.MULTILINE))
    exported |= {f"{name}_bucket" for name in re.findall(r"^# TYPE (\w+) histogram$", page, re.MULTILINE)}
    board = json.loads((DEPLOY / "grafana/provisioning/dashboards/avengers-pro.json").read_text(encoding="utf-8"))
    asked = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"avengers_pro_\w+", target["expr"])
    }
    assert len(asked) >= 10
    assert asked <= exported
    (source,) = documents("grafana/provisioning/datasources/prometheus.yaml")
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {source["datasources"][0]["uid"]}


def test_what_the_dockerfile_copies_is_there():
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        *sources, _ = shlex.split(line)
        assert all((DEPLOY.parent / source).exists() for source in sources), line

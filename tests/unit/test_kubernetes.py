"""The manifests of ``deploy/kubernetes/`` are valid, and fit the command line, the settings and the image.

Nothing here applies them to a cluster: ``kubectl kustomize`` builds them, strict schemas and the code check the result.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deploy.kubernetes import rules
from receiver.accept.app import NOTIFICATIONS_PATH
from runtime.settings import Settings
from tests.support.deploying import ROOT, SETTINGS, check_command, lint, needed_to_stop
from tests.support.pages import fenced
from tests.support.processes import PROBE
from workers.broker import QUEUES

MANIFESTS = ROOT / "deploy" / "kubernetes"
PAGE = (ROOT / "docs" / "operations" / "kubernetes.md").read_text()

#: The releases of Kubernetes whose schemas the objects are held against: the oldest that the page names, and the newest
#: that the validator knows.
RELEASES = ("1.30", "1.37")

#: The processes that stay, by the name of their Deployment, with their arguments.
PROCESSES = {
    "serve": ["serve"],
    "consume": ["consume"],
    "console": ["console"],
    **{queue: ["work", "--queue", queue] for queue in QUEUES},
}

#: Those with an admin port alone, by the setting that names it.
WITH_ADMIN_PORT = {"consume": "RECEIVER_CONSUME_METRICS_PORT"} | dict.fromkeys(QUEUES, "RECEIVER_WORK_METRICS_PORT")

#: What only the owner of the tables may do, and what the service does.
AS_OWNER = {"migrate", "rebuild", "erase"}


def _exactly(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the schema of an object with these properties and no others."""
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
        "additionalProperties": False,
    }


_TEXT, _COUNT = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 1}

#: The kinds that Kubernetes itself does not have, with the part of their schemas that is used here. The validator has no
#: schema for them.
FOREIGN_KINDS = {
    "ScaledObject": _exactly(
        {
            "scaleTargetRef": _exactly({"name": _TEXT}),
            "minReplicaCount": _COUNT,
            "maxReplicaCount": _COUNT,
            "pollingInterval": _COUNT,
            "triggers": {
                "type": "array",
                "items": _exactly(
                    {
                        "type": {"const": "postgresql"},
                        "metricType": {"enum": ["AverageValue", "Value"]},
                        "authenticationRef": _exactly({"name": _TEXT}),
                        "metadata": _exactly(
                            {"query": _TEXT, "targetQueryValue": {"type": "string", "pattern": r"^\d+$"}}
                        ),
                    }
                ),
            },
        }
    ),
    "TriggerAuthentication": _exactly(
        {"secretTargetRef": {"type": "array", "items": _exactly({"parameter": _TEXT, "name": _TEXT, "key": _TEXT})}}
    ),
    "ServiceMonitor": _exactly(
        {
            "jobLabel": _TEXT,
            "selector": _exactly({"matchLabels": {"type": "object"}}),
            "podTargetLabels": {"type": "array", "items": _TEXT},
            "endpoints": {
                "type": "array",
                "items": _exactly(
                    {
                        "port": _TEXT,
                        "path": {"const": "/metrics"},
                        "interval": _TEXT,
                        "authorization": _exactly({"credentials": _exactly({"name": _TEXT, "key": _TEXT})}),
                    }
                ),
            },
        }
    ),
    "PrometheusRule": _exactly(
        {
            "groups": {
                "type": "array",
                "items": _exactly(
                    {
                        "name": _TEXT,
                        "rules": {
                            "type": "array",
                            "items": _exactly(
                                {"expr": _TEXT},
                                {
                                    "alert": _TEXT,
                                    "record": _TEXT,
                                    "for": _TEXT,
                                    "keep_firing_for": _TEXT,
                                    "labels": {"type": "object"},
                                    "annotations": {"type": "object"},
                                },
                            ),
                        },
                    },
                    {"interval": _TEXT},
                ),
            }
        }
    ),
}


def secret_files(kustomization: Path) -> list[str]:
    """Return the files of secrets that an overlay names."""
    generators = yaml.safe_load(kustomization.read_text())["secretGenerator"]
    named = [name for each in generators for name in [*each.get("envs", []), *each.get("files", [])]]
    return [name.partition("=")[2] or name for name in named]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built with secrets as the page has them."""
    folder = tmp_path_factory.mktemp("kubernetes")
    shutil.copytree(MANIFESTS, folder / "kubernetes")
    example = folder / "kubernetes" / "overlays" / "example"
    (example / "secrets").mkdir(exist_ok=True)
    for name in secret_files(example / "kustomization.yaml"):
        content = "DATABASE_URL=postgresql://user@host/database\n" if name.endswith(".env") else "secret"
        (example / name).write_text(content)
    with (example / "secrets" / "servers.env").open("a") as servers:
        servers.write("REDIS_URL=redis://host:6379/0\n")
    done = lint("kubectl", "kustomize", example)
    assert done.returncode == 0, done.stderr
    path = folder / "built.yaml"
    path.write_text(done.stdout)
    return path


@pytest.fixture(scope="module")
def objects(built: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Every object, by kind and name without the hash of its content."""
    documents = list(yaml.safe_load_all(built.read_text()))
    return {
        (each["kind"], re.sub(r"-[a-z0-9]{10}$", "", each["metadata"]["name"]))
        if each["kind"] in ("Secret", "ConfigMap")
        else (each["kind"], each["metadata"]["name"]): each
        for each in documents
    }


Objects = dict[tuple[str, str], dict[str, Any]]


def pods(objects: Objects) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and the pod template of each object that makes pods."""
    for (kind, name), each in objects.items():
        if kind == "CronJob":
            yield name, each["spec"]["jobTemplate"]["spec"]["template"]
        elif kind in ("Deployment", "Job"):
            yield name, each["spec"]["template"]


def container(pod: dict[str, Any]) -> dict[str, Any]:
    """The only container of a pod."""
    (only,) = pod["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def environment(pod: dict[str, Any]) -> dict[str, Any]:
    """The variables of a pod: the value, or the Secret and its key."""
    return {
        each["name"]: each.get("value", each.get("valueFrom", {}).get("secretKeyRef")) for each in container(pod)["env"]
    }


def deployment(objects: Objects, name: str) -> dict[str, Any]:
    """The pod template of a Deployment."""
    template: dict[str, Any] = objects["Deployment", name]["spec"]["template"]
    return template


@pytest.mark.process
def test_the_base_is_built_without_secrets_and_without_operators() -> None:
    done = lint("kubectl", "kustomize", MANIFESTS / "base")
    assert done.returncode == 0, done.stderr
    kinds = {each["kind"] for each in yaml.safe_load_all(done.stdout)}
    assert kinds.isdisjoint({"Secret", *FOREIGN_KINDS})


@pytest.mark.process
@pytest.mark.parametrize("release", RELEASES)
def test_kubernetes_knows_every_field_of_every_object(built: Path, objects: Objects, release: str) -> None:
    done = lint("kubernetes-validate", "--strict", "--kubernetes-version", release, built)
    lines = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 0, "\n".join(line for line in lines if not line.startswith("INFO"))
    unknown = {match[1] for line in lines if (match := re.search(r"Couldn't find schema for kind (\w+)", line))}
    assert unknown == FOREIGN_KINDS.keys()
    passed = {match[1] for line in lines if (match := re.search(r"passed for resource (\S+)", line))}
    assert len(passed) == sum(kind not in FOREIGN_KINDS for kind, _ in objects)


def test_the_page_names_the_oldest_release() -> None:
    assert f"Kubernetes {RELEASES[0]} or later" in PAGE


@pytest.mark.parametrize("kind", FOREIGN_KINDS)
def test_the_objects_of_operators_have_the_fields_that_these_know(objects: Objects, kind: str) -> None:
    specs = [each["spec"] for (found, _), each in objects.items() if found == kind]
    assert specs
    for spec in specs:
        jsonschema.validate(spec, FOREIGN_KINDS[kind])


@pytest.mark.process
def test_yamllint_has_nothing_to_say_about_the_manifests() -> None:
    config = "{extends: default, rules: {line-length: {max: 120}, octal-values: disable}, ignore: [rules.yaml]}"
    done = lint("yamllint", "--strict", "--config-data", config, MANIFESTS)
    assert done.returncode == 0, done.stdout + done.stderr


# What runs


def test_every_process_has_a_deployment_with_its_command(objects: Objects) -> None:
    deployments = {name for kind, name in objects if kind == "Deployment"}
    assert deployments == PROCESSES.keys()
    for name, arguments in PROCESSES.items():
        assert container(deployment(objects, name))["args"] == arguments


def test_every_pod_runs_a_command_that_exists(objects: Objects) -> None:
    values = {"$(ERASE_TENANT)": "example", "$(ERASE_USER)": "42"}
    for name, pod in pods(objects):
        arguments = container(pod)["args"]
        check_command([values.get(argument, argument) for argument in arguments])
        assert arguments[0] == name or name in QUEUES
        variables = {match[1] for each in arguments if (match := re.fullmatch(r"\$\((\w+)\)", each))}
        assert variables <= environment(pod).keys()


def test_every_variable_is_a_setting(objects: Objects) -> None:
    for _, pod in pods(objects):
        own = {name for argument in container(pod)["args"] for name in re.findall(r"^\$\((\w+)\)$", argument)}
        assert environment(pod).keys() - own <= SETTINGS
    assert objects["ConfigMap", "settings"]["data"].keys() <= SETTINGS


def test_the_settings_are_valid(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROCESSES:
        given = {key: value for key, value in environment(deployment(objects, name)).items() if isinstance(value, str)}
        given |= objects["ConfigMap", "settings"]["data"]
        with monkeypatch.context() as patched:
            for key, value in given.items():
                patched.setenv(key, value)
            assert len(Settings().model_fields_set) == len(given)


def test_no_variable_of_a_service_replaces_a_setting(objects: Objects) -> None:
    assert all(pod["spec"]["enableServiceLinks"] is False for _, pod in pods(objects))


# Ports, probes and stops


def test_each_process_listens_on_the_ports_that_its_pod_names(objects: Objects) -> None:
    def ports(name: str) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for port in container(deployment(objects, name))["ports"]}

    fields = Settings.model_fields
    assert ports("serve") == {"http": fields["port"].default, "admin": fields["admin_port"].default}
    assert ports("console") == {"console": fields["console_port"].default}
    for name, setting in WITH_ADMIN_PORT.items():
        pod = deployment(objects, name)
        assert ports(name) == {"admin": int(environment(pod)[setting])}
        assert environment(pod)["RECEIVER_ADMIN_HOST"] == "0.0.0.0"
    assert environment(deployment(objects, "serve"))["RECEIVER_HOST"] == "0.0.0.0"


@pytest.mark.parametrize("name", ["serve", *WITH_ADMIN_PORT])
def test_a_pod_is_ready_when_its_process_can_work_and_restarted_when_it_is_dead(objects: Objects, name: str) -> None:
    described = container(deployment(objects, name))
    port = "http" if name == "serve" else "admin"
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert described[probe]["httpGet"] == {"path": path, "port": port}
    assert described["readinessProbe"]["timeoutSeconds"] > 2  # `/readyz` answers within two seconds


def test_the_console_is_asked_inside_its_pod_and_reached_from_nowhere_else(objects: Objects) -> None:
    pod = deployment(objects, "console")
    for probe in ("livenessProbe", "readinessProbe"):
        assert container(pod)[probe]["exec"]["command"] == [*PROBE, "console"]
    assert environment(pod)["RECEIVER_CONSOLE_HOST"] == "127.0.0.1"


@pytest.mark.parametrize("name", PROCESSES)
def test_a_pod_may_finish_its_work(objects: Objects, name: str) -> None:
    pod = deployment(objects, name)
    before = container(pod).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    allowed = timedelta(seconds=pod["spec"]["terminationGracePeriodSeconds"] - before)
    assert allowed > needed_to_stop(PROCESSES[name])
    assert (before > 0) == (name == "serve")


# Secrets and rights


def test_only_the_commands_of_the_owner_have_the_owners_secret(objects: Objects) -> None:
    for name, pod in pods(objects):
        secret = environment(pod)["DATABASE_URL"]["name"]
        assert re.sub(r"-[a-z0-9]{10}$", "", secret) == ("owner" if name in AS_OWNER else "servers"), name
        mounted = [volume["secret"]["secretName"] for volume in pod["spec"]["volumes"] if "secret" in volume]
        assert {re.sub(r"-[a-z0-9]{10}$", "", each) for each in mounted} <= {"tenants", "admin"}


def test_every_secret_that_is_used_exists_under_its_generated_name(objects: Objects) -> None:
    keys = {each["metadata"]["name"]: each["data"].keys() for (kind, _), each in objects.items() if kind == "Secret"}
    used = []
    for _, pod in pods(objects):
        used += [(each["name"], each["key"]) for each in environment(pod).values() if isinstance(each, dict)]
        used += [(volume["secret"]["secretName"], None) for volume in pod["spec"]["volumes"] if "secret" in volume]
        assert container(pod)["envFrom"] == [
            {"configMapRef": {"name": objects["ConfigMap", "settings"]["metadata"]["name"]}}
        ]
    (authentication,) = objects["TriggerAuthentication", "scaler"]["spec"]["secretTargetRef"]
    (endpoint,) = objects["ServiceMonitor", "ampeco-receiver"]["spec"]["endpoints"]
    used += [(each["name"], each["key"]) for each in (authentication, endpoint["authorization"]["credentials"])]
    assert used
    for name, key in used:
        assert name in keys
        assert key is None or key in keys[name]


def test_the_folder_of_the_tenants_is_where_the_image_looks_for_them(objects: Objects) -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    tenants = re.search(r"TENANTS_FILE=(\S+)", dockerfile)
    assert tenants is not None
    assert "tenants.toml" in objects["Secret", "tenants"]["data"]
    for _, pod in pods(objects):
        (mount,) = [each for each in container(pod)["volumeMounts"] if each["name"] == "tenants"]
        assert f"{mount['mountPath']}/tenants.toml" == tenants[1]
        assert mount["readOnly"] is True
    (token,) = [each for each in container(deployment(objects, "serve"))["volumeMounts"] if each["name"] == "admin"]
    assert environment(deployment(objects, "serve"))["RECEIVER_ADMIN_TOKEN_FILE"] == f"{token['mountPath']}/token"


def test_the_page_makes_every_secret_that_the_example_names() -> None:
    page = "\n".join(fenced(PAGE, "sh"))
    example = MANIFESTS / "overlays" / "example"
    written = set(re.findall(r"> (secrets/\S+)", page))
    assert written == set(secret_files(example / "kustomization.yaml"))
    assert (example / ".gitignore").read_text() == "/secrets/\n"


def test_every_pod_has_no_more_rights_than_it_needs(objects: Objects) -> None:
    user = re.search(r"^USER (\d+)$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    assert user is not None
    for _, pod in pods(objects):
        assert pod["spec"]["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": int(user[1]),
            "runAsGroup": int(user[1]),
            "fsGroup": int(user[1]),
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert container(pod)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert set(container(pod)["resources"]) == {"requests", "limits"}
        assert container(pod)["resources"]["limits"].keys() == {"memory"}
    labels = objects["Namespace", "ampeco-receiver"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


# The network


def selected(policy: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a network policy selects a pod with these labels."""
    selector = policy["spec"]["podSelector"]
    expressions = selector.get("matchExpressions", [])
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        labels.get(each["key"]) in each["values"] for each in expressions
    )


def test_each_pod_is_reached_and_reaches_what_it_needs_and_no_more(objects: Objects) -> None:
    policies = [each for (kind, _), each in objects.items() if kind == "NetworkPolicy"]
    servers = {53, 5432, 6379}
    for name, pod in pods(objects):
        labels = pod["metadata"]["labels"]
        own = [policy["spec"] for policy in policies if selected(policy, labels)]
        assert {kind for policy in own for kind in policy["policyTypes"]} == {"Ingress", "Egress"}
        inward = {port["port"] for policy in own for rule in policy.get("ingress", []) for port in rule["ports"]}
        ports = [port for policy in own for rule in policy.get("egress", []) for port in rule["ports"]]
        outward = {number for port in ports for number in range(port["port"], port.get("endPort", port["port"]) + 1)}
        assert inward == ({"http", "admin"} if name == "serve" else {"admin"})
        reads_the_api = name in ("refresh", "reconcile", "console", "backfill")
        needed = {443} if reads_the_api else {9092, 9093, 9094} if name == "consume" else set()
        assert outward == servers | needed


def test_the_ingress_leads_to_the_notifications_and_nowhere_else(objects: Objects) -> None:
    ((_, ingress),) = [(key, each) for key, each in objects.items() if key[0] == "Ingress"]
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert (path["path"], path["pathType"]) == (NOTIFICATIONS_PATH, "Prefix")
    service = objects["Service", path["backend"]["service"]["name"]]["spec"]
    (port,) = service["ports"]
    assert path["backend"]["service"]["port"]["name"] == port["name"]
    assert port["targetPort"] == "http"
    assert service["selector"].items() <= deployment(objects, "serve")["metadata"]["labels"].items()
    assert rule["host"] in ingress["spec"]["tls"][0]["hosts"]
    assert objects["ConfigMap", "settings"]["data"]["RECEIVER_PUBLIC_URL"] == f"https://{rule['host']}"


def test_prometheus_finds_the_admin_port_of_every_receiver_and_worker(objects: Objects) -> None:
    service, monitor = objects["Service", "admin"], objects["ServiceMonitor", "ampeco-receiver"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [endpoint["port"] for endpoint in monitor["endpoints"]] == [
        port["name"] for port in service["spec"]["ports"]
    ]
    (port,) = service["spec"]["ports"]
    for name in ("serve", *WITH_ADMIN_PORT):
        pod = deployment(objects, name)
        assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        assert port["targetPort"] in {each["name"] for each in container(pod)["ports"]}


# Replicas


def test_what_is_scaled_has_no_number_of_replicas_that_an_apply_would_set_again(objects: Objects) -> None:
    scaled = {objects["HorizontalPodAutoscaler", "serve"]["spec"]["scaleTargetRef"]["name"]}
    scaled |= {objects["ScaledObject", "apply"]["spec"]["scaleTargetRef"]["name"]}
    for name in PROCESSES:
        assert ("replicas" not in objects["Deployment", name]["spec"]) == (name in scaled)


def test_the_consumer_runs_only_where_an_overlay_says_so(objects: Objects) -> None:
    assert objects["Deployment", "consume"]["spec"]["replicas"] == 0
    settings = next(block for block in fenced(PAGE, "text") if "RECEIVER_KAFKA_BROKERS" in block)
    assert {line.partition("=")[0] for line in settings.split()} <= SETTINGS
    assert "replicas:\n  - name: consume\n    count: 2\n" in "\n".join(fenced(PAGE, "yaml"))


def test_a_node_can_be_drained_while_no_pod_is_ready(objects: Objects) -> None:
    budgets = {name: each["spec"] for (kind, name), each in objects.items() if kind == "PodDisruptionBudget"}
    assert budgets.keys() == {"serve", "apply", "refresh"}
    for name, budget in budgets.items():
        labels = deployment(objects, name)["metadata"]["labels"]
        assert budget["selector"]["matchLabels"].items() <= labels.items()
        assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


def test_pods_are_spread_over_zones_and_hosts(objects: Objects) -> None:
    for name in PROCESSES:
        pod = deployment(objects, name)
        spread = pod["spec"]["topologySpreadConstraints"]
        assert [each["topologyKey"] for each in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        for each in spread:
            assert each["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
            assert set(each["matchLabelKeys"]) - {"pod-template-hash"} <= pod["metadata"]["labels"].keys()


def test_the_page_says_how_many_connections_the_service_may_open(objects: Objects) -> None:
    page = (ROOT / "docs" / "operations" / "running.md").read_text().partition("## Connections to Postgres")[2]
    each = {
        name.strip("`"): int(number)
        for name, number in re.findall(r"^\| (\S+?),? [^|]*\| [^|]+\| (\d+) \|", page, re.M)
    }
    for_each_process = int(re.findall(r"^\| `serve`, for each process \| [^|]+\| (\d+) \|", page, re.MULTILINE)[0])
    once = int(re.findall(r"^\| `serve`, once \| [^|]+\| (\d+) \|", page, re.MULTILINE)[0])
    replicas = {name: objects["Deployment", name]["spec"].get("replicas") for name in PROCESSES}
    replicas["serve"] = objects["HorizontalPodAutoscaler", "serve"]["spec"]["maxReplicas"]
    replicas["apply"] = objects["ScaledObject", "apply"]["spec"]["maxReplicaCount"]
    total = replicas["serve"] * (for_each_process + once) + replicas["console"] * each["console"]
    total += sum(replicas[queue] * each["work"] for queue in QUEUES)
    assert f"at most {total}\n[connections]" in PAGE


# What is written elsewhere


def test_the_rules_are_those_for_prometheus(objects: Objects) -> None:
    assert rules.PATH.read_text() == rules.prometheus_rule(), "`make rules` writes them again."
    given = yaml.safe_load(rules.SOURCE.read_text())
    assert objects["PrometheusRule", "ampeco-receiver"]["spec"] == given


def test_every_pod_has_the_image_of_the_release(objects: Objects) -> None:
    (base,) = {
        re.search(r"image: (\S+)", path.read_text())[1]  # type: ignore[index]
        for path in (MANIFESTS / "base" / "patches").glob("*.yaml")
    }
    for _, pod in pods(objects):
        assert container(pod)["image"] == f"registry.example.com/{base}"


def test_the_first_step_applies_what_migrate_needs_and_no_more(objects: Objects) -> None:
    (selector,) = set(re.findall(r"--selector 'app.kubernetes.io/component in \(([^)]+)\)'", PAGE))
    first = {
        key
        for key, each in objects.items()
        if each["metadata"]["labels"].get("app.kubernetes.io/component") in selector.split(", ")
    }
    assert {kind for kind, _ in first} == {"Namespace", "Secret", "ConfigMap", "Job"}
    assert {key for key in objects if key[0] in ("Namespace", "Secret", "ConfigMap", "Job")} == first


def test_the_page_deletes_the_job_before_it_applies_anything_again() -> None:
    first, *later = [block for block in fenced(PAGE, "sh") if "kubectl apply" in block]
    assert "delete job" not in first
    assert later
    assert all(block.startswith("kubectl delete job migrate --ignore-not-found\n") for block in later)


def test_no_template_of_a_job_runs_by_itself(objects: Objects) -> None:
    templates = {name: each["spec"] for (kind, name), each in objects.items() if kind == "CronJob"}
    assert templates.keys() == {"backfill", "rebuild", "erase"}
    assert all(spec["suspend"] for spec in templates.values())
    named = set(re.findall(r"--from=cronjob/(\w+)", PAGE))
    assert named == templates.keys()


@pytest.mark.process
def test_the_variables_of_a_job_can_be_set_as_the_page_says(objects: Objects, tmp_path: Path) -> None:
    template = objects["CronJob", "erase"]["spec"]["jobTemplate"]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "erase-1"}, "spec": template["spec"]}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    shown = re.search(r"kubectl (set env --local) --filename=- (--output=yaml) (\w+=\w+) (\w+=\w+)", PAGE)
    assert shown is not None
    done = lint("kubectl", *shown[1].split(), "--filename", tmp_path / "job.yaml", *shown.groups()[1:])
    assert done.returncode == 0, done.stderr
    changed = environment(yaml.safe_load(done.stdout)["spec"]["template"])
    assert {f"{name}={changed[name]}" for name in ("ERASE_TENANT", "ERASE_USER")} == set(shown.groups()[2:])

"""The manifests that are deployed obey KubeRay's rules, and are what the overlays say."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from kuberay import faults
from programs import needs

ROOT = Path(__file__).parents[2]
KUBERAY = ROOT / "deploy" / "kuberay"
RENDERED = sorted((KUBERAY / "rendered").glob("*.yaml"))
KUBECTL = shutil.which("kubectl")
FOLDERS = {"once": "overlays", "nightly": "nightly"}

Resource = dict[str, Any]


def resources(path: Path) -> dict[str, Resource]:
    return {one["kind"]: one for one in yaml.safe_load_all(path.read_text())}


def job_spec(path: Path) -> Resource:
    found = resources(path)
    if "RayJob" in found:
        return dict(found["RayJob"]["spec"])
    return dict(found["RayCronJob"]["spec"]["jobTemplate"])


def pods(spec: Resource) -> dict[str, Resource]:
    """The pod of the head and of every group, by name."""
    cluster = spec["rayClusterSpec"]
    groups = {group["groupName"]: group["template"]["spec"] for group in cluster["workerGroupSpecs"]}
    return {"head": cluster["headGroupSpec"]["template"]["spec"]} | groups


def kustomize(folder: Path) -> str:
    command = [str(KUBECTL), "kustomize", str(folder)]
    return subprocess.run(command, text=True, capture_output=True, check=True, timeout=60).stdout


def each(*, nightly: bool | None = None) -> Any:
    chosen = [path for path in RENDERED if nightly in {None, path.stem.startswith("nightly")}]
    return pytest.mark.parametrize("path", chosen, ids=lambda path: path.stem)


def test_there_is_one_rendering_of_every_overlay_once_and_nightly() -> None:
    names = {f"{when}-{what}" for when in ("once", "nightly") for what in ("kind", "cpu", "gpu")}
    assert {path.stem for path in RENDERED} == names


@pytest.mark.skipif(KUBECTL is None, reason="no kubectl, whose kustomize renders the overlays")
@each()
def test_what_is_rendered_is_what_the_overlays_give(path: Path) -> None:
    when, what = path.stem.split("-")
    folder = KUBERAY / FOLDERS[when] / what
    assert kustomize(folder) == path.read_text(), f"render it again: kubectl kustomize {folder} > {path}"


@each()
def test_every_resource_obeys_the_schema_of_its_kind_with_unknown_fields_forbidden(path: Path) -> None:
    found = list(yaml.safe_load_all(path.read_text()))
    assert len(found) == 3
    assert [faults(one) for one in found] == [[], [], []]


@each(nightly=True)
def test_a_nightly_job_is_the_only_one_and_that_of_its_overlay(path: Path) -> None:
    assert "RayJob" not in resources(path)
    once = path.with_name(path.name.replace("nightly", "once"))
    assert job_spec(path) == job_spec(once)


@each(nightly=True)
def test_all_attempts_of_a_night_fall_into_it(path: Path) -> None:
    """A night is named by when it begins: attempts go on with its run, and not with the next."""
    spec, found = job_spec(path), resources(path)
    begins = found["ConfigMap"]["data"]["SECUREVQA_NIGHT_BEGINS"]
    assert found["RayCronJob"]["spec"]["schedule"].split()[:2] == ["0", begins]
    assert spec["backoffLimit"] * spec["activeDeadlineSeconds"] < 24 * 3600


@pytest.mark.skipif(KUBECTL is None, reason="no kubectl, whose kustomize renders the overlays")
@each()
def test_another_registry_is_named_in_one_place(path: Path, tmp_path: Path) -> None:
    when, what = path.stem.split("-")
    shutil.copytree(KUBERAY, tmp_path, dirs_exist_ok=True)
    overlay = tmp_path / "overlays" / what / "kustomization.yaml"
    text = re.sub(
        r"(\{name: securevqa), (newName: [^,]+, )?",
        r"\1, newName: elsewhere.example/own, ",
        overlay.read_text(),
    )
    overlay.write_text(text)
    rendered = kustomize(tmp_path / FOLDERS[when] / what)
    images = re.findall(r"image: (\S+)", rendered)
    assert len(images) >= 3
    assert {image.partition(":")[0] for image in images} == {"elsewhere.example/own"}


@each()
def test_no_video_is_worked_on_beside_the_driver(path: Path) -> None:
    head = job_spec(path)["rayClusterSpec"]["headGroupSpec"]
    assert (head["rayStartParams"]["num-cpus"], head["rayStartParams"]["num-gpus"]) == ("0", "0")


@each()
def test_replicas_lie_between_their_limits_and_a_run_finds_two_cpus(path: Path) -> None:
    groups = job_spec(path)["rayClusterSpec"]["workerGroupSpecs"]
    cpus = 0.0
    for group in groups:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        limit = group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"]
        cpus += group["minReplicas"] * float(group["rayStartParams"].get("num-cpus", limit))
    assert cpus >= 2, "the driver refuses a smaller cluster"


@each()
def test_every_mount_has_its_volume_and_every_container_limits_and_probes(path: Path) -> None:
    for name, pod in pods(job_spec(path)).items():
        (container,) = pod["containers"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        assert {"readinessProbe", "livenessProbe"} <= container.keys(), name
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys(), name
        assert {"name": "metrics", "containerPort": 8080} in container["ports"]


@each()
def test_every_container_gives_up_what_it_does_not_need(path: Path) -> None:
    spec = job_spec(path)
    own = [spec["submitterPodTemplate"]["spec"], *pods(spec).values()]
    for pod in own:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
    confined = [container for pod in own for container in pod["containers"]]
    confined += [options for options in [spec["rayClusterSpec"].get("autoscalerOptions")] if options]
    for container in confined:
        given_up = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert container["securityContext"] == given_up
        assert container["resources"].keys() == {"requests", "limits"}


@each()
def test_names_are_short_enough_for_what_the_operator_makes_of_them(path: Path) -> None:
    """It refuses a name of over 47 characters, as pods and services get longer ones from it."""
    (job,) = [one for kind, one in resources(path).items() if kind.startswith("Ray")]
    groups = [group["groupName"] for group in job_spec(path)["rayClusterSpec"]["workerGroupSpecs"]]
    for name in [job["metadata"]["name"], *groups]:
        assert re.fullmatch("[a-z]([-a-z0-9]{0,45}[a-z0-9])?", name)


@each()
def test_the_key_is_in_no_pod_but_the_head_s(path: Path) -> None:
    with_key = {
        name
        for name, pod in pods(job_spec(path)).items()
        if any(volume.get("secret", {}).get("secretName") == "securevqa-key" for volume in pod["volumes"])
    }
    assert with_key == {"head"}
    texts = path.read_text()
    assert "SECUREVQA_KEY_FILE" in texts
    assert "kind: Secret" not in texts


@each()
def test_workers_may_be_taken_away_and_state_outlives_the_cluster(path: Path) -> None:
    spec = job_spec(path)
    assert spec["backoffLimit"] > 0
    assert spec["submitterConfig"]["backoffLimit"] == 0
    assert resources(path)["ConfigMap"]["data"]["SECUREVQA_RUNS"].startswith("s3://")
    assert resources(path)["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 0


@each()
def test_all_containers_of_a_run_have_one_image_of_this_version(path: Path) -> None:
    spec = job_spec(path)
    containers = [pod["containers"][0] for pod in pods(spec).values()]
    images = {one["image"] for one in [*containers, spec["submitterPodTemplate"]["spec"]["containers"][0]]}
    (image,) = images
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    kind = "cuda" if path.stem.endswith("gpu") else "cpu"
    assert image.endswith(f":{version}-{kind}")


@each()
def test_ray_s_version_is_the_pinned_one(path: Path) -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    assert job_spec(path)["rayClusterSpec"]["rayVersion"] == pins["ray"]


def test_gpus_are_asked_for_where_the_models_run_and_nowhere_else() -> None:
    for path in RENDERED:
        for name, pod in pods(job_spec(path)).items():
            has_gpu = "nvidia.com/gpu" in pod["containers"][0]["resources"]["limits"]
            assert has_gpu == (name == "gpu")


@needs("promtool")
@pytest.mark.parametrize("arguments", [("config", "prometheus.yml"), ("rules", "alerts.yml")])
def test_promtool_accepts_the_configuration(arguments: tuple[str, str]) -> None:
    kind, name = arguments
    command = ["promtool", "check", kind, str(ROOT / "deploy" / "prometheus" / name)]
    done = subprocess.run(command, text=True, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@needs("promtool")
def test_every_alert_fires_on_its_fault_and_on_nothing_else() -> None:
    cases = Path(__file__).with_name("alerts.yml")
    groups = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())["groups"]
    tested = {
        rule["alertname"]
        for test in yaml.safe_load(cases.read_text())["tests"]
        for rule in test["alert_rule_test"]
        if rule["exp_alerts"]
    }
    assert tested == {rule["alert"] for group in groups for rule in group["rules"]}
    command = ["promtool", "test", "rules", str(cases)]
    done = subprocess.run(command, text=True, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr

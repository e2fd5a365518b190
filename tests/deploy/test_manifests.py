"""The manifests that are deployed obey KubeRay's rules, and are what the overlays say."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from kuberay import RAYCRONJOB, RAYJOB, pod_templates
from programs import needs

ROOT = Path(__file__).parents[2]
KUBERAY = ROOT / "deploy" / "kuberay"
RENDERED = sorted((KUBERAY / "rendered").glob("*.yaml"))
KUBECTL = shutil.which("kubectl")
FOLDERS = {"once": "overlays", "nightly": "nightly"}
KUBERNETES = "1.34"  # whose schemas the resources are held to

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


@each(nightly=False)
def test_a_job_obeys_the_rules_of_kuberay(path: Path) -> None:
    jsonschema.validate(resources(path)["RayJob"], RAYJOB)


@each(nightly=True)
def test_a_nightly_job_obeys_the_rules_of_kuberay_and_is_the_only_one(path: Path) -> None:
    found = resources(path)
    jsonschema.validate(found["RayCronJob"], RAYCRONJOB)
    assert "RayJob" not in found
    once = path.with_name(path.name.replace("nightly", "once"))
    assert job_spec(path) == job_spec(once)


@each()
def test_everything_of_kubernetes_obeys_the_schemas_that_it_publishes(path: Path) -> None:
    """Unknown fields are forbidden, in the pods of a job as elsewhere."""
    others = [one for kind, one in resources(path).items() if not kind.startswith("Ray")]
    assert len(others) == 2
    for one in [*others, *pod_templates(job_spec(path)).values()]:
        kubernetes_validate.validate(one, KUBERNETES, strict=True)


def test_a_misspelt_field_of_a_pod_is_found_by_both_schemas() -> None:
    found = resources(RENDERED[-1])["RayJob"]
    container = pods(found["spec"])["head"]["containers"][0]
    container["readinessProb"] = container.pop("readinessProbe")
    with pytest.raises(jsonschema.ValidationError, match="readinessProb"):
        jsonschema.validate(found, RAYJOB)
    with pytest.raises(kubernetes_validate.ValidationError, match="readinessProb"):
        kubernetes_validate.validate(pod_templates(found["spec"])["head"], KUBERNETES, strict=True)


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

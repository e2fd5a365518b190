"""The schemas of what is deployed: KubeRay's resources, and what Kubernetes has in and beside them.

All are closed, at every depth. The fields of KubeRay's own types, with their types, enumerations, bounds and
required ones, are those that its API reference lists for v1.6.2, the oldest line that deploy/README.md
supports; v1.7.0 took none of them away. All that Kubernetes owns, pods above all, comes from the definitions
that Kubernetes publishes, in the package kubernetes-validate, made as strict as a CRD and an API server are:
no null, quantities by their pattern, integers by their size, and the enumerations that those definitions give
in words only.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator

__all__ = ["KUBERAY", "KUBERNETES", "faults"]

KUBERAY = "v1.6.2"
KUBERNETES = "1.34.0"  # whose pods the CRDs of that KubeRay hold: containers with `fileKeyRef`, say

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
INT32: Schema = {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
COUNT: Schema = {**INT32, "minimum": 0}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
DECIMAL = r"[0-9]+(\.[0-9]*)?|\.[0-9]+"
QUANTITY: Schema = {
    "type": ["integer", "string"],
    "pattern": rf"^[+-]?({DECIMAL})([KMGTPE]i|[numkMGTPE]|[eE][+-]?({DECIMAL}))?$",
}


def one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def many(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def closed(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """Return the schema of an object that has these fields and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def core(name: str) -> Schema:
    return {"$ref": f"#/$defs/io.k8s.api.core.v1.{name}"}


PULL = one_of("Always", "IfNotPresent", "Never")
MANAGER = one_of("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue")
DELETION = one_of("DeleteCluster", "DeleteWorkers", "DeleteSelf", "DeleteNone")
CREDENTIAL = closed(value=TEXT, valueFrom=core("EnvVarSource"))
DELETION_RULE = closed(
    ("policy", "condition"),
    policy=DELETION,
    condition=closed(
        jobStatus=one_of("SUCCEEDED", "FAILED"),
        jobDeploymentStatus=one_of("Failed"),
        ttlSeconds=COUNT,
    ),
)
AUTOSCALER = closed(
    resources=core("ResourceRequirements"),
    image=TEXT,
    imagePullPolicy=PULL,
    securityContext=core("SecurityContext"),
    idleTimeoutSeconds=INT32,
    upscalingMode=one_of("Default", "Aggressive", "Conservative"),
    version=one_of("v1", "v2"),
    env=many(core("EnvVar")),
    envFrom=many(core("EnvFromSource")),
    volumeMounts=many(core("VolumeMount")),
)
HEAD = closed(
    ("template",),
    template=core("PodTemplateSpec"),
    headService=core("Service"),
    enableIngress=FLAG,
    resources=TEXTS,
    labels=TEXTS,
    rayStartParams=TEXTS,
    serviceType=one_of("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"),
)
WORKERS = closed(
    ("groupName", "minReplicas", "maxReplicas", "template"),
    suspend=FLAG,
    groupName=TEXT,
    replicas=INT32,
    minReplicas=INT32,
    maxReplicas=INT32,
    idleTimeoutSeconds=INT32,
    resources=TEXTS,
    labels=TEXTS,
    rayStartParams=TEXTS,
    template=core("PodTemplateSpec"),
    scaleStrategy=closed(workersToDelete=many(TEXT)),
    numOfHosts=INT32,
)
CLUSTER = closed(
    ("headGroupSpec",),
    upgradeStrategy=closed(type=one_of("Recreate", "None")),
    authOptions=closed(enableK8sTokenAuth=FLAG, secretName=TEXT, mode=one_of("disabled", "token")),
    suspend=FLAG,
    managedBy=MANAGER,
    autoscalerOptions=AUTOSCALER,
    headServiceAnnotations=TEXTS,
    enableInTreeAutoscaling=FLAG,
    gcsFaultToleranceOptions=closed(
        redisUsername=CREDENTIAL,
        redisPassword=CREDENTIAL,
        externalStorageNamespace=TEXT,
        redisAddress=TEXT,
    ),
    headGroupSpec=HEAD,
    rayVersion=TEXT,
    workerGroupSpecs=many(WORKERS),
)
JOB = closed(
    activeDeadlineSeconds={**INT32, "minimum": 1},
    backoffLimit=INT32,
    rayClusterSpec=CLUSTER,
    submitterPodTemplate=core("PodTemplateSpec"),
    metadata=TEXTS,
    clusterSelector=TEXTS,
    submitterConfig=closed(backoffLimit=INT32),
    managedBy=MANAGER,
    deletionStrategy=closed(
        onSuccess=closed(policy=DELETION),
        onFailure=closed(policy=DELETION),
        deletionRules={**many(DELETION_RULE), "minItems": 1},
    ),
    entrypoint=TEXT,
    runtimeEnvYAML=TEXT,
    jobId=TEXT,
    submissionMode=one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    entrypointResources=TEXT,
    entrypointNumCpus=NUMBER,
    entrypointNumGpus=NUMBER,
    ttlSecondsAfterFinished=INT32,
    preRunningDeadlineSeconds={**INT32, "minimum": 1},
    shutdownAfterJobFinishes=FLAG,
    suspend=FLAG,
)
SPECS: dict[str, Schema] = {
    "RayJob": JOB,
    "RayCronJob": closed(("schedule", "jobTemplate"), schedule=TEXT, jobTemplate=JOB, suspend=FLAG),
}
METADATA = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
EMBEDDED = closed(annotations=TEXTS, finalizers=many(TEXT), labels=TEXTS, name=TEXT, namespace=TEXT)

# What the definitions of Kubernetes say in words, and its API server checks when a pod is made.
ENUMERATIONS: dict[tuple[str, str], Schema] = {
    ("Container", "imagePullPolicy"): PULL,
    ("Container", "terminationMessagePolicy"): one_of("File", "FallbackToLogsOnError"),
    ("ContainerPort", "protocol"): one_of("TCP", "UDP", "SCTP"),
    ("EmptyDirVolumeSource", "medium"): one_of("", "Memory"),
    ("HTTPGetAction", "scheme"): one_of("HTTP", "HTTPS"),
    ("NodeSelectorRequirement", "operator"): one_of("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"),
    ("PodSpec", "dnsPolicy"): one_of("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
    ("PodSpec", "restartPolicy"): one_of("Always", "OnFailure", "Never"),
    ("SeccompProfile", "type"): one_of("RuntimeDefault", "Localhost", "Unconfined"),
    ("ServiceSpec", "type"): one_of("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"),
    ("Toleration", "effect"): one_of("NoSchedule", "PreferNoSchedule", "NoExecute"),
    ("Toleration", "operator"): one_of("Exists", "Equal"),
}


def faults(resource: dict[str, Any]) -> list[str]:
    """Return what the schema of its kind finds wrong with a resource, each with its place.

    Raises:
        LookupError: no schema is known for its `apiVersion` and `kind`.
    """
    errors = _validator(resource.get("apiVersion"), resource.get("kind")).iter_errors(resource)
    return [f"{error.json_path}: {error.message}" for error in errors]


@cache
def _validator(version: str | None, kind: str | None) -> Draft202012Validator:
    if version == "ray.io/v1" and kind in SPECS:
        root = closed(
            ("apiVersion", "kind", "metadata", "spec"),
            apiVersion={"const": version},
            kind={"const": kind},
            metadata={"$ref": f"#/$defs/{METADATA}"},
            spec=SPECS[kind],
        )
        # controller-gen writes of the metadata of what is inside a resource these fields only
        definitions = {
            name: _with(one, "metadata", EMBEDDED) if name.startswith("io.k8s.api.core.") else one
            for name, one in _definitions().items()
        }
        return Draft202012Validator({**root, "$defs": definitions})
    for name, one in _definitions().items():
        if _is(one, version, kind):
            # the definitions leave open what tells them apart
            required = sorted({*one.get("required", ()), "apiVersion", "kind", "metadata"})
            return Draft202012Validator(
                {"$ref": f"#/$defs/{name}", "required": required, "$defs": _definitions()}
            )
    raise LookupError(f"no schema is known of kind {kind!r} in apiVersion {version!r}")


def _is(definition: Schema, version: str | None, kind: str | None) -> bool:
    names = definition.get("x-kubernetes-group-version-kind", ())
    return any(
        (kind, version) == (one["kind"], f"{one['group']}/{one['version']}".lstrip("/")) for one in names
    )


def _with(definition: Schema, field: str, schema: Schema) -> Schema:
    if field not in definition.get("properties", {}):
        return definition
    return {**definition, "properties": {**definition["properties"], field: schema}}


@cache
def _definitions() -> dict[str, Schema]:
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{KUBERNETES}-local-strict"
    published = json.loads((folder / "_definitions.json").read_text())["$defs"]
    found: dict[str, Schema] = {name: _stricter(one) for name, one in published.items()}
    found["io.k8s.apimachinery.pkg.api.resource.Quantity"] = QUANTITY
    found["io.k8s.apimachinery.pkg.util.intstr.IntOrString"] = {"type": ["integer", "string"]}
    for (name, field), values in ENUMERATIONS.items():
        full = f"io.k8s.api.core.v1.{name}"
        assert field in found[full]["properties"], (name, field)
        found[full] = _with(found[full], field, values)
    return found


def _stricter(schema: Any) -> Any:
    """No null anywhere, and an int32 is no larger than that."""
    if isinstance(schema, list):
        return [_stricter(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _stricter(value) for key, value in schema.items()}
    if isinstance(made.get("type"), list) and "null" in made["type"]:
        (made["type"],) = [one for one in made["type"] if one != "null"]
    return INT32 if made.get("format") == "int32" else made

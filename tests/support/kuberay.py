"""The rules of the KubeRay v1 resources (operator 1.6) and of the pods in them, as a JSON schema.

Written from the fields that the API reference lists, unknown fields forbidden; not the CRD itself, for which
no package of PyPI or npm was found. The pods in it, most of a CRD's text, are Kubernetes' own:
`pod_templates` finds them, for a check against the schemas that Kubernetes publishes.
"""

from __future__ import annotations

from typing import Any

__all__ = ["RAYCRONJOB", "RAYJOB", "pod_templates"]

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
FREE: Schema = {"type": "object"}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}


def closed(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """Return the schema of an object that has these fields and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def many(items: Schema) -> Schema:
    return {"type": "array", "items": items}


QUANTITY: Schema = {"anyOf": [COUNT, {"type": "string", "pattern": r"^\d+(\.\d+)?(m|[KMGT]i?)?$"}]}
RESOURCES = closed(
    ("requests", "limits"),
    requests={"type": "object", "additionalProperties": QUANTITY},
    limits={"type": "object", "additionalProperties": QUANTITY},
)
PROBE = closed(
    ("httpGet",),
    httpGet=closed(("path", "port"), path=TEXT, port=COUNT),
    initialDelaySeconds=COUNT,
    periodSeconds=COUNT,
    timeoutSeconds=COUNT,
    failureThreshold=COUNT,
)
CONTAINER_SECURITY = closed(
    ("allowPrivilegeEscalation", "capabilities"),
    allowPrivilegeEscalation={"const": False},
    capabilities=closed(("drop",), drop={"const": ["ALL"]}),
)
REFERENCE = closed(("name",), name=TEXT)
CONTAINER = closed(
    ("name", "image", "resources", "securityContext"),
    name=TEXT,
    image=TEXT,
    imagePullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
    securityContext=CONTAINER_SECURITY,
    envFrom=many(closed(configMapRef=REFERENCE, secretRef=REFERENCE)),
    env=many(closed(("name", "value"), name=TEXT, value=TEXT)),
    ports=many(closed(("name", "containerPort"), name=TEXT, containerPort=COUNT)),
    resources=RESOURCES,
    readinessProbe=PROBE,
    livenessProbe=PROBE,
    lifecycle=closed(preStop=closed(exec=closed(("command",), command=many(TEXT)))),
    volumeMounts=many(closed(("name", "mountPath"), name=TEXT, mountPath=TEXT, readOnly=FLAG)),
)
POD = closed(
    ("containers", "securityContext"),
    containers={**many(CONTAINER), "minItems": 1},
    volumes=many(closed(("name",), name=TEXT, emptyDir=FREE, secret=FREE)),
    securityContext=closed(
        ("runAsNonRoot", "runAsUser"),
        runAsNonRoot={"const": True},
        runAsUser={"type": "integer", "minimum": 1},
        runAsGroup=COUNT,
        fsGroup=COUNT,
        seccompProfile=FREE,
    ),
    restartPolicy={"enum": ["Never", "OnFailure", "Always"]},
    automountServiceAccountToken=FLAG,
    terminationGracePeriodSeconds=COUNT,
    tolerations=many(FREE),
    affinity=closed(nodeAffinity=FREE),
)
TEMPLATE = closed(("spec",), metadata=closed(labels=TEXTS, annotations=TEXTS), spec=POD)
GROUP = closed(
    ("groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"),
    groupName={"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"},
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas={"type": "integer", "minimum": 1},
    numOfHosts=COUNT,
    rayStartParams=TEXTS,
    template=TEMPLATE,
)
CLUSTER = closed(
    ("headGroupSpec", "rayVersion"),
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    authOptions=closed(("mode",), mode={"enum": ["token", "disabled"]}),
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=closed(
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        idleTimeoutSeconds=COUNT,
        imagePullPolicy={"enum": ["Always", "IfNotPresent"]},
        resources=RESOURCES,
        securityContext=CONTAINER_SECURITY,
    ),
    headGroupSpec=closed(("rayStartParams", "template"), rayStartParams=TEXTS, template=TEMPLATE),
    workerGroupSpecs=many(GROUP),
)
JOB_SPEC = closed(
    ("entrypoint", "rayClusterSpec"),
    entrypoint=TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    shutdownAfterJobFinishes=FLAG,
    ttlSecondsAfterFinished=COUNT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    backoffLimit=COUNT,
    submitterConfig=closed(backoffLimit=COUNT),
    submitterPodTemplate=TEMPLATE,
    rayClusterSpec=CLUSTER,
)
NAME: Schema = {"type": "string", "pattern": "^[a-z]([-a-z0-9]{0,45}[a-z0-9])?$"}  # the operator's 47
METADATA = closed(("name",), name=NAME, labels=TEXTS)


def _resource(kind: str, spec: Schema) -> Schema:
    return closed(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata=METADATA,
        spec=spec,
    )


RAYJOB = _resource("RayJob", JOB_SPEC)
RAYCRONJOB = _resource(
    "RayCronJob",
    closed(
        ("schedule", "jobTemplate"),
        schedule={"type": "string", "pattern": r"^([\d*/,-]+ ){4}[\d*/,-]+$"},
        jobTemplate=JOB_SPEC,
        suspend=FLAG,
    ),
)


def pod_templates(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every pod template in the spec of a RayJob, as resources of Kubernetes, by what it is of."""
    cluster = job["rayClusterSpec"]
    templates = {"submitter": job["submitterPodTemplate"], "head": cluster["headGroupSpec"]["template"]}
    templates |= {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
    whole = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "of-a-job"}}
    return {name: whole | {"template": template} for name, template in templates.items()}

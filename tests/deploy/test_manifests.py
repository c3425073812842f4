"""What is sent to a cluster: the Kustomize component and its example, the Helm chart and its example. Each is rendered and held to
the schemas of every Kubernetes that is promised, to the restricted pod security standard, and to what the pages say of them."""

import copy
import json
import re
import shutil
import tempfile
import unittest
from pathlib import Path

import kubernetes_validate
import yaml
from helm_python import chart as helm

from here import DEPLOY, needs_kubectl, run

VERSIONS = [f"1.{minor}" for minor in range(30, 38)]
# Their schemas are the Prometheus operator's; test_monitoring holds what is in them to the sidecar.
OPERATORS = {"PodMonitor", "PrometheusRule"}
CHART = DEPLOY / "helm" / "sidegate"
ALL_ON = {name: {"enabled": True} for name in ("podMonitor", "prometheusRule", "dashboard")}


def example_overlay(name="overlay"):
    return list(yaml.safe_load_all(run("kubectl", "kustomize", DEPLOY / "example" / name)))


def kustomized(kustomization, files=()):
    """An overlay of the test's own, beside the shipped directories."""
    with tempfile.TemporaryDirectory(dir=DEPLOY) as directory:
        head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
        for name, document in {**dict(files), "kustomization.yaml": {**head, **kustomization}}.items():
            (Path(directory) / name).write_text(document if isinstance(document, str) else yaml.safe_dump(document))
        return list(yaml.safe_load_all(run("kubectl", "kustomize", directory)))


def rendered(path, values, name="orders"):
    texts = helm.Chart.load(str(path)).render(values=values, name=name, namespace="orders").values()
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def example_chart(values=None):
    """The API's chart, with the sidecar's where `helm dependency build` puts it."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "orders"
        shutil.copytree(DEPLOY / "example" / "chart", path)
        shutil.copytree(CHART, path / "charts" / "sidegate")
        return rendered(path, values or {})


def only(documents, kind, name=None):
    (found,) = [document for document in documents if document["kind"] == kind and name in (None, document["metadata"]["name"])]
    return found


class Manifests(unittest.TestCase):
    maxDiff = None

    def is_valid(self, documents):
        for document in documents:
            for version in VERSIONS if document["kind"] not in OPERATORS else []:
                with self.subTest(kind=document["kind"], version=version):
                    kubernetes_validate.validate(document, version, strict=True)

    @needs_kubectl()
    def test_the_example_overlay_is_valid_for_every_kubernetes(self):
        self.is_valid(example_overlay())

    def test_the_charts_are_valid_for_every_kubernetes(self):
        self.is_valid(example_chart())
        self.is_valid(rendered(CHART, {"config": "version = 1\n", **ALL_ON}))

    def test_a_manifest_that_is_wrong_is_found(self):
        pod = only(example_chart(), "Deployment")["spec"]["template"]["spec"]
        for spoil in (lambda pod: pod["initContainers"][0].update(restartPolicy=1), lambda pod: pod.update(terminationGracePeriod=1)):
            wrong = copy.deepcopy(pod)
            spoil(wrong)
            manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": wrong}
            for version in VERSIONS:
                with self.assertRaises(kubernetes_validate.ValidationError):
                    kubernetes_validate.validate(manifest, version, strict=True)

    @needs_kubectl()
    def test_chart_and_component_make_the_same_sidecar(self):
        def parts(documents):
            pod = only(documents, "Deployment")["spec"]["template"]["spec"]
            volumes = {volume["name"]: sorted(set(volume) - {"name"}) for volume in pod["volumes"]}
            (sidecar,) = pod["initContainers"]
            policy = only(documents, "NetworkPolicy")["spec"]
            return sidecar, volumes, pod["containers"][0]["lifecycle"], policy["ingress"]

        self.assertEqual(parts(example_chart()), parts(example_overlay()))
        rule = yaml.safe_load((DEPLOY / "monitoring" / "prometheusrule.yaml").read_text())["spec"]
        board = json.loads((DEPLOY / "monitoring" / "dashboard.json").read_text())
        for documents, name in ((example_chart(), "orders-sidegate-dashboard"), (example_overlay(), "sidegate-dashboard")):
            self.assertEqual(only(documents, "PrometheusRule")["spec"], rule)
            self.assertEqual(json.loads(only(documents, "ConfigMap", name)["data"]["dashboard.json"]), board)
            self.assertEqual(only(documents, "PodMonitor")["spec"]["podMetricsEndpoints"], [{"port": "sidegate-ops", "path": "/metrics"}])

    def test_the_sidecar_keeps_its_promises(self):
        documents = example_chart()
        pod = only(documents, "Deployment")["spec"]["template"]["spec"]
        (sidecar,) = pod["initContainers"]
        self.assertEqual(sidecar["restartPolicy"], "Always")
        # Neither the API nor the key table may hold up the API's start; only readiness asks for the table.
        self.assertEqual({probe: sidecar[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}, {
            "startupProbe": {"path": "/livez", "port": "sidegate-ops"},
            "livenessProbe": {"path": "/livez", "port": "sidegate-ops"},
            "readinessProbe": {"path": "/readyz", "port": "sidegate-ops"},
        })
        self.assertEqual(sidecar["lifecycle"]["preStop"]["exec"]["command"], ["/sidegate", "drain", "--wait"])
        self.assertNotIn("cpu", sidecar["resources"]["limits"])
        self.assertIn("memory", sidecar["resources"]["limits"])
        self.assertFalse([mount for mount in sidecar["volumeMounts"] if "subPath" in mount])
        self.assertFalse([variable for variable in sidecar.get("env", []) if "valueFrom" in variable])
        # The default drain_timeout is 25 s; the API has its preStop before it.
        self.assertGreater(pod["terminationGracePeriodSeconds"], 25 + pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"])

    @needs_kubectl()
    def test_every_container_meets_the_restricted_standard(self):
        for documents in (example_overlay(), example_chart(), example_overlay("management")):
            pod = only(documents, "Deployment")["spec"]["template"]["spec"]
            self.assertFalse({"hostNetwork", "hostPID", "hostIPC"} & set(pod))
            self.assertTrue(all(set(volume) & {"configMap", "secret", "emptyDir"} for volume in pod["volumes"]))
            for container in pod.get("initContainers", []) + pod["containers"]:
                context = container["securityContext"]
                self.assertIs(context["allowPrivilegeEscalation"], False)
                self.assertIs(context["runAsNonRoot"], True)
                self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
                self.assertEqual(context["seccompProfile"], {"type": "RuntimeDefault"})
                self.assertFalse([port for port in container.get("ports", []) if "hostPort" in port])
            self.assertIs((pod.get("initContainers") or pod["containers"])[0]["securityContext"]["readOnlyRootFilesystem"], True)

    @needs_kubectl()
    def test_services_lead_to_the_sidecar_and_what_opts_out_is_left_alone(self):
        self.assertEqual(only(example_overlay(), "Service")["spec"]["ports"][0]["targetPort"], 8080)
        other = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "other", "labels": {"auth": "none"}},
                 "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}}}
        documents = kustomized({"resources": ["../example/api", "other.yaml"], "components": ["../sidecar"]}, {"other.yaml": other})
        self.assertEqual(only(documents, "Deployment", "other"), other)
        self.assertIn("initContainers", only(documents, "Deployment", "orders")["spec"]["template"]["spec"])

    @needs_kubectl()
    def test_jobs_and_stateful_sets_ask_for_it(self):
        pod = {"metadata": {}, "spec": {"restartPolicy": "Never", "containers": [{"name": "app", "image": "a"}]}}
        job = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": pod}}
        named = [{**job, "metadata": {"name": "asks", "labels": {"auth": "sidegate"}}}, {**job, "metadata": {"name": "other"}}]
        documents = kustomized({"resources": ["jobs.yaml"], "components": ["../sidecar"]}, {"jobs.yaml": yaml.safe_dump_all(named)})
        asks = only(documents, "Job", "asks")["spec"]["template"]
        self.assertEqual((asks["spec"]["initContainers"][0]["restartPolicy"], asks["metadata"]["labels"]), ("Always", {"auth": "sidegate"}))
        self.assertEqual(only(documents, "Job", "other"), named[1])
        self.is_valid([only(documents, "Job", "asks")])

    @needs_kubectl()
    def test_two_overlays_of_a_namespace_have_names_of_their_own(self):
        several = {}
        for prefix in ("orders-", "billing-"):
            generator = [{"name": "sidegate", "literals": ["proxy.toml="], "options": {"disableNameSuffixHash": True}}]
            documents = kustomized({"resources": ["../example/api"], "components": ["../sidecar", "../monitoring"],
                                    "configMapGenerator": generator, "namePrefix": prefix})
            volumes = only(documents, "Deployment")["spec"]["template"]["spec"]["volumes"]
            self.assertIn({"name": "sidegate-config", "configMap": {"name": f"{prefix}sidegate"}}, volumes)
            several[prefix] = {(document["kind"], document["metadata"]["name"]) for document in documents}
        self.assertFalse(set.intersection(*several.values()))

    @needs_kubectl()
    def test_what_is_scaled_has_a_request_and_nobody_elses_number_of_replicas(self):
        overlay = example_overlay()
        scaler, deployment = only(overlay, "HorizontalPodAutoscaler")["spec"], only(overlay, "Deployment")["spec"]
        self.assertNotIn("replicas", deployment)
        scaled = scaler["metrics"][0]["containerResource"]["container"]
        (container,) = [one for one in deployment["template"]["spec"]["containers"] if one["name"] == scaled]
        self.assertIn("cpu", container["resources"]["requests"])

    @needs_kubectl()
    def test_the_management_api_is_reached_by_its_service_alone(self):
        documents = example_overlay("management")
        self.is_valid(documents)
        pod, service = only(documents, "Deployment")["spec"]["template"], only(documents, "Service")
        self.assertEqual(service["spec"]["selector"].items() - pod["metadata"]["labels"].items(), set())
        config = only(documents, "ConfigMap")["data"]["proxy.toml"]
        self.assertIn(f'"{service["metadata"]["name"]}.{service["metadata"]["namespace"]}.svc"', config)
        self.assertIn(f':{service["spec"]["ports"][0]["targetPort"]}"', config)
        (container,) = pod["spec"]["containers"]
        mounted = tuple(mount["mountPath"] + "/" for mount in container["volumeMounts"])
        self.assertFalse([path for path in re.findall(r'_?file *= "([^"]+)"', config) if not path.startswith(mounted)])
        (console, metrics) = only(documents, "NetworkPolicy")["spec"]["ingress"]
        self.assertTrue(console["from"] and metrics["from"])
        self.assertEqual((console["ports"][0]["port"], metrics["ports"][0]["port"]), (9902, 9901))

    @needs_kubectl()
    def test_the_secret_of_the_runbook_is_what_the_sidecar_mounts(self):
        with tempfile.TemporaryDirectory() as directory:
            for name in ("pepper", "redis-password"):
                (Path(directory) / name).write_text("secret\n")
            command = "kubectl create secret generic sidegate -n orders --from-file=pepper --from-file=redis-password --dry-run=client -o yaml"
            self.assertIn(command, (DEPLOY / "runbook.md").read_text())
            secret = yaml.safe_load(run(*command.split(), cwd=directory))
        self.is_valid([secret])
        overlay = example_overlay()
        volumes = only(overlay, "Deployment")["spec"]["template"]["spec"]["volumes"]
        self.assertIn({"name": "sidegate-secrets", "secret": {"secretName": secret["metadata"]["name"]}}, volumes)
        config = only(overlay, "ConfigMap", "sidegate")["data"]["proxy.toml"]
        self.assertEqual(sorted(re.findall(r"/run/secrets/sidegate/([a-z-]+)", config)), sorted(secret["data"]))

    @needs_kubectl()
    def test_services_and_policies_name_ports_by_number(self):
        # Before 1.33 EndpointSlices know no names of ports of native sidecars.
        def ports(node):
            if isinstance(node, dict):
                for key, value in node.items():
                    if key in ("targetPort", "port") and not isinstance(value, dict):
                        yield value
                    yield from ports(value)
            elif isinstance(node, list):
                for item in node:
                    yield from ports(item)

        moved = {"sidegate": {"ports": {"public": 9000, "ops": 9001}}}
        for documents, public, ops in ((example_overlay(), 8080, 9901), (example_chart(), 8080, 9901), (example_chart(moved), 9000, 9001)):
            self.assertEqual(list(ports(only(documents, "NetworkPolicy"))), [public, ops])
            self.assertEqual(only(documents, "Service")["spec"]["ports"][0]["targetPort"], public)

    def test_values_that_mean_nothing_are_refused(self):
        for values in ({}, {"config": ""}, {"config": "a", "imge": {}}, {"config": "a", "image": {"digest": "latest"}},
                       {"config": "a", "ports": {"public": 80}}, {"config": "a", "podMonitor": True}):
            with self.subTest(values=values), self.assertRaises(Exception):
                rendered(CHART, values)
        values = {"sidegate": {"image": {"digest": "sha256:" + "0" * 64}, "secretName": "", "ports": {"public": 9000}}}
        pod = only(example_chart(values), "Deployment")["spec"]["template"]["spec"]
        (sidecar,) = pod["initContainers"]
        self.assertEqual(sidecar["image"], "registry.example/sidegate@sha256:" + "0" * 64)
        self.assertEqual(sidecar["ports"][0]["containerPort"], 9000)
        self.assertNotIn("sidegate-secrets", [volume["name"] for volume in pod["volumes"]])

    def test_the_charts_are_linted(self):
        for path, values in ((CHART, {"config": "version = 1\n", **ALL_ON}),):
            messages = helm.lint(str(path), values=values, strict=True)["messages"]
            self.assertFalse([message for message in messages if "icon" not in str(message)])

    def test_the_release_is_the_crates(self):
        version = next(line.split('"')[1] for line in (DEPLOY.parent / "Cargo.toml").read_text().splitlines() if line.startswith("version = "))
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        self.assertEqual((chart["version"], chart["appVersion"]), (version, version))
        self.assertIn(f'default "{version}"', (CHART / "templates" / "_sidecar.tpl").read_text())
        self.assertIn(f"ARG VERSION={version}\n", (DEPLOY / "Containerfile").read_text())
        for example in ("overlay", "management"):
            self.assertIn(f"newTag: {version}\n", (DEPLOY / "example" / example / "kustomization.yaml").read_text())


if __name__ == "__main__":
    unittest.main()

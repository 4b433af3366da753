#!/usr/bin/env python3
"""What no schema knows of deploy/: that the files agree with each other, with the settings and with nginx.conf.

check_deploy.py COMPOSE KUBERNETES SCHEMAS: the file of Compose as JSON, as its reader understands it; all manifests
as kustomize writes them; the folder with the schemas of what Kubernetes itself does not define. The check of the
settings against the program is a test of it (crates/mcp-notes/tests/it/deploy.rs).
"""

import ipaddress
import json
import pathlib
import re
import sys

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
# What a drain takes beside DRAIN_SECONDS: a second for the proxy, one for what is cut off, and closing.
BESIDE_DRAIN = 7
PORTS_OF_OTHERS = {53, 6379, 27017}

mistakes = []


def hold(is_so, what):
    """Notes a mistake unless `is_so`."""
    if not is_so:
        mistakes.append(what)


def settings(path):
    """The settings in a file of lines NAME=VALUE."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    pairs = [line.split("=", 1) for line in lines if line and not line.startswith("#")]
    return dict(pairs)


def seconds(text):
    """A duration of Compose such as 40s or 1m30s."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+)([hms])", text))


def megabytes(text):
    """A size of Compose or Redis such as 512M."""
    number, unit = re.fullmatch(r"(\d+)([kmg])b?", text.lower()).groups()
    return int(number) * {"k": 1 / 1024, "m": 1, "g": 1024}[unit]


def check_compose(model):
    services = model["services"]
    own = settings(DEPLOY / "compose/settings.env")
    hold(set(services) == {"mcp-server", "redis", "mongo", "nginx"}, f"services: {sorted(services)}")
    for name, service in services.items():
        check_container(name, service)
        for secret in service.get("secrets", []):
            hold(secret["source"] in model["secrets"], f"{name}: no secret {secret['source']}")
        hold(name == "nginx" or "ports" not in service, f"{name} can be reached from outside")
    check_replicas(services["mcp-server"], own)
    check_network(model, own)
    command = " ".join(services["redis"]["command"])
    most = megabytes(re.search(r"--maxmemory (\w+)", command)[1])
    limit = megabytes(services["redis"]["deploy"]["resources"]["limits"]["memory"])
    hold(most <= limit * 3 / 4, f"redis: maxmemory {most} MB of {limit} MB")
    cache = float(re.search(r"--wiredTigerCacheSizeGB ([\d.]+)", " ".join(services["mongo"]["entrypoint"]))[1])
    limit = megabytes(services["mongo"]["deploy"]["resources"]["limits"]["memory"])
    hold(cache * 1024 <= limit / 2, f"mongo: a cache of {cache} GB in {limit} MB")
    kept = {volume["source"] for it in services.values() for volume in it.get("volumes", []) if volume["type"] == "volume"}
    hold(kept == set(model["volumes"]), f"volumes: {sorted(kept)} are used")
    for service in services.values():
        for volume in service.get("volumes", []):
            file = pathlib.Path(volume["source"])
            is_ours = volume["type"] == "bind" and file.name not in ("tls", "secrets")
            hold(not is_ours or file.exists(), f"no {file}")


def check_container(name, service):
    """What holds for every container."""
    hold("ALL" in service.get("cap_drop", []), f"{name} keeps capabilities")
    hold("no-new-privileges:true" in service.get("security_opt", []), f"{name} may gain privileges")
    hold(service.get("restart") == "unless-stopped", f"{name} is not started again")
    hold("healthcheck" in service, f"{name} has no health check")
    hold("max-size" in service.get("logging", {}).get("options", {}), f"{name}: its log has no limit")
    limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
    hold({"memory", "cpus", "pids"} <= set(limits), f"{name}: limits {limits}")
    image = service["image"]
    hold(":" in image and not image.endswith(":latest"), f"{name}: {image} is any version")


def check_replicas(service, own):
    resources = service["deploy"]["resources"]
    expected = ({"memory": "512M", "cpus": "0.5", "pids": 256}, {"memory": "256M", "cpus": "0.25"})
    hold((resources["limits"], resources["reservations"]) == expected, f"mcp-server: {resources}")
    hold(service["deploy"]["replicas"] == 3, "mcp-server: three replicas")
    hold("container_name" not in service and "ports" not in service, "mcp-server cannot be scaled")
    hold(service["read_only"] and service["user"] == "65532:65532", "mcp-server is root or may write")
    drain = int(own["DRAIN_SECONDS"])
    hold(seconds(service["stop_grace_period"]) >= drain + BESIDE_DRAIN, "mcp-server: killed while it drains")
    files = {name: value for name, value in own.items() if name.endswith("_FILE")}
    given = {f"/run/secrets/{secret['source']}" for secret in service["secrets"]}
    hold(set(files.values()) == given, f"mcp-server: secrets {sorted(given)}, settings {files}")


def check_network(model, own):
    """nginx is where the replicas look for it, and finds them under the name that it knows."""
    network = model["networks"]["mcp-network"]
    hold(network["driver"] == "bridge", "mcp-network is no bridge")
    pool = network["ipam"]["config"][0]
    proxy = model["services"]["nginx"]["networks"]["mcp-network"]["ipv4_address"]
    hold(own["TRUSTED_PROXIES"] == proxy, f"TRUSTED_PROXIES is not {proxy}")
    hold(ipaddress.ip_address(proxy) in ipaddress.ip_network(pool["subnet"]), f"{proxy} is in no network")
    hold(ipaddress.ip_address(proxy) not in ipaddress.ip_network(pool["ip_range"]), f"{proxy} may be given away")
    conf = (DEPLOY / "nginx/nginx.conf").read_text()
    upstream, port = re.search(r"^\s*server ([\w.-]+):(\d+) max_fails", conf, re.M).groups()
    aliases = model["services"]["mcp-server"]["networks"]["mcp-network"]["aliases"]
    hold(upstream in aliases and port == own["PORT"], f"nginx asks {upstream}:{port}, replicas are {aliases}")
    names = set(re.findall(r"server_name ([\w.-]+\.[\w.-]+);", conf))
    hold(names == set(own["ALLOWED_HOSTS"].split(",")), f"nginx serves {names}")
    for place in ("redis", "mongo"):
        hold(set(model["services"][place]["networks"]) == {"data"}, f"{place} is in more than its network")
    hold(model["networks"]["data"].get("internal"), "data reaches the internet")
    hold(own["REDIS_HOST"] in model["services"], "REDIS_HOST is no service")


def check_kubernetes(objects, schemas):
    named = {(it["kind"], it["metadata"]["name"]): it for it in objects}
    kinds = {kind: it for (kind, _), it in named.items()}
    pods = kinds["Deployment"]["spec"]["template"]
    labels, spec = pods["metadata"]["labels"], pods["spec"]
    container = spec["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}

    def selects(selector, what):
        hold(selector and selector.items() <= labels.items(), f"{what} selects {selector}")

    selects(kinds["Deployment"]["spec"]["selector"]["matchLabels"], "Deployment")
    selects(kinds["Service"]["spec"]["selector"], "Service")
    selects(kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"], "PodDisruptionBudget")
    selects(kinds["NetworkPolicy"]["spec"]["podSelector"].get("matchLabels"), "NetworkPolicy")
    target = kinds["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    hold((target["kind"], target["name"]) in named, f"HorizontalPodAutoscaler: no {target}")
    hold("replicas" not in kinds["Deployment"]["spec"], "Deployment: replicas are up to the autoscaler")
    hold(kinds["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0, "a rolling update takes away")
    for probe, path in [("startupProbe", "/livez"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")]:
        get = container[probe]["httpGet"]
        hold(get["path"] == path and get["port"] in ports, f"{probe}: {get}")
    service_ports = {port["port"] for port in kinds["Service"]["spec"]["ports"]}
    for port in kinds["Service"]["spec"]["ports"]:
        hold(port["targetPort"] in ports, f"Service: no port {port['targetPort']}")
    for route in kinds["HTTPRoute"]["spec"]["rules"]:
        for behind in route["backendRefs"]:
            hold(("Service", behind["name"]) in named and behind["port"] in service_ports, f"HTTPRoute: {behind}")
    for source in container["envFrom"]:
        hold(("ConfigMap", source["configMapRef"]["name"]) in named, f"no ConfigMap {source}")

    own = kinds["ConfigMap"]["data"]
    hold(int(own["PORT"]) == ports["http"], "PORT is not the port of the container")
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace, drain = spec["terminationGracePeriodSeconds"], int(own["DRAIN_SECONDS"])
    hold(grace >= before + drain + BESIDE_DRAIN, f"pods are killed while they drain: {before} + {drain} of {grace}")
    secure = {**spec["securityContext"], **container["securityContext"]}
    hold(secure["runAsNonRoot"] and secure["readOnlyRootFilesystem"], "pods are root or may write")
    hold(not secure["allowPrivilegeEscalation"] and secure["capabilities"]["drop"] == ["ALL"], "pods keep privileges")
    hold(int(own["METRICS_ADDR"].rsplit(":", 1)[1]) == ports["metrics"], "METRICS_ADDR is not the port of the container")
    for endpoint in kinds["ServiceMonitor"]["spec"]["endpoints"]:
        names = {port["name"] for port in kinds["Service"]["spec"]["ports"]}
        hold(endpoint["port"] in names, f"ServiceMonitor: no port {endpoint['port']}")
    check_secret(spec, container, own)
    check_policy(kinds["NetworkPolicy"]["spec"], ports)
    for kind in ("HTTPRoute", "ServiceMonitor"):
        for it in objects:
            if it["kind"] == kind:
                check_schema(it, schemas / f"{kind}.yaml")


def check_secret(spec, container, own):
    """Every file that a setting names is one of the secret."""
    place = next(it["mountPath"] for it in container["volumeMounts"] if it["name"] == "secrets")
    name = next(it["secret"]["secretName"] for it in spec["volumes"] if it["name"] == "secrets")
    example = yaml.safe_load((DEPLOY / "kubernetes/example/secret.example.yaml").read_text())
    hold(example["metadata"]["name"] == name, f"no example of the secret {name}")
    files = {value for setting, value in own.items() if setting.endswith("_FILE")}
    held = {f"{place}/{key}" for key in example["stringData"]}
    hold(files == held, f"settings name {sorted(files)}, the secret holds {sorted(held)}")


def check_policy(policy, ports):
    """Both ways are closed but for what is named, and what the replicas need is."""
    hold(set(policy["policyTypes"]) == {"Ingress", "Egress"}, "NetworkPolicy: one way is open")
    for rule in policy["ingress"]:
        hold(rule.get("from"), "NetworkPolicy: everybody may come")
        for port in rule["ports"]:
            hold(port["port"] in ports, f"NetworkPolicy: no port {port['port']}")
    reached = {port["port"] for rule in policy["egress"] for port in rule["ports"] if rule.get("to")}
    hold(PORTS_OF_OTHERS <= reached, f"NetworkPolicy: replicas reach {sorted(reached)}")
    selectors = [json.dumps(to) for rule in policy["egress"] for to in rule["to"]]
    hold(len(set(selectors)) == len(selectors), "NetworkPolicy: two rules lead to the same pods")


def check_schema(it, path):
    """An object against the definition of its kind, in which nothing unknown may stand."""
    versions = yaml.safe_load(path.read_text())["spec"]["versions"]
    version = it["apiVersion"].split("/")[1]
    schema = next(each["schema"]["openAPIV3Schema"] for each in versions if each["name"] == version)
    schema["properties"]["metadata"] = {"type": "object"}
    try:
        jsonschema.validate(it, strict(schema))
    except jsonschema.ValidationError as error:
        mistakes.append(f"{it['kind']}: {error.json_path}: {error.message}")


def strict(schema):
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: strict(value) for key, value in schema.items()}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not is_open:
        schema["additionalProperties"] = False
    return schema


def main():
    compose, kubernetes, schemas = map(pathlib.Path, sys.argv[1:])
    check_compose(json.loads(compose.read_text()))
    check_kubernetes(list(yaml.safe_load_all(kubernetes.read_text())), schemas)
    server = json.loads((ROOT / "server.json").read_text())
    version = re.search(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    hold(server["version"] == version, f"server.json is not of {version}")
    hold(server["packages"][0]["identifier"].endswith(f":{version}"), f"server.json has no image of {version}")
    for mistake in mistakes:
        print(f"deploy: {mistake}", file=sys.stderr)
    sys.exit(bool(mistakes))


main()

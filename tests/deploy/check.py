"""Checks that the files in deploy/ fit the service. Needs PyYAML.

Usage: check.py [--keys FILE] [--metrics FILE] [--deploy FOLDER]

Always: every YAML and JSON file parses, whoever stops the service waits for its drain, and clients repeat
UNAVAILABLE alone, on methods that exist.
--keys FILE     the service's keys, one dotted key a line: every SYFT_ variable in deploy/ stands for one
--metrics FILE  what a running server answers to GET /metrics: every metric in the dashboard and the alerts is one
--deploy FOLDER another folder than this repository's
The exit status is 1 when something does not fit; all of it is told.
"""

import argparse
import json
import re
import sys
from pathlib import Path

try:
    import yaml
except ImportError:
    sys.exit("tests/deploy/check.py needs PyYAML: pip install pyyaml")

ROOT = Path(__file__).parents[2]
# What the service takes when a file says nothing.
DEFAULT_DELAY_MS, DEFAULT_GRACE_MS = 0, 30_000
# What a drain may take beyond its delay and its grace, at least, in seconds.
RESERVE_SECONDS = 10
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--keys", type=Path)
    parser.add_argument("--metrics", type=Path)
    parser.add_argument("--deploy", type=Path, default=ROOT / "deploy")
    arguments = parser.parse_args()
    if arguments.help:
        sys.exit(__doc__)
    deploy = arguments.deploy
    problems = []
    parsed = dict(parse_all(deploy, problems))
    if not problems:
        problems += drain_problems(deploy, parsed)
        problems += retry_problems(parsed[deploy / "retry-service-config.json"])
        if arguments.keys:
            problems += variable_problems(deploy, known_variables(arguments.keys))
        if arguments.metrics:
            problems += metric_problems(deploy, arguments.metrics.read_text())
    for problem in problems:
        print(f"deploy: {problem}")
    checked = f"{len(parsed)} YAML and JSON files of {deploy}"
    print(f"deploy: {len(problems)} problems in {checked}" if problems else f"deploy: {checked} fit")
    sys.exit(1 if problems else 0)


def files(deploy, *endings):
    found = sorted(path for path in deploy.rglob("*") if path.is_file() and path.name.endswith(endings))
    if not found:
        sys.exit(f"deploy: there are no files in {deploy}")
    return found


def parse_all(deploy, problems):
    """The documents of every file that is YAML or JSON. A chart's templates are neither before Helm has run."""
    for path in files(deploy, ".yaml", ".yml", ".json"):
        if "templates" in path.relative_to(deploy).parts:
            continue
        try:
            text = path.read_text()
            yield path, [json.loads(text)] if path.suffix == ".json" else list(yaml.safe_load_all(text))
        except (ValueError, yaml.YAMLError) as error:
            problems.append(f"{path} does not parse: {error}")


def drain_problems(deploy, parsed):
    """Whoever stops the service must wait longer than it drains."""
    waits = []
    for path, documents in parsed.items():
        for document in documents:
            if isinstance(document, dict) and document.get("kind") == "Deployment":
                pod = document["spec"]["template"]["spec"]
                variables = {item["name"]: item.get("value") for item in pod["containers"][0]["env"]}
                waits.append((path, variables, pod.get("terminationGracePeriodSeconds", 30)))
    if not waits:
        yield "no Deployment was found: nothing says how long Kubernetes waits"
    compose = deploy / "compose.yaml"
    service = parsed[compose][0]["services"]["endpoints"]
    waits.append((compose, service["environment"], seconds(service.get("stop_grace_period", "10s"))))
    unit = deploy / "systemd" / "syft-endpoints.service"
    text = unit.read_text()
    stop = re.search(r"^TimeoutStopSec=(\w+)$", text, re.MULTILINE)
    waits.append((unit, dict(re.findall(r"(SYFT_\w+)=(\S+)", text)), seconds(stop[1] if stop else "90s")))
    for path, variables, wait in waits:
        delay = int(variables.get("SYFT_DRAIN_DELAY_MS", DEFAULT_DELAY_MS))
        drain = (delay + int(variables.get("SYFT_DRAIN_GRACE_MS", DEFAULT_GRACE_MS))) / 1000
        if wait <= drain + RESERVE_SECONDS:
            yield f"{path}: {wait} s until the kill, but the drain takes {drain:g} s and {RESERVE_SECONDS} s more"


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)([smh]?)", str(text)).groups()
    return int(number) * UNITS[unit]


def retry_problems(documents):
    config, methods = documents[0], set(methods_of_proto())
    if not config.get("methodConfig"):
        yield "retry-service-config.json has no methodConfig"
    for entry in config.get("methodConfig", []):
        codes = entry.get("retryPolicy", {}).get("retryableStatusCodes")
        if codes != ["UNAVAILABLE"]:
            yield f"retry-service-config.json repeats {codes}, not UNAVAILABLE alone"
        for name in entry["name"]:
            if (name.get("service"), name.get("method")) not in methods:
                yield f"retry-service-config.json names {name}, which is no method of proto/"


def methods_of_proto():
    for path in files(ROOT / "proto", ".proto"):
        text = path.read_text()
        package = re.search(r"^package ([\w.]+);", text, re.MULTILINE)
        for service, body in re.findall(r"^service (\w+) \{(.*?)^\}", text, re.MULTILINE | re.DOTALL):
            for method in re.findall(r"^\s*rpc (\w+)\(", body, re.MULTILINE):
                yield f"{package[1]}.{service}", method


def known_variables(path):
    """Every key is a variable, some have another name, and the commands have variables for their flags."""
    keys = {line.strip() for line in path.read_text().splitlines() if line.strip()}
    source = "".join(file.read_text() for file in files(ROOT / "src", ".rs"))
    aliases = re.findall(r'\("(SYFT_[A-Z_]+)", "([a-z_]+\.[a-z_.]+)"\)', source)
    if not keys or not aliases:
        sys.exit(f"deploy: no keys in {path}, or no names for keys in src/")
    named = {"SYFT_" + key.replace(".", "_").upper() for key in keys}
    flags = set(re.findall(r'env = "(SYFT_[A-Z_]+)"', source))
    return named | {alias for alias, key in aliases if key in keys} | flags


def variable_problems(deploy, known):
    found = 0
    for path in files(deploy, ""):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for name in re.findall(r"\bSYFT_[A-Z][A-Z0-9_]*", line):
                found += 1
                # Kubernetes makes such ones, and the service passes over them.
                if name not in known and not name.startswith("SYFT_ENDPOINTS_"):
                    yield f"{path}:{number}: the service knows no variable {name}"
    if not found:
        yield "no variable was found"


def metric_problems(deploy, exposition):
    known, families = known_metrics(exposition)
    silent = {f"syft_{name}" for name in registered()} - families
    for name in ("grafana/dashboard.json", "prometheus/alerts.yaml", "prometheus/alerts_test.yaml"):
        used = set(re.findall(r"\bsyft_\w+", (deploy / name).read_text()))
        if not used:
            yield f"{name} uses no metric"
        for metric in sorted(used - known):
            if re.sub(r"_(total|bucket|sum|count)$", "", metric) not in silent:
                yield f"{name}: the service has no metric {metric}"


def known_metrics(exposition):
    """The names of all series, and of the families that they belong to."""
    names = set(re.findall(r"^(\w+)(?:\{.*\})? ", exposition, re.MULTILINE))
    families = set()
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", exposition, re.MULTILINE):
        # OpenMetrics leaves the endings of a family's series out, the older format has them.
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "info": ["_info"]}.get(kind, [""])
        family = name.removesuffix(endings[0])
        families.add(family)
        names |= {family + ending for ending in endings}
    if not any(name.startswith("syft_") for name in names):
        sys.exit("deploy: the file of metrics has none of the service's")
    return names, families


def registered():
    """Families by their registration: one that has counted nothing yet is not in the exposition at all."""
    for path in files(ROOT / "src", ".rs"):
        yield from re.findall(r'\bregister\(\s*"(\w+)"', path.read_text())


if __name__ == "__main__":
    main()

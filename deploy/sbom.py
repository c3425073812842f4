"""Writes what the binary is made of: `cargo metadata` on standard input, CycloneDX 1.5 (JSON) on standard output.

What only tests and benches need is left out. The same input gives the same bytes: no time, no random serial number.
"""

import json
import sys


def reachable(nodes, root):
    """Ids of the packages that `root` needs to be built and to run."""
    found, to_visit = set(), [root]
    while to_visit:
        package = to_visit.pop()
        if package not in found:
            found.add(package)
            to_visit += [dep["pkg"] for dep in nodes[package]["deps"] if any(kind["kind"] != "dev" for kind in dep["dep_kinds"])]
    return found


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, checksums):
    described = {"type": "library", "bom-ref": purl(package), "name": package["name"], "version": package["version"], "purl": purl(package)}
    if package.get("license"):
        described["licenses"] = [{"expression": " OR ".join(part.strip() for part in package["license"].split("/"))}]
    if checksum := checksums.get((package["name"], package["version"])):
        described["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return described


def lock_checksums(path):
    """(name, version) → checksum of Cargo.lock, whose form is fixed."""
    checksums, entry = {}, {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("[[package]]"):
                entry = {}
            name, found, value = line.strip().partition(" = ")
            if found and value.startswith('"'):
                entry[name] = value.strip('"')
                if name == "checksum":
                    checksums[entry["name"], entry["version"]] = entry["checksum"]
    return checksums


def main():
    metadata = json.load(sys.stdin)
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    root = metadata["resolve"]["root"]
    used = reachable(nodes, root)
    checksums = lock_checksums(f"{metadata['workspace_root']}/Cargo.lock")
    by_name = sorted(used - {root}, key=lambda id: (packages[id]["name"], packages[id]["version"]))
    needs = lambda id: sorted(purl(packages[dep]) for dep in nodes[id]["dependencies"] if dep in used)
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {**component(packages[root], checksums), "type": "application"}},
        "components": [component(packages[id], checksums) for id in by_name],
        "dependencies": [{"ref": purl(packages[id]), "dependsOn": needs(id)} for id in [root, *by_name]],
    }
    json.dump(bom, sys.stdout, indent=1)
    sys.stdout.write("\n")


main()

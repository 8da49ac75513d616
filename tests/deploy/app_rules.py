"""The two apps: ports, probes, time to stop, memory, what the host is told; and the files themselves.

A rule names what is wrong with a `Site`; see test_rules.py.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from functions.config import CONNECTION
from intake_api.http.seats import SeatPlan
from tests.deploy.lint import lint, parameters
from tests.deploy.site import ROOT, Site

AN_UPLOAD, A_READ = 24 << 20, 20 << 20
"""What an upload, and a download, holds at most: docs/azure.md (a read: 8 MiB ahead, and what waits for its reader)."""
MAX_CONNECTIONS = {"Standard_D2ds_v5": 859 - 15, "Standard_D4ds_v5": 1718 - 15}
"""What a server of that size lets users open, after Azure's documentation."""


def every_file_is_bicep_whose_names_are_declared_once_and_used(site: Site) -> Iterator[str]:
    for path in sorted(site.folder.rglob("*.bicep")):
        yield from lint(path)


def ports_and_folders_agree(site: Site) -> Iterator[str]:
    ingress, settings = site.api.properties["configuration"]["ingress"], site.api_settings
    listen = {
        name: int(settings[name].rpartition(":")[2]) for name in ("CASEVAULT_LISTEN", "CASEVAULT_BLOB_LISTEN")
    }
    (more,) = ingress["additionalPortMappings"]
    if (ingress["targetPort"], more["targetPort"]) != tuple(listen.values()):
        yield "ingress leads to ports where nobody listens"
    if urlsplit(settings["CASEVAULT_BLOB_ORIGIN"]).port != more["exposedPort"]:
        yield "links name another port than the one that is open"
    if (ingress["transport"], ingress["external"], more["external"]) != ("tcp", True, True):
        yield "TLS must end in the service: external TCP ingress"
    if {ingress["exposedPort"], more["exposedPort"]} & {80, 443}:
        yield "external TCP ports cannot be 80 or 443"
    mounts = {m["volumeName"]: m["mountPath"] for m in site.container["volumeMounts"]}
    volumes = {v["name"]: v for v in site.api.properties["template"]["volumes"]}
    if set(mounts) != set(volumes) or mounts["state"] != settings["CASEVAULT_STATE"]:
        yield "the state folder is no volume"
    (file,) = volumes["tls"]["secrets"]
    certificate = f"{mounts['tls']}/{file['path']}"
    if {settings["CASEVAULT_TLS_CERTIFICATE"], settings["CASEVAULT_TLS_KEY"]} != {certificate}:
        yield "the certificate is mounted elsewhere"
    secrets = {s["name"] for s in site.api.properties["configuration"]["secrets"]}
    refs = {file["secretRef"], *(i["secretRef"] for i in site.container["env"] if "secretRef" in i)}
    if secrets != refs:
        yield f"secrets {secrets} are not those that are used: {refs}"


def probes_ask_what_the_program_answers(site: Site, routes: set[str]) -> Iterator[str]:
    probes = {probe["type"]: probe for probe in site.container["probes"]}
    if set(probes) != {"Startup", "Liveness", "Readiness"}:
        yield f"there are the probes {sorted(probes)}"
    for kind, probe in probes.items():
        ask = probe["httpGet"]
        if ask["path"] not in routes:
            yield f"{kind} asks for {ask['path']}"
        if (ask["scheme"], ask["port"]) != (
            "HTTPS",
            site.api.properties["configuration"]["ingress"]["targetPort"],
        ):
            yield f"{kind} asks at another place"
    if probes["Liveness"]["httpGet"]["path"] != "/healthz":
        yield "a store that is away must not have the process killed"
    if probes["Readiness"]["httpGet"]["path"] != "/readyz":
        yield "a replica whose parts do not answer must get no requests"


def a_stop_has_the_time_that_it_may_take(site: Site) -> Iterator[str]:
    drain, stop = (int(site.api_settings[f"CASEVAULT_{name}_SECONDS"]) for name in ("DRAIN", "STOP"))
    grace = site.api.properties["template"]["terminationGracePeriodSeconds"]
    if not drain + 2 * stop + 10 <= grace <= 600:
        yield f"the platform kills after {grace} seconds what may take {drain} + 2 x {stop} + 10"
    readiness = next(p for p in site.container["probes"] if p["type"] == "Readiness")
    if drain < readiness["periodSeconds"]:
        yield "the drain ends before the platform has asked whether the replica is ready"


def memory_and_connections_suffice(site: Site) -> Iterator[str]:
    settings, template = site.api_settings, site.api.properties["template"]
    memory = int(site.container["resources"]["memory"].removesuffix("Gi")) << 30
    try:
        plan = _seats(settings)
    except (KeyError, ValueError) as wrong:
        yield f"the threads are not shared out: {wrong}"
        return
    uploads = plan.uploads + plan.for_blobs().uploads
    held = uploads * AN_UPLOAD + plan.reads * A_READ
    if held > memory * 3 // 4:
        yield f"{uploads} uploads and {plan.reads} downloads may take {held >> 20} MiB of {memory >> 20}"
    if int(settings["CASEVAULT_CONNECTIONS"]) < 2 * plan.threads:
        yield "there are more threads than connections to serve"
    processes = 2 * template["scale"]["maxReplicas"]  # API, Blob endpoint
    instances = site.clock.properties["functionAppConfig"]["scaleAndConcurrency"]["maximumInstanceCount"]
    wanted = (processes + instances) * int(settings["CASEVAULT_DATABASE_CONNECTIONS"])
    size = site.one("Microsoft.DBforPostgreSQL/flexibleServers").body["sku"]["name"]
    if wanted > MAX_CONNECTIONS[size]:
        yield f"{wanted} connections may be opened, {size} allows {MAX_CONNECTIONS[size]}"
    if template["scale"]["minReplicas"] < 2:
        yield "one replica is none while it is replaced"
    (rule,) = template["scale"]["rules"]
    if int(rule["tcp"]["metadata"]["concurrentConnections"]) > plan.uploads:
        yield "a replica is full before the next is begun"


def _seats(settings: Mapping[str, str]) -> SeatPlan:
    """Each number is in the template, so that whoever changes one sees the others."""
    names = {"threads": "THREADS", "uploads": "UPLOADS", "reads": "READS"}
    names |= {"caller_share": "CALLER_SHARE", "tenant_share": "TENANT_SHARE"}
    return SeatPlan(**{field: int(settings[f"CASEVAULT_{name}"]) for field, name in names.items()})


def the_host_is_told_what_it_needs(site: Site) -> Iterator[str]:
    _bundles, host = site.accounts
    settings, config = site.clock_settings, site.clock.properties["functionAppConfig"]
    if settings[f"{CONNECTION}__accountName"] != host.name:
        yield "the host's connection is another account"
    if settings[f"{CONNECTION}__clientId"] != settings["AZURE_CLIENT_ID"]:
        yield "the host is another identity than the program"
    if settings[f"{CONNECTION}__credential"] != "managedidentity":
        yield "the host has no identity"
    said = settings["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"]
    if said != f"ClientId={settings['AZURE_CLIENT_ID']};Authorization=AAD":
        yield "telemetry is sent without an identity"
    tested = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["python_version"]
    if config["runtime"] != {"name": "python", "version": tested}:
        yield f"the host runs {config['runtime']}, the tests Python {tested}"
    packages = f"https://{host.name}.blob.core.windows.net/"
    storage = config["deployment"]["storage"]
    containers = {r.name for r in site.all("Microsoft.Storage/storageAccounts/blobServices/containers")}
    if not storage["value"].startswith(packages) or storage["value"].removeprefix(packages) not in containers:
        yield "the package is looked for elsewhere"
    if storage["authentication"]["type"] != "UserAssignedIdentity":
        yield "the package is fetched without an identity"
    policies = site.all("Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    if {p.name for p in policies if p.properties == {"allow": False}} != {"ftp", "scm"}:
        yield "publishing by password must be off"
    if not site.one("Microsoft.Insights/components").properties["DisableLocalAuth"]:
        yield "telemetry must take an identity"


def names_fit_and_are_unique(site: Site) -> Iterator[str]:
    made = [r.id.lower() for r in site.final.resources if not r.existing]
    for place, times in Counter(made).items():
        if times > 1:
            yield f"{place} is made {times} times"
    longest = site.deployed(prefix="a123456789")
    forms = {
        "Microsoft.Storage/storageAccounts": r"[a-z0-9]{3,24}",
        "Microsoft.KeyVault/vaults": r"[A-Za-z](?!.*--)[A-Za-z0-9-]{1,22}[A-Za-z0-9]",
        "Microsoft.DBforPostgreSQL/flexibleServers": r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]",
        "Microsoft.ContainerRegistry/registries": r"[A-Za-z0-9]{5,50}",
        "Microsoft.App/containerApps": r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?",
        "Microsoft.Web/sites": r"[A-Za-z0-9-]{2,60}",
    }
    for r in longest.resources:
        if r.type in forms and not re.fullmatch(forms[r.type], r.name):
            yield f"{r.type} cannot be called {r.name}"


def the_example_of_parameters_is_complete(site: Site) -> Iterator[str]:
    wanted, given = parameters(site.folder / "main.bicep"), site.bicepparam
    for name in sorted({name for name, needed in wanted.items() if needed} - set(given)):
        yield f"main.bicepparam lacks {name}"
    for name in sorted(set(given) - set(wanted)):
        yield f"main.bicepparam has {name}, which is no parameter"
    if given.get("image") or given.get("administratorAddresses"):
        yield "the example must begin with the first deployment, closed"
    site.deployed(**given)

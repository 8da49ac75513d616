"""Reads Bicep, as far as our own files go: text in, resources with all their properties out.

No compiler is at hand in the tests, so this stands in for one. The grammar is not ours (tree-sitter-bicep): what it
does not understand is refused here. The rest is worked out with the deployment's parameters, module by module.

- What only Azure would know (a principal id, an account's address) is made up by RUNTIME, in Azure's form.
- Whatever is not known here is an error, never a guess: a function, an operator, a property that only Azure has.
- Names are checked whether or not they are reached: see `lint.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

GROUP = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/casevault"
TENANT = "22222222-2222-2222-2222-222222222222"
_PARSER = Parser(Language(tree_sitter_bicep.language()))


class BicepError(Exception):
    """What was read is not Bicep, or is more than is understood here."""


@dataclass(frozen=True)
class Resource:
    """One resource as it would be deployed; `body` has every property worked out."""

    symbol: str
    type: str
    version: str
    id: str
    existing: bool
    body: Mapping[str, Any]
    scope: str | None
    file: str

    @property
    def name(self) -> str:
        return str(self.body["name"])

    @property
    def properties(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.body.get("properties", {})
        return found


@dataclass
class Deployment:
    """A file worked out with its parameters: its resources and its modules', and its outputs."""

    resources: list[Resource] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)


def _uuid(text: str) -> str:
    return str(uuid5(NAMESPACE_URL, text))


# What Azure answers for a resource that is there: by the last word of its type, and the property.
RUNTIME: dict[tuple[str, str], Callable[[Resource], Any]] = {
    ("storageAccounts", "primaryEndpoints"): lambda r: {"blob": f"https://{r.name}.blob.core.windows.net/"},
    ("vaults", "vaultUri"): lambda r: f"https://{r.name}.vault.azure.net/",
    ("keys", "keyUri"): lambda r: f"https://{r.id.split('/')[-3]}.vault.azure.net/keys/{r.name}",
    ("userAssignedIdentities", "principalId"): lambda r: _uuid(f"principal {r.name}"),
    ("userAssignedIdentities", "clientId"): lambda r: _uuid(f"client {r.name}"),
    ("flexibleServers", "fullyQualifiedDomainName"): lambda r: f"{r.name}.postgres.database.azure.com",
    ("registries", "loginServer"): lambda r: f"{r.name}.azurecr.io",
    ("components", "ConnectionString"): lambda r: f"InstrumentationKey={_uuid(r.name)}",
    ("managedEnvironments", "staticIp"): lambda r: "203.0.113.7",
}


def _guid(*parts: str) -> str:
    return _uuid("-".join(parts))


def _union(*parts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for part in parts for key, value in part.items()}


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "empty": lambda value: not value,
    "string": lambda value: value if isinstance(value, str) else json.dumps(value),
    "guid": _guid,
    "uniqueString": lambda *parts: sha256("-".join(parts).encode()).hexdigest()[:13],
    "resourceGroup": lambda: {"id": GROUP, "location": "westeurope"},
    "subscription": lambda: {"tenantId": TENANT},
    "environment": lambda: {"suffixes": {"storage": "core.windows.net"}},
    "subscriptionResourceId": lambda kind, name: (
        f"{GROUP.split('/resourceGroups')[0]}/providers/{kind}/{name}"
    ),
    "union": _union,
    "concat": lambda *parts: [item for part in parts for item in part],
    "items": lambda value: [{"key": key, "value": value[key]} for key in sorted(value)],
    "map": lambda values, made: [made(value) for value in values],
}
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "&&": lambda a, b: a and b,
    "||": lambda a, b: a or b,
    "+": lambda a, b: a + b,
    "*": lambda a, b: a * b,
}
ESCAPES = {"\\'": "'", "\\\\": "\\", "\\n": "\n", "\\t": "\t", "\\$": "$"}


def text_of(node: Node) -> str:
    """The node's own words."""
    return (node.text or b"").decode()


def parse(path: Path) -> Node:
    """The file's tree; BicepError with the first line that is no Bicep."""
    root = _PARSER.parse(path.read_bytes()).root_node
    if root.has_error:
        wrong = next(node for node in walk(root) if node.type == "ERROR" or node.is_missing)
        raise BicepError(f"{path.name}:{wrong.start_point.row + 1}: not understood: {text_of(wrong)[:60]!r}")
    return root


def walk(node: Node) -> list[Node]:
    """The node and all below it, in the order of the text."""
    return [node, *(found for child in node.children for found in walk(child))]


def named(node: Node) -> list[Node]:
    """Its children that are more than punctuation."""
    return [child for child in node.named_children if child.type != "comment"]


class Template:
    """One file with its parameters. Everything is worked out when it is first asked for."""

    def __init__(self, path: Path, given: Mapping[str, Any]) -> None:
        self.path = path
        self.deployment = Deployment()
        self._known: dict[str, Any] = {}
        self._nodes: dict[str, Node] = {}
        self._given = given
        outputs = []
        for node in named(parse(path)):
            if node.type == "output_declaration":
                outputs.append(node)
            elif node.type.endswith("_declaration"):
                self._nodes[text_of(named(node)[0])] = node
        for name in self._nodes:
            self.look_up(name)
        for node in outputs:
            self.deployment.outputs[text_of(named(node)[0])] = self.value(named(node)[-1], {})

    def look_up(self, name: str) -> Any:
        """The value behind a name of this file."""
        if name not in self._known:
            if name not in self._nodes:
                raise BicepError(f"{self.path.name}: nothing is called {name}")
            node = self._nodes[name]
            self._known[name] = getattr(self, f"_{node.type.removesuffix('_declaration')}")(name, node)
        return self._known[name]

    def _parameter(self, name: str, node: Node) -> Any:
        if name in self._given:
            return self._given[name]
        parts = named(node)
        if len(parts) < 3:
            raise BicepError(f"{self.path.name}: the parameter {name} is not given")
        return self.value(parts[2], {})

    def _variable(self, _name: str, node: Node) -> Any:
        return self.value(named(node)[1], {})

    def _resource(self, name: str, node: Node) -> Any:
        kind, _, version = self.value(named(node)[1], {}).partition("@")
        existing = any(child.type == "existing" for child in node.children)

        def made(body: Mapping[str, Any]) -> Resource:
            resource = self._deployed(name, kind, version, existing, body)
            self.deployment.resources.append(resource)
            return resource

        return self._each(named(node)[-1], made)

    def _deployed(
        self, symbol: str, kind: str, version: str, existing: bool, body: Mapping[str, Any]
    ) -> Resource:
        parent, scope = body.get("parent"), body.get("scope")
        if parent is not None:
            place = f"{parent.id}/{kind.rsplit('/', 1)[1]}/{body['name']}"
            if not kind.startswith(parent.type + "/"):
                raise BicepError(f"{self.path.name}: {symbol} is no child of {parent.type}")
        else:
            place = f"{scope.id if scope else GROUP}/providers/{kind}/{body['name']}"
        plain = {key: value for key, value in body.items() if key not in ("parent", "scope", "dependsOn")}
        where = scope.id if scope else None
        return Resource(symbol, kind, version, place, existing, plain, where, self.path.name)

    def _module(self, _name: str, node: Node) -> Any:
        path = self.path.parent / self.value(named(node)[1], {})

        def made(body: Mapping[str, Any]) -> Deployment:
            inner = Template(path, body["params"]).deployment
            self.deployment.resources.extend(inner.resources)
            return inner

        return self._each(named(node)[-1], made)

    def _each(self, node: Node, made: Callable[[Mapping[str, Any]], Any]) -> Any:
        """Made once, for each turn of a loop, or not at all."""
        if node.type == "if_statement":
            condition, body = named(node)
            return made(self.value(body, {})) if self.value(condition, {}) else None
        found = self.value(node, {})
        return [made(body) for body in found] if isinstance(found, list) else made(found)

    def value(self, node: Node, local: Mapping[str, Any]) -> Any:
        """What an expression comes to."""
        reader = getattr(self, f"_value_of_{node.type}", None)
        if reader is None:
            raise BicepError(f"{self.path.name}:{node.start_point.row + 1}: {node.type} is not understood")
        return reader(node, local)

    def _value_of_string(self, node: Node, local: Mapping[str, Any]) -> str:
        return "".join(self._piece(part, local) for part in node.named_children)

    def _piece(self, node: Node, local: Mapping[str, Any]) -> str:
        if node.type == "interpolation":
            return str(FUNCTIONS["string"](self.value(named(node)[0], local)))
        return ESCAPES[text_of(node)] if node.type == "escape_sequence" else text_of(node)

    def _value_of_number(self, node: Node, _local: Mapping[str, Any]) -> int:
        return int(text_of(node))

    def _value_of_boolean(self, node: Node, _local: Mapping[str, Any]) -> bool:
        return text_of(node) == "true"

    def _value_of_null(self, _node: Node, _local: Mapping[str, Any]) -> None:
        return None

    def _value_of_identifier(self, node: Node, local: Mapping[str, Any]) -> Any:
        name = text_of(node)
        return local[name] if name in local else self.look_up(name)

    def _value_of_parenthesized_expression(self, node: Node, local: Mapping[str, Any]) -> Any:
        return self.value(named(node)[0], local)

    def _value_of_array(self, node: Node, local: Mapping[str, Any]) -> list[Any]:
        return [self.value(item, local) for item in named(node)]

    def _value_of_object(self, node: Node, local: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for part in named(node):
            key, value = named(part)
            found[text_of(key) if key.type == "identifier" else self.value(key, local)] = self.value(
                value, local
            )
        return found

    def _value_of_for_statement(self, node: Node, local: Mapping[str, Any]) -> list[Any]:
        names, values, body = named(node)
        called = [text_of(part) for part in named(names)] or [text_of(names)]
        turns = enumerate(self.value(values, local))
        return [
            self.value(body, {**local, **dict(zip(called, (item, i), strict=False))}) for i, item in turns
        ]

    def _value_of_lambda_expression(self, node: Node, local: Mapping[str, Any]) -> Callable[[Any], Any]:
        name, body = named(node)
        return lambda value: self.value(body, {**local, text_of(name): value})

    def _value_of_ternary_expression(self, node: Node, local: Mapping[str, Any]) -> Any:
        condition, yes, no = named(node)
        return self.value(yes if self.value(condition, local) else no, local)

    def _value_of_unary_expression(self, node: Node, local: Mapping[str, Any]) -> bool:
        if node.children[0].type != "!":
            raise BicepError(f"{self.path.name}: the operator {node.children[0].type}")
        return not self.value(named(node)[0], local)

    def _value_of_binary_expression(self, node: Node, local: Mapping[str, Any]) -> Any:
        left, right = named(node)
        return OPERATORS[node.children[1].type](self.value(left, local), self.value(right, local))

    def _value_of_call_expression(self, node: Node, local: Mapping[str, Any]) -> Any:
        called, arguments = text_of(named(node)[0]), [self.value(a, local) for a in named(named(node)[1])]
        if called == "loadJsonContent":
            return json.loads((self.path.parent / arguments[0]).read_text())
        if called not in FUNCTIONS:
            raise BicepError(f"{self.path.name}: the function {called} is not understood")
        return FUNCTIONS[called](*arguments)

    def _value_of_subscript_expression(self, node: Node, local: Mapping[str, Any]) -> Any:
        whole, index = named(node)
        return self.value(whole, local)[self.value(index, local)]

    def _value_of_member_expression(self, node: Node, local: Mapping[str, Any]) -> Any:
        whole, name = named(node)[0], text_of(named(node)[-1])
        return self._member(self.value(whole, local), name)

    def _member(self, whole: Any, name: str) -> Any:
        if isinstance(whole, Resource) and name == "properties":
            return _Live(whole)
        if isinstance(whole, _Live):
            return whole.property(name)
        if isinstance(whole, Resource | Deployment):
            return getattr(whole, name)
        if not isinstance(whole, Mapping) or name not in whole:
            raise BicepError(f"{self.path.name}: there is no {name}")
        return whole[name]


@dataclass(frozen=True)
class _Live:
    """The properties of a resource that is there: what was set, and what Azure adds."""

    resource: Resource

    def property(self, name: str) -> Any:
        key = (self.resource.type.rsplit("/", 1)[-1], name)
        if key in RUNTIME:
            return RUNTIME[key](self.resource)
        if name not in self.resource.properties:
            raise BicepError(f"{self.resource.file}: {self.resource.type} has no property {name}")
        return self.resource.properties[name]


def deploy(path: Path, given: Mapping[str, Any]) -> Deployment:
    """What `az deployment group create` would be told to make."""
    return Template(path, given).deployment

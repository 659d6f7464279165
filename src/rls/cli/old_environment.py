"""Reads the environment of envoyproxy/ratelimit from what people have: manifests, compose files, lists of variables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from rls.settings.envoyproxy import GENERIC, known_as

_VARIABLE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_FILLED_IN = re.compile(r"\$\{([A-Za-z_]\w*)(?::?-([^}]*))?\}|\$([A-Za-z_]\w*)")
_SECRETS = frozenset({"REDIS_AUTH", "REDIS_PERSECOND_AUTH", "REDIS_SENTINEL_AUTH", "REDIS_PERSECOND_SENTINEL_AUTH"})
_LISTS_OF_FILES = ("List", "ConfigMapList", "DeploymentList")


class OldEnvironment(NamedTuple):
    """Variables of one container.

    Attributes:
        values: Those whose value is known.
        elsewhere: Those whose value is not here → where it is.
    """

    values: Mapping[str, str]
    elsewhere: Mapping[str, str]


class NotFoundError(ValueError):
    """No such environment is in the text; says what there is, and what was expected."""


def read(text: str, container: str = "") -> OldEnvironment:
    """The environment in *text*: that of the *container* of this name, or of the one that looks like the old server.

    Raises:
        NotFoundError: No such container, or several.
    """
    documents = [document for document in _documents(text) if isinstance(document, dict)]
    objects = [one for document in documents for one in _objects(document)]
    config_maps = {
        one.get("metadata", {}).get("name", ""): _texts(one.get("data"))
        for one in objects
        if one.get("kind") == "ConfigMap"
    }
    found = {name: environment for one in objects for name, environment in _containers(one, config_maps)}
    if not found and not any("kind" in one or "services" in one for one in objects):
        found = {"": OldEnvironment(_lines(text) or _texts(objects[0] if objects else None), {})}
    if not found:
        found = {name: OldEnvironment(data, {}) for name, data in config_maps.items()}
    return _chosen(found, container)


def _chosen(found: Mapping[str, OldEnvironment], container: str) -> OldEnvironment:
    if container:
        if container not in found:
            raise NotFoundError(f"no container '{container}', expected one of {', '.join(sorted(found)) or 'none'}")
        return found[container]
    old = {name: one for name, one in found.items() if _is_old(one)} if len(found) > 1 else found
    if len(old) > 1:
        raise NotFoundError(f"several containers have such variables: choose one of {', '.join(old)} with --container")
    environment = next(iter(old.values()), None)
    if environment is None or not any(map(known_as, {**environment.values, **environment.elsewhere})):
        raise NotFoundError(
            "no variable of envoyproxy/ratelimit, expected a Deployment, a ConfigMap, a compose file, or lines NAME=VALUE"
        )
    return environment


def _is_old(one: OldEnvironment) -> bool:
    """Whether it has a variable that no other program reads."""
    return any(known_as(name) and not GENERIC.fullmatch(name) for name in {**one.values, **one.elsewhere})


def _documents(text: str) -> list[Any]:
    """Every scalar as it is written: `8081` is the text of a variable."""
    try:
        return list(yaml.load_all(text, Loader=yaml.CBaseLoader))  # makes nothing but texts
    except yaml.YAMLError:
        return []


def _objects(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """*document*, or what it lists."""
    if document.get("kind") in _LISTS_OF_FILES:
        yield from (one for one in document.get("items") or [] if isinstance(one, dict))
    else:
        yield document


def _containers(
    one: dict[str, Any], config_maps: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, OldEnvironment]]:
    """By name: of a workload of Kubernetes, or of a compose file."""
    services = one.get("services")
    if isinstance(services, dict):
        for name, service in services.items():
            if isinstance(service, dict) and "environment" in service:
                yield name, _of_compose(service["environment"])
    spec = one.get("spec") or {}
    while isinstance(spec, dict) and "containers" not in spec:
        spec = (spec.get("template") or spec.get("jobTemplate") or {}).get("spec") or {}
        if not spec:
            return
    for container in spec.get("containers") or []:
        if isinstance(container, dict):
            yield container.get("name", ""), _of_container(container, config_maps)


def _of_container(container: dict[str, Any], config_maps: Mapping[str, Mapping[str, str]]) -> OldEnvironment:
    values: dict[str, str] = {}
    elsewhere: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        kind = "configMapRef" if "configMapRef" in source else "secretRef"
        name = (source.get(kind) or {}).get("name", "")
        prefix = source.get("prefix", "")
        values.update({f"{prefix}{key}": text for key, text in config_maps.get(name, {}).items()})
    for variable in container.get("env") or []:
        name, value = variable.get("name", ""), variable.get("value")
        if isinstance(value, str):
            values[name] = value
            continue
        source = variable.get("valueFrom") or {}
        reference = source.get("configMapKeyRef") or {}
        known = config_maps.get(reference.get("name", ""), {}).get(reference.get("key", ""))
        if known is None:
            elsewhere[name] = _place(source)
        else:
            values[name] = known
    return _with_secrets(values, elsewhere)


def _place(source: dict[str, Any]) -> str:
    for kind, word in (("secretKeyRef", "the Secret"), ("configMapKeyRef", "the ConfigMap")):
        if kind in source:
            return f"{word} {source[kind].get('name', '')}, key {source[kind].get('key', '')}"
    return "another place"


def _of_compose(environment: Any) -> OldEnvironment:
    values: dict[str, str] = {}
    elsewhere: dict[str, str] = {}
    pairs = (
        environment.items() if isinstance(environment, dict) else (str(one).partition("=")[::2] for one in environment)
    )
    for name, text in pairs:
        open_: list[str] = []
        value = _FILLED_IN.sub(lambda found, names=open_: _filled_in(found, names), str(text))  # type: ignore[misc]
        if open_:
            elsewhere[name] = f"the variable {open_[0]} of the shell that runs compose"
        else:
            values[name] = value
    return _with_secrets(values, elsewhere)


def _filled_in(found: re.Match[str], names: list[str]) -> str:
    """The default of `${NAME:-default}`; without one, the name goes to *names*."""
    if found[2] is None:
        names.append(found[1] or found[3])
    return found[2] or ""


def _with_secrets(values: dict[str, str], elsewhere: dict[str, str]) -> OldEnvironment:
    """Passwords from elsewhere count as given: nobody needs to know them here."""
    for name in _SECRETS & elsewhere.keys():
        values[name] = "secret"
        del elsewhere[name]
    return OldEnvironment(values, elsewhere)


def _texts(data: Any) -> dict[str, str]:
    return {name: text for name, text in data.items() if isinstance(text, str)} if isinstance(data, dict) else {}


def _lines(text: str) -> dict[str, str]:
    """`NAME=VALUE` lines, with quotes and comments as a shell has them."""
    found = {}
    for line in text.splitlines():
        if match := _VARIABLE.fullmatch(line):
            try:
                words = shlex.split(match[2], comments=True)
            except ValueError:
                words = [match[2]]
            found[match[1]] = " ".join(words)
    return found

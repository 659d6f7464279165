"""Reads the environment of envoyproxy/ratelimit from what people have: manifests, compose files, lists of variables."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import yaml

from rls.settings.envoyproxy import GENERIC, VARIABLES, known_as

_VARIABLE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_FILLED_IN = re.compile(r"\$\{([A-Za-z_]\w*)(?::?-([^}]*))?\}|\$([A-Za-z_]\w*)")
_SECRETS = frozenset({"REDIS_AUTH", "REDIS_PERSECOND_AUTH", "REDIS_SENTINEL_AUTH", "REDIS_PERSECOND_SENTINEL_AUTH"})
_LISTS_OF_FILES = ("List", "ConfigMapList", "DeploymentList")


class OldEnvironment(NamedTuple):
    """Variables of one container.

    Attributes:
        values: Those whose value is known.
        elsewhere: Those whose value is not here → where it is.
        ignored: What is not read, each with the reason: lines, and variables of which there are others of the same name.
    """

    values: Mapping[str, str]
    elsewhere: Mapping[str, str]
    ignored: Sequence[tuple[str, str]] = ()


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
        _text_of(_map(one.get("metadata")), "name"): _texts(one.get("data"))
        for one in objects
        if one.get("kind") == "ConfigMap"
    }
    found = {name: environment for one in objects for name, environment in _containers(one, config_maps)}
    if not found and not any("kind" in one or "services" in one for one in objects):
        found = {"": _of_lines(text) or _plain(_texts(objects[0] if objects else None))}
    if not found:
        found = {name: _plain(data) for name, data in config_maps.items()}
    return _chosen(found, container)


def _chosen(found: Mapping[str, OldEnvironment], container: str) -> OldEnvironment:
    if container:
        if container not in found:
            names = ", ".join(sorted(filter(None, found)))
            expected = f"one of {names}" if names else "no --container, since none is named here"
            raise NotFoundError(f"no container '{container}', expected {expected}")
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
    except (yaml.YAMLError, UnicodeError, RecursionError):
        return []


def _objects(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """*document*, or what it lists."""
    if document.get("kind") in _LISTS_OF_FILES:
        yield from _maps(document.get("items"))
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
    spec = _map(one.get("spec"))
    while spec and "containers" not in spec:
        spec = _map(_map(spec.get("template") or spec.get("jobTemplate")).get("spec"))
    for container in _maps(spec.get("containers")):
        yield _text_of(container, "name"), _of_container(container, config_maps)


def _of_container(container: dict[str, Any], config_maps: Mapping[str, Mapping[str, str]]) -> OldEnvironment:
    values: dict[str, str] = {}
    elsewhere: dict[str, str] = {}
    for source in _maps(container.get("envFrom")):
        kind = "configMapRef" if "configMapRef" in source else "secretRef"
        name, prefix = _text_of(_map(source.get(kind)), "name"), _text_of(source, "prefix")
        values.update({f"{prefix}{key}": text for key, text in config_maps.get(name, {}).items()})
    for variable in _maps(container.get("env")):
        name, value = _text_of(variable, "name"), variable.get("value")
        if isinstance(value, str):
            values[name] = value
            continue
        source = _map(variable.get("valueFrom"))
        reference = _map(source.get("configMapKeyRef"))
        known = config_maps.get(_text_of(reference, "name"), {}).get(_text_of(reference, "key"))
        if known is None:
            elsewhere[name] = _place(source)
        else:
            values[name] = known
    given = [_text_of(variable, "name") for variable in _maps(container.get("env"))]
    return _with_secrets(values, elsewhere, given)


def _place(source: dict[str, Any]) -> str:
    for kind, word in (("secretKeyRef", "the Secret"), ("configMapKeyRef", "the ConfigMap")):
        if kind in source:
            reference = _map(source[kind])
            return f"{word} {_text_of(reference, 'name')}, key {_text_of(reference, 'key')}"
    return "another place"


def _of_compose(environment: Any) -> OldEnvironment:
    values: dict[str, str] = {}
    elsewhere: dict[str, str] = {}
    listed = environment if isinstance(environment, list) else []
    pairs = environment.items() if isinstance(environment, dict) else [str(one).partition("=")[::2] for one in listed]
    given = [name for name, _ in pairs]
    for name, text in pairs:
        open_: list[str] = []
        value = _FILLED_IN.sub(lambda found, names=open_: _filled_in(found, names), str(text))  # type: ignore[misc]
        if open_:
            elsewhere[name] = f"the variable {open_[0]} of the shell that runs compose"
        else:
            values[name] = value
    return _with_secrets(values, elsewhere, given)


def _filled_in(found: re.Match[str], names: list[str]) -> str:
    """The default of `${NAME:-default}`; without one, the name goes to *names*."""
    if found[2] is None:
        names.append(found[1] or found[3])
    return found[2] or ""


def _with_secrets(values: dict[str, str], elsewhere: dict[str, str], given: Sequence[str]) -> OldEnvironment:
    """Passwords from elsewhere count as given: nobody needs to know them here. *given* are the names as they are written."""
    ignored = [
        (name, "given more than once: the last one counts") for name, times in Counter(given).items() if times > 1
    ]
    for name in _SECRETS & elsewhere.keys():
        values[name] = "secret"
        del elsewhere[name]
    return OldEnvironment(values, elsewhere, (*ignored, *_unknown({**values, **elsewhere})))


def _plain(values: Mapping[str, str]) -> OldEnvironment:
    return OldEnvironment(values, {}, tuple(_unknown(values)))


def _unknown(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Those of *names* that the old server does not read, each with the reason."""
    for name in names:
        if not known_as(name):
            close = get_close_matches(name, VARIABLES, n=1, cutoff=0.85)
            yield name, f"no variable of envoyproxy/ratelimit{f'; did you mean {close[0]}?' if close else ''}"


def _map(value: Any) -> dict[str, Any]:
    """*value* where it is a mapping, whose keys are texts; else an empty one."""
    return value if isinstance(value, dict) else {}


def _maps(value: Any) -> list[dict[str, Any]]:
    """The mappings in the list *value*; none where it is something else."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text_of(mapping: dict[str, Any], name: str) -> str:
    """The text of the member *name*; "" where it is something else."""
    found = mapping.get(name)
    return found if isinstance(found, str) else ""


def _texts(data: Any) -> dict[str, str]:
    return {name: text for name, text in data.items() if isinstance(text, str)} if isinstance(data, dict) else {}


def _of_lines(text: str) -> OldEnvironment | None:
    """`NAME=VALUE` lines, with quotes and comments as a shell has them; None where there is no such line."""
    found: dict[str, str] = {}
    numbers: dict[str, int] = {}
    ignored: list[tuple[str, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        match = _VARIABLE.fullmatch(line)
        if match is None:
            if line.strip() and not line.lstrip().startswith("#"):
                ignored.append((f"line {number}", "not NAME=VALUE"))
            continue
        name = match[1]
        if name in found:
            ignored.append((f"line {numbers[name]}, {name}", f"line {number} has it again, and the last one counts"))
        try:
            words = shlex.split(match[2], comments=True)
        except ValueError:
            words = [match[2]]
        found[name], numbers[name] = " ".join(words), number
    ignored += [(f"line {numbers[name]}, {name}", reason) for name, reason in _unknown(found)]
    return OldEnvironment(found, {}, ignored) if found else None

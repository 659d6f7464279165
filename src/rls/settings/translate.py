"""The environment of envoyproxy/ratelimit → ours. `envoyproxy.VARIABLES` says what becomes of each variable, this module with
which value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from rls.addresses import join_address, redacted
from rls.settings import old_redis
from rls.settings.envoyproxy import SAME, VARIABLES, known_as
from rls.settings.read import unusable
from rls.settings.schema import PREFIX, Settings, flag, variable
from rls.settings.values import explained, parse_duration

_TRUE, _FALSE = ("1", "t", "true"), ("0", "f", "false", "")
ENVOYS_TIMEOUT = 0.02
"""Seconds that Envoy waits for an answer, unless its filter says otherwise."""
_BYTES_OF_A_COUNTER = 100
_LEVELS = {"trace": "debug", "warn": "warning", "fatal": "error", "panic": "error"}
_WRITTEN_OUT = ("http", "grpc", "admin", "config", "backend", "per_second_backend")
"""Settings whose remarks in the table say how to write them, which is done here."""
_BOTH = "with RLS_KEY_FORMAT=compat, both servers count together while both run"
_UNUSED = "had no effect, because {} is not `true`"


class Line(NamedTuple):
    """One of our variables.

    Attributes:
        name: `RLS_…`, or the same name as before.
        value: Its value.
        sources: The old variables that it comes from.
        notes: Why it is so, and what to know.
    """

    name: str
    value: str
    sources: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def setting(self) -> str:
        """The name of our setting; "" for a variable that is not ours."""
        return self.name.removeprefix(PREFIX).lower() if self.name.startswith(PREFIX) else ""

    @property
    def flag(self) -> str:
        """The same as a flag of `rls serve`; "" for a variable that is not ours."""
        return flag(self.setting) if self.setting else ""


class Translation(NamedTuple):
    """What an environment comes to. Each old variable is in one of the first three.

    Attributes:
        lines: Our variables.
        left_out: Old variables that need none, each with the reason.
        open: Old variables that need a hand, each with what is wrong.
        ignored: What was not translated, since it is none of them, each with the reason. Who reads an environment adds it.
    """

    lines: tuple[Line, ...]
    left_out: tuple[tuple[str, str], ...]
    open: tuple[tuple[str, str], ...]
    ignored: tuple[tuple[str, str], ...] = ()


class _Result(NamedTuple):
    """The value of a setting, or why it has none: then *value* is "", and *open* says whether that needs a hand."""

    value: str
    notes: tuple[str, ...] = ()
    open: bool = False


def translate(given: Mapping[str, str], elsewhere: Mapping[str, str] | None = None) -> Translation:
    """Translate the old variables in *given*; others are ignored, empty ones count as not set.

    *elsewhere* has variables whose values are not known → where they are. They need a hand.
    """
    done = _Translator({name: text for name, text in given.items() if known_as(name) and text}).result()
    unknown = [
        (name, f"its value is in {where}: translate it as well. {_instead(name)}")
        for name, where in (elsewhere or {}).items()
        if known_as(name)
    ]
    return done._replace(open=(*done.open, *unknown))


def _instead(name: str) -> str:
    setting, remark = VARIABLES[known_as(name)]
    return f"{variable(setting)}: {remark}" if setting else remark


class _Translator:
    def __init__(self, given: Mapping[str, str]) -> None:
        self.given = given
        self._builders: Mapping[str, Callable[[], _Result]] = {
            "http": lambda: self._address("", "8080"),
            "grpc": self._grpc,
            "admin": lambda: self._address("DEBUG_", "6070", host="127.0.0.1"),
            "config": self._config,
            "backend": self._backend,
            "per_second_backend": self._per_second_backend,
            "backend_timeout": self._backend_timeout,
            "expiration_jitter": lambda: self._seconds("EXPIRATION_JITTER_MAX_SECONDS"),
            "over_limit_cache_size": self._cache,
            "on_backend_error": self._health,
            "max_connection_age": lambda: self._duration("GRPC_MAX_CONNECTION_AGE"),
            "max_connection_age_grace": lambda: self._duration("GRPC_MAX_CONNECTION_AGE_GRACE"),
            "log_level": self._log_level,
            "log_format": lambda: _Result(self.given["LOG_FORMAT"].lower()),
            "refund_over_limit": lambda: self._switch("STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT"),
            "tls_client_ca": lambda: self._tls("GRPC_CLIENT_TLS_CACERT"),
            "tls_client_san": lambda: self._tls("GRPC_CLIENT_TLS_SAN"),
            "tls_cert": lambda: self._tls("GRPC_SERVER_TLS_CERT"),
            "tls_key": lambda: self._tls("GRPC_SERVER_TLS_KEY"),
        }

    def result(self) -> Translation:
        lines: list[Line] = []
        left_out: list[tuple[str, str]] = []
        open_: list[tuple[str, str]] = []
        for setting, names in self._by_setting().items():
            result = self._value(setting, names)
            remarks = dict.fromkeys(VARIABLES[known_as(name)][1] for name in names)
            if result.value:
                if setting in _WRITTEN_OUT:
                    remarks = {}
                notes = (*result.notes, *(remark for remark in remarks if remark != SAME))
                lines.append(Line(variable(setting), result.value, tuple(names), notes))
            else:
                reason = "; ".join(result.notes or remarks)
                (open_ if result.open else left_out).extend((name, reason) for name in names)
        for name in self.given:
            setting, remark = VARIABLES[known_as(name)]
            if name.startswith("OTEL_"):
                lines.append(Line(name, self.given[name], (name,), (remark,)))
            elif not setting:
                (open_ if self._needs_a_hand(name) else left_out).append((name, remark))
        return _without_mistakes(Translation(tuple(lines), tuple(left_out), tuple(open_)))

    def _by_setting(self) -> dict[str, list[str]]:
        """The given variables of each setting, in the order of the table; rules always have one."""
        found: dict[str, list[str]] = {"config": []} if self.given else {}
        for name in sorted(self.given, key=_place):
            setting = VARIABLES[known_as(name)][0]
            if setting:
                found.setdefault(setting, []).append(name)
        return found

    def _value(self, setting: str, names: Sequence[str]) -> _Result:
        builder = self._builders.get(setting)
        if builder is not None:
            return builder()
        is_switch = Settings.model_fields[setting].annotation is bool
        return self._switch(names[0]) if is_switch else _Result(self.given[names[0]])

    def _needs_a_hand(self, name: str) -> bool:
        """Whether the old server relied on what is not there now: xDS, Memcached."""
        if name == "CONFIG_TYPE":
            return self.given[name].upper() != "FILE"
        return name == "TRACING_ENABLED" and self._is_on(name) and "OTEL_EXPORTER_OTLP_ENDPOINT" not in self.given

    def _is_on(self, name: str) -> bool:
        return self.given.get(name, "").lower() in _TRUE

    def _switch(self, name: str) -> _Result:
        text = self.given[name].lower()
        if text not in (*_TRUE, *_FALSE):
            return _Result("", (f"`{self.given[name]}` is neither true nor false",), open=True)
        return _Result("true" if text in _TRUE else "false")

    def _address(self, prefix: str, port: str, host: str = "0.0.0.0") -> _Result:  # noqa: S104
        """PROMETHEUS_ADDR alone says nothing about it."""
        names = (f"{prefix}HOST", f"{prefix}PORT")
        if not any(name in self.given for name in names):
            return _Result("")
        text = self.given.get(names[1], port)
        if not (text.isascii() and text.isdecimal() and int(text) < 65_536):
            return _Result("", (f"`{text}` is no port",), open=True)
        return _Result(join_address(self.given.get(names[0], host), int(text)))

    def _grpc(self) -> _Result:
        if path := self.given.get("GRPC_UDS"):
            return _Result(f"unix:{path}")
        return self._address("GRPC_", "8081")

    def _config(self) -> _Result:
        if self.given.get("CONFIG_TYPE", "FILE").upper() != "FILE":
            return _Result("", ("rules came by xDS: write them into files, and name these in RLS_CONFIG",), open=True)
        root = self.given.get("RUNTIME_ROOT", "/srv/runtime_data/current")
        parts = (root, self.given.get("RUNTIME_SUBDIRECTORY", ""), self.given.get("RUNTIME_APPDIRECTORY", "config"))
        notes = [] if self.given.get("RUNTIME_SUBDIRECTORY") else ["without RUNTIME_SUBDIRECTORY: check the path"]
        if self.given.get("RUNTIME_WATCH_ROOT", "true").lower() in _TRUE:
            notes.append(VARIABLES["RUNTIME_WATCH_ROOT"][1])
        return _Result("/".join(part.rstrip("/") for part in parts if part), tuple(notes))

    def _backend(self) -> _Result:
        if self.given.get("BACKEND_TYPE", "redis").lower() != "redis":
            return _Result("", ("no Memcached: name a Redis in RLS_BACKEND",), open=True)
        found = old_redis.backend(self.given, self._is_on)
        return _Result(found.url, (found.open,) if found.open else (*found.notes, _BOTH), open=bool(found.open))

    def _per_second_backend(self) -> _Result:
        if not self._is_on("REDIS_PERSECOND"):
            return _Result("", (_UNUSED.format("REDIS_PERSECOND"),))
        found = old_redis.backend(self.given, self._is_on, per_second=True)
        return _Result(found.url, (found.open,) if found.open else found.notes, open=bool(found.open))

    def _backend_timeout(self) -> _Result:
        names = [name for name in ("REDIS_TIMEOUT", "REDIS_PERSECOND_TIMEOUT") if name in self.given]
        found = [self._duration(name) for name in names]
        bad = next((result for result in found if result.open), None)
        if bad is not None:
            return bad
        shortest = min(found, key=lambda result: parse_duration(result.value))
        if parse_duration(shortest.value) <= ENVOYS_TIMEOUT:
            return shortest
        return _Result(
            "", (f"{shortest.value} is longer than Envoy waits (20ms by default): 10ms, the default, is kept",)
        )

    def _duration(self, name: str) -> _Result:
        text = self.given[name]
        try:
            parse_duration(text)
        except ValueError as error:
            return _Result("", (f"`{text}` is no duration, expected {error}",), open=True)
        return _Result(text)

    def _seconds(self, name: str) -> _Result:
        text = self.given[name]
        if not (text.isascii() and text.isdecimal()):
            return _Result("", (f"`{text}` is no number of seconds",), open=True)
        return _Result(f"{text}s")

    def _cache(self) -> _Result:
        text = self.given["LOCAL_CACHE_SIZE_IN_BYTES"]
        if not (text.isascii() and text.isdecimal()):
            return _Result("", (f"`{text}` is no number of bytes",), open=True)
        counters = -(-int(text) // _BYTES_OF_A_COUNTER)
        return _Result(str(counters), (f"{_BYTES_OF_A_COUNTER} bytes for each",) if counters else ())

    def _health(self) -> _Result:
        if not self._is_on("REDIS_HEALTH_CHECK_ACTIVE_CONNECTION"):
            return _Result("", ("the default, `local`: ready while Redis does not answer",))
        return _Result("error")

    def _log_level(self) -> _Result:
        level = self.given["LOG_LEVEL"].lower()
        return _Result(_LEVELS.get(level, level))

    def _tls(self, name: str) -> _Result:
        if not self._is_on("GRPC_SERVER_USE_TLS"):
            return _Result("", (_UNUSED.format("GRPC_SERVER_USE_TLS"),))
        return _Result(self.given[name])


def _without_mistakes(done: Translation) -> Translation:
    """*done*, where lines with which no server starts need a hand."""
    mistakes = unusable({line.setting: line.value for line in done.lines if line.setting})
    wrong = [line for line in done.lines if line.setting in mistakes]
    open_ = [
        (name, f"no server starts with it: {explained(line.name, redacted(line.value), mistakes[line.setting])}")
        for line in wrong
        for name in line.sources
    ]
    return done._replace(lines=tuple(line for line in done.lines if line not in wrong), open=(*done.open, *open_))


_ORDER = {name: number for number, name in enumerate(VARIABLES)}


def _place(name: str) -> int:
    """Where *name* stands in the table."""
    return _ORDER[known_as(name)]

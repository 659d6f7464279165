"""A store from outside: counters in a file of SQLite, which all processes of a machine may share. All of it stands here."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

from rls.core.update import CounterUpdate
from rls.errors import BackendError, SettingsError
from rls.stores.base import CounterStore, Done
from rls.stores.schemes import StoreOptions

_TABLE = "CREATE TABLE IF NOT EXISTS counters (key BLOB PRIMARY KEY, count INTEGER, expires_at INTEGER)"
_READ = "SELECT count FROM counters WHERE key = ?"
_CHANGE = (
    "INSERT INTO counters VALUES (?1, max(0, ?2), ?3) "
    "ON CONFLICT (key) DO UPDATE SET count = max(0, count + ?2) RETURNING count"
)
_EXPIRE = "DELETE FROM counters WHERE expires_at <= ?"


class SqliteStore(CounterStore):
    """Each call is a transaction, and done when `submit` returns."""

    def __init__(self, path: str, options: StoreOptions) -> None:
        self._path = path
        self._options = options
        self._opened: sqlite3.Connection | None = None
        self._swept_at = 0

    def submit(self, updates: Sequence[CounterUpdate], done: Done) -> Sequence[int]:
        try:
            connection = self._connection()
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                self._sweep(connection)
                return [self._count_after(connection, update) for update in updates]
        except sqlite3.Error as error:
            raise BackendError(f"SQLite at {self._path}: {error}") from error

    def _count_after(self, connection: sqlite3.Connection, update: CounterUpdate) -> int:
        if update.amount:
            found = connection.execute(_CHANGE, (update.key, update.amount, update.expires_at)).fetchone()
        else:
            found = connection.execute(_READ, (update.key,)).fetchone()
        return int(found[0]) if found else 0

    def _sweep(self, connection: sqlite3.Connection) -> None:
        now = int(time.time())
        if now != self._swept_at:
            self._swept_at = now
            connection.execute(_EXPIRE, (now,))

    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            self._opened = sqlite3.connect(
                self._path, timeout=self._options.timeout_seconds, isolation_level=None, check_same_thread=False
            )
            self._opened.execute("PRAGMA journal_mode = WAL")
            self._opened.execute("PRAGMA synchronous = OFF")
            self._opened.execute(_TABLE)
        return self._opened

    async def ping(self) -> None:
        end = int(time.time()) + 60
        await self.update([CounterUpdate(f"{self._options.key_prefix}ping".encode(), 1, 1, end, 60)])

    async def aclose(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None


def open_sqlite(url: str, options: StoreOptions) -> CounterStore:
    path = url.removeprefix("sqlite://")
    if not path.startswith("/"):
        raise SettingsError(f"{url}: there is no path, expected sqlite:///PATH")
    return SqliteStore(path, options)

"""One Redis node: whether it can be used, and what happens when that changes."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from rls.core.update import CounterUpdate
from rls.errors import BackendError, TimedOut
from rls.stores.redis.connection import NodeConnection
from rls.stores.redis.endpoint import Endpoint, NodeOptions
from rls.stores.redis.password import PasswordRotation
from rls.stores.redis.pending_batch import PendingBatch
from rls.stores.redis.reconnect import Reconnect
from rls.stores.redis.sender import Sender
from rls.stores.redis.ttl_debt import TtlDebt
from rls.stores.redis.ttl_tracker import TtlTracker
from rls.stores.redis.write_probe import WriteProbe


class State(Enum):
    """The state of a node's connection. Whether calls are counted meanwhile is in the node's `error`."""

    DISCONNECTED = auto()
    """The first call connects. After that the node reconnects in the background until it succeeds."""
    CONNECTED = auto()
    RETIRED = auto()
    """Connected until all calls that were given to it are answered."""
    CLOSED = auto()


class Node:
    """One node. Belongs to the loop in which it is first used.

    Until the first attempt to connect has ended, calls wait for it. From then on calls fail at once while there is no
    connection, or while the node does not answer or refuses writes; see `WriteProbe`.

    Args:
        endpoint: Where the node is.
        options: Its time limits and the like.
        ping: See `WriteProbe`.
        on_error_replies: Called with a batch of which commands were refused, before its calls get their counts.
        on_change: Called when `error` is set, and when it is cleared.

    Attributes:
        doubts: How often its counters may have been lost: it counts new connections, and counters that began at 0 again.
        error: Why calls fail at once; None while they are sent.
        sender: Sends what calls add to its next batch.
        state: See `State`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        options: NodeOptions,
        *,
        ping: Callable[[Node], CounterUpdate | None],
        on_error_replies: Callable[[Node, PendingBatch], None],
        on_change: Callable[[Node], None] = lambda _: None,
    ) -> None:
        self.endpoint = endpoint
        self.doubts = 0
        self.error: BackendError | None = None
        self.state = State.DISCONNECTED
        self._on_error_replies = on_error_replies
        self._on_change = on_change
        self._ttl_tracker = TtlTracker(options)
        self._ttl_debt = TtlDebt(options, endpoint.address)
        self.sender = Sender(
            endpoint.address,
            options,
            self._ttl_tracker,
            on_needed=self.open,
            on_replies=self._on_replies,
            on_late=self._on_late,
        )
        self._reconnect = Reconnect(
            endpoint,
            options,
            on_open=self._on_open,
            on_disconnect=self._on_disconnect,
            on_failed=self._on_connect_failed,
        )
        self._password_rotation = PasswordRotation(endpoint.password_file, self.query)
        self._write_probe = WriteProbe(self, ping)

    @property
    def is_closed(self) -> bool:
        """Whether it is closed, and no attempt to connect is left."""
        return self.state is State.CLOSED and not self._reconnect.is_under_way

    @property
    def is_answering(self) -> bool:
        """Whether it is connected, and no reply is overdue; it may refuse writes."""
        return self.sender.is_answering

    @property
    def last_end(self) -> int:
        """When the last window ends that we have counted in here, in Unix seconds; 0 where there was none."""
        return self._ttl_tracker.last_end

    def open(self) -> None:
        """Connect in the background, unless that is under way."""
        if self.state is State.DISCONNECTED:
            self._reconnect.start()

    def go_down(self, error: BackendError) -> None:
        """From now on calls fail at once."""
        was_up, self.error = self.error is None, error
        if was_up:
            self._on_change(self)

    def come_back(self) -> None:
        """From now on calls are sent."""
        was_down, self.error = self.error is not None, None
        if was_down:
            self._on_change(self)

    async def query(self, command: bytes) -> Any:
        """The reply to a packed *command* that is not an update; it goes out with the next write.

        Raises:
            BackendError: No reply came, or the reply is an error.
        """
        if self.error is not None and not self.is_answering:
            raise self.error.with_traceback(None)
        pending = self.sender.next_batch
        number = pending.batch.add_command(command)
        if not pending.is_scheduled:
            self.sender.schedule()
        await pending.wait()
        return await pending.reply(number)

    def set_ttl(self, update: CounterUpdate) -> None:
        """Set the TTL of the counter of *update* with the next write; if the node is down, with the first one after that."""
        pending = self.sender.next_batch
        pending.batch.add_expire(update)
        if not pending.is_scheduled and self.state is not State.CLOSED:
            if self.error is None:
                self.sender.schedule()
            else:
                pending.is_scheduled = True  # for whatever write comes next

    def disconnect(self, reason: str) -> None:
        """Close the connection and open another: where its name has several addresses, it leads to another node."""
        if self.sender.connection is not None:
            self.sender.connection.abandon(reason)

    def retire(self) -> list[CounterUpdate]:
        """Close it as soon as all calls that were given to it are answered.

        Returns:
            Updates whose counters still need a TTL, and will not get it from this node.
        """
        deferred = self._ttl_debt.deferred
        if self.is_answering:
            self.state = State.RETIRED
            self._close_if_idle()
        else:
            deferred += self.sender.next_batch.batch.expires()
            self.close()
        return deferred

    async def aclose(self) -> None:
        """Close the connection; calls under way fail."""
        self.close()
        await self._reconnect.wait_stopped()

    def close(self) -> None:
        """As `aclose`, but without waiting for an attempt to connect to end."""
        self.state = State.CLOSED
        self.error = BackendError("the backend is closed")
        self._reconnect.stop()
        if self.sender.connection is not None:
            self.sender.connection.close()
        self._password_rotation.stop()
        self._write_probe.forget()
        self._ttl_debt.close()
        self._fail(self.error)
        self.sender.detach()

    def _close_if_idle(self) -> None:
        if self.state is State.RETIRED and self.sender.is_idle:
            self.close()

    def _fail(self, error: BackendError) -> None:
        """Fail all calls that wait. What was to set TTLs goes on to the next batch."""
        unsent = self.sender.fail(error)
        self._write_probe.forget(unsent)
        for update in unsent.batch.expires():
            self.set_ttl(update)

    def _on_replies(self, pending: PendingBatch) -> None:
        batch = pending.batch
        if batch.ttl_set:
            self._ttl_tracker.remember(batch.ttl_set)
        if batch.ttl:
            self._ttl_debt.learn(batch.ttl)
        if batch.errors:
            self._on_error_replies(self, pending)
            self._ttl_debt.defer(pending.ttls_refused())
        if batch.errors or self._write_probe.is_in_doubt:
            self._write_probe.judge(pending)
        if not batch.errors:
            self._reconnect.reset()
        for update in self._ttl_debt.due(batch):
            self.doubts += 1
            self.set_ttl(update)
        self._close_if_idle()

    def _on_late(self, error: TimedOut) -> None:
        if self.state is State.DISCONNECTED:
            if self.error is None:
                self._on_disconnect(error)
        else:
            self.go_down(error)
            self._fail(error)

    def _on_open(self, connection: NodeConnection) -> None:
        self.state = State.CONNECTED
        self.doubts += 1
        self.sender.attach(connection)
        self._password_rotation.start()
        if self.error is not None:
            self._write_probe.start()
        self.sender.flush()

    def _on_connect_failed(self, error: BackendError) -> None:
        if self.state is not State.CLOSED:
            if self.error is None:
                self._on_disconnect(error)
            self.error = error

    def _on_disconnect(self, error: BackendError) -> None:
        """There is no connection, or there was none in time: fail what waits, and connect in the background."""
        is_retired = self.state is State.RETIRED
        lost = self.sender.in_flight
        self._password_rotation.stop()
        self._write_probe.forget()
        # The counters may be gone, and their TTLs with them; and what the lost replies said of TTLs is unknown.
        self._ttl_tracker.forget()
        self.go_down(error)
        self._fail(error)
        self.sender.detach()
        self.state = State.DISCONNECTED
        for update in [] if lost is None else lost.batch.maybe_without_ttl():
            self.set_ttl(update)
        if is_retired:
            self.close()
        self.open()

"""Error replies: the node is alive, and has not executed the command."""

from __future__ import annotations

from typing import NamedTuple

# A replica; one that has lost its primary; a node that requires a password by now.
_NOT_THE_PRIMARY = frozenset({"READONLY", "MASTERDOWN", "NOAUTH"})
_PERMANENT = frozenset({"NOPERM", "ERR"})
_OF_COUNTER = ("WRONGTYPE", "ERR value is not an integer", "ERR increment or decrement would overflow")
_TEMPORARY = frozenset({"LOADING", "CLUSTERDOWN", "READONLY", "MASTERDOWN", "NOAUTH", "BUSY", "TRYAGAIN", "NOREPLICAS"})


class ErrorReply(NamedTuple):
    """An error reply, parsed.

    Attributes:
        kind: Its first word.
        slot: Of MOVED and ASK: the slot that another node serves.
        host: Of MOVED and ASK: the host of that node; empty if it is the host of the node that replied.
        port: Of MOVED and ASK.
    """

    kind: str
    slot: int = -1
    host: str = ""
    port: int = 0

    @classmethod
    def of(cls, error: Exception) -> ErrorReply:
        """Parse *error*: `MOVED 3999 127.0.0.1:6381`, `ASK 3999 :6381`, `LOADING …`."""
        words = str(error).split()
        kind = words[0] if words else ""
        if kind not in {"MOVED", "ASK"}:
            return cls(kind)
        try:
            host, _, port = words[2].rpartition(":")
            return cls(kind, int(words[1]), host.strip("[]?"), int(port))
        except (IndexError, ValueError):
            return cls("")

    @property
    def is_redirection(self) -> bool:
        """Whether it names the node that would execute the command."""
        return self.kind in {"MOVED", "ASK"}

    @property
    def is_temporary(self) -> bool:
        """Whether the same command may succeed a little later."""
        return self.kind in _TEMPORARY

    @property
    def is_permanent(self) -> bool:
        """Whether only a change of our user's rights, or of the server's commands, ends it."""
        return self.kind in _PERMANENT

    @property
    def is_not_the_primary(self) -> bool:
        """Whether another connection to the same name may lead to a node that executes the command."""
        return self.kind in _NOT_THE_PRIMARY


def is_of_counter(error: Exception, amount: int) -> bool:
    """Whether *error*, the reply to an update by *amount*, is about its counter alone: others of the node can be counted.

    The key does not hold a number, or our user lacks a right that counting does not need: GET to read, EVAL to refund.
    """
    if isinstance(error, ValueError):  # the reply to a GET, and not a number
        return True
    return str(error).startswith(_OF_COUNTER) or (amount <= 0 and ErrorReply.of(error).is_permanent)

"""What a node answers instead of a count: it is alive, and has not executed the command."""

from __future__ import annotations

from typing import NamedTuple

# A replica; one that has lost its primary; a node that wants a password by now.
_NOT_THE_PRIMARY = frozenset({"READONLY", "MASTERDOWN", "NOAUTH"})
_FOR_GOOD = frozenset({"NOPERM", "ERR"})
_OF_COUNTER = ("WRONGTYPE", "ERR value is not an integer", "ERR increment or decrement would overflow")
_PASSING = frozenset({"LOADING", "CLUSTERDOWN", "READONLY", "MASTERDOWN", "NOAUTH", "BUSY", "TRYAGAIN", "NOREPLICAS"})


class ErrorReply(NamedTuple):
    """An error reply, taken apart.

    Attributes:
        kind: Its first word.
        slot: Of MOVED and ASK: the slot that is elsewhere.
        host: Of MOVED and ASK: where it is; empty where that is the host of the node that answered.
        port: Of MOVED and ASK.
    """

    kind: str
    slot: int = -1
    host: str = ""
    port: int = 0

    @classmethod
    def of(cls, error: Exception) -> ErrorReply:
        """Take *error* apart: `MOVED 3999 127.0.0.1:6381`, `ASK 3999 :6381`, `LOADING …`."""
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
        """Whether it says where the command would be executed."""
        return self.kind in {"MOVED", "ASK"}

    @property
    def is_passing(self) -> bool:
        """Whether the same command may be executed a little later."""
        return self.kind in _PASSING

    @property
    def is_for_good(self) -> bool:
        """Whether it needs somebody to change the rights of our user, or the commands that the server has."""
        return self.kind in _FOR_GOOD

    @property
    def is_not_the_primary(self) -> bool:
        """Whether another connection may be answered where this one is not."""
        return self.kind in _NOT_THE_PRIMARY


def is_of_counter(error: Exception, amount: int) -> bool:
    """Whether *error*, the answer to a hit of *amount*, is about its counter alone: others of the node can be counted.

    The key holds no number, or our user lacks a right that counting does not need: GET to look, EVAL to give back.
    """
    if isinstance(error, ValueError):  # a GET of what is no number
        return True
    return str(error).startswith(_OF_COUNTER) or (amount <= 0 and ErrorReply.of(error).is_for_good)

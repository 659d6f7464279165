"""The enforcement state as metrics and log lines."""

from __future__ import annotations

from rls.engine.enforcement import EnforcementState, Reason, State, Weakness
from rls.observe.logs import Log
from rls.observe.metrics import Metrics


def register_enforcement_metrics(metrics: Metrics, enforcement: EnforcementState) -> None:
    """Add the state of *enforcement* and its reasons to *metrics*."""
    metrics.register_gauge(
        "rls_enforcement_state",
        "1 for the current enforcement state, 0 for the others.",
        lambda: {str(state): int(state is enforcement.state) for state in State},
        "state",
    )
    metrics.register_gauge(
        "rls_enforcement_state_since_timestamp_seconds",
        "When the current enforcement state began, in Unix seconds.",
        lambda: enforcement.since,
    )
    metrics.register_gauge(
        "rls_enforcement_reason_since_timestamp_seconds",
        "When this reason began, in Unix seconds; 0 while it does not apply.",
        lambda: {str(reason): _since(enforcement, reason) for reason in Reason},
        "reason",
    )


def log_enforcement(log: Log, enforcement: EnforcementState) -> None:
    """Log each reason when it begins, changes its text or ends, except STARTING.

    `state` is the worst of the reasons that hold then, without STARTING: `server_ready` and `server_not_ready` tell of that.
    """
    logged: dict[Reason, str] = {}

    def changed(weakness: Weakness, holds: bool) -> None:
        if weakness.reason is Reason.STARTING or (holds and logged.get(weakness.reason) == weakness.text):
            return
        logged[weakness.reason] = weakness.text if holds else ""
        level = log.info if not holds else log.error if weakness.state is State.OFF else log.warning
        event = "enforcement_weakened" if holds else "enforcement_restored"
        level(
            event,
            reason=str(weakness.reason),
            state=str(enforcement.state_besides(Reason.STARTING)),
            detail=weakness.text,
        )

    enforcement.listen(changed)


def _since(enforcement: EnforcementState, reason: Reason) -> float:
    found = enforcement.find(reason)
    return 0.0 if found is None else found.since

"""What `rls mesh check` finds at proxies."""

from rls.mesh.checks import findings
from rls.mesh.filters import limited
from rls.mesh.findings import Severity
from tests.mesh.manifests import ISTIO

RULES = ISTIO.parent / "config" / "descriptors.yaml"


def found(*proxies, rules=None):
    return findings([limited(each) for each in proxies], rules)


def wrong(*proxies, rules=None):
    """Codes of what is more than a note."""
    return [each.code for each in found(*proxies, rules=rules) if each.severity is not Severity.NOTE]

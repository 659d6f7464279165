"""What istiod makes of Istio's objects for one proxy: listeners and clusters, in its names and its order.

As far as our objects need it, and each thing that it skips without a word it skips here, too. What it does was read in
its source, and compared with what that makes of our objects. What is not done here raises NotImplementedError.
"""

from tests.mesh.istiod.model import Kind, Port, Proxy, Service
from tests.mesh.istiod.render import Rendered, render

__all__ = ["Kind", "Port", "Proxy", "Rendered", "Service", "render"]

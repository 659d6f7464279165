"""HBONE: a listener that ends tunnels, and one inside of Envoy that takes what was in them.

After pilot/pkg/networking/core/{listener_waypoint,cluster_waypoint}.go and pilot/pkg/xds/filters of istio/istio. What it
puts into filter state is an Istio type there, and Envoy's own string here.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.mesh.istiod.envoyfilter import HCM
from tests.mesh.istiod.model import CONNECT_TERMINATE, MAIN_INTERNAL, Service
from tests.mesh.istiod.security import PEER_PRINCIPAL
from tests.mesh.manifests import Object

PORT = 15008
DIRECT_HTTP, ENCAP = "direct-http", "encap"
"""The chain of a waypoint for requests to a pod's own address, and the cluster that they go on to."""
_TYPES = "type.googleapis.com/envoy.extensions"
_UPSTREAM = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_ORIGINAL_DST = "envoy.filters.listener.original_dst"
# What the listener for tunnels tells the one behind it, by the names under which that looks for it.
_TOLD = {
    f"{_ORIGINAL_DST}.local_ip": "%REQ(:AUTHORITY)%",
    f"{_ORIGINAL_DST}.remote_ip": "%DOWNSTREAM_REMOTE_ADDRESS%",
    PEER_PRINCIPAL: "%DOWNSTREAM_PEER_URI_SAN%",
}


def connect_terminate(mtls: Object) -> Object:
    """Ends the tunnels of peers, each a CONNECT, in *mtls*; patches of virtual hosts do not reach its only one."""
    connect = {"upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}], "cluster": MAIN_INTERNAL}
    host = {"name": "default", "domains": ["*"], "routes": [{"match": {"connect_matcher": {}}, "route": connect}]}
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": CONNECT_TERMINATE,
        "use_remote_address": False,
        "route_config": {"name": "default", "virtual_hosts": [host], "validate_clusters": False},
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        "http2_protocol_options": {"allow_connect": True, "max_concurrent_streams": 100},
        "http_filters": [
            {"name": "connect_authority", "typed_config": _tell()},
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"},
            },
        ],
        "access_log": [],
    }
    chain = {"name": "default", "transport_socket": mtls, "filters": [{"name": HCM, "typed_config": manager}]}
    return {
        "name": CONNECT_TERMINATE,
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": PORT}},
        "filter_chains": [chain],
    }


def _tell() -> Object:
    values = [
        {
            "object_key": key,
            "format_string": {"text_format_source": {"inline_string": text}},
            "shared_with_upstream": "ONCE",
            **({"factory_key": "envoy.string"} if key == PEER_PRINCIPAL else {}),
        }
        for key, text in _TOLD.items()
    ]
    return {"@type": f"{_TYPES}.filters.http.set_filter_state.v3.Config", "on_request_headers": values}


def main_internal(chains: list[Object]) -> Object:
    """The listener inside, with the addresses that the tunnel was asked for and came from."""
    kind = f"{_TYPES}.filters.listener.original_dst.v3.OriginalDst"
    return {
        "name": MAIN_INTERNAL,
        "internal_listener": {},
        "traffic_direction": "INBOUND",
        "listener_filters": [{"name": _ORIGINAL_DST, "typed_config": {"@type": kind}}],
        "filter_chains": chains,
    }


def by_service(services: Sequence[Service]) -> Object:
    """Which chain is taken: by the address of the Service, then by its port; that for pods for any other address."""
    ranges = []
    for service in services:
        ports = {
            str(port.number): {
                "action": {
                    "name": f"inbound-vip|{port.number}|http|{service.host}",
                    "typed_config": _string(f"inbound-vip|{port.number}|http|{service.host}"),
                }
            }
            for port in service.ports
        }
        by_port = {"input": _input("DestinationPortInput"), "exact_match_map": {"map": ports}}
        found = {"address_prefix": service.address, "prefix_len": 32}
        ranges.append({"ranges": [found], "on_match": {"matcher": {"matcher_tree": by_port}}})
    matcher = {"@type": "type.googleapis.com/xds.type.matcher.v3.IPMatcher", "range_matchers": ranges}
    custom = {"name": "ip", "typed_config": matcher}
    # istiod looks at the protocol here, and takes direct-tcp for what is no HTTP.
    other = {"name": DIRECT_HTTP, "typed_config": _string(DIRECT_HTTP)}
    tree = {"input": _input("DestinationIPInput"), "custom_match": custom}
    return {"matcher_tree": tree, "on_no_match": {"action": other}}


def _string(value: str) -> Object:
    return {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": value}


def _input(name: str) -> Object:
    return {"name": name, "typed_config": {"@type": f"{_TYPES}.matching.common_inputs.network.v3.{name}"}}


def internal_cluster() -> Object:
    """Leads to the listener inside, and takes along what it is told."""
    kind = f"{_TYPES}.transport_sockets"
    socket = {
        "@type": f"{kind}.internal_upstream.v3.InternalUpstreamTransport",
        "transport_socket": {
            "name": "envoy.transport_sockets.raw_buffer",
            "typed_config": {"@type": f"{kind}.raw_buffer.v3.RawBuffer"},
        },
    }
    address = {"envoy_internal_address": {"server_listener_name": MAIN_INTERNAL}}
    return {
        "name": MAIN_INTERNAL,
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": MAIN_INTERNAL,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "typed_extension_protocol_options": {
            _UPSTREAM: {
                "@type": f"type.googleapis.com/{_UPSTREAM}",
                "use_downstream_protocol_config": {"http2_protocol_options": {}},
            }
        },
        "transport_socket": {"name": "envoy.transport_sockets.internal_upstream", "typed_config": socket},
    }

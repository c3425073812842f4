"""Envoy's configuration with api_key_auth: as a structure, for its thousand keys stand in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .keys import Key

HTTP = "type.googleapis.com/envoy.extensions.filters.http"
FIXED_HEADERS = {"X-Key-Id": "key_bench000000001", "X-Scopes": "read,write", "X-Auth-Method": "api_key"}


def configuration(ports: Mapping[str, int], run: Path, keys: Sequence[Key]) -> dict[str, Any]:
    """One cluster, a cleartext listener (HTTP/1.1 and HTTP/2 by what the client begins with) and a TLS one."""
    return {
        "admin": {"address": _address(ports["ADMIN"])},
        "static_resources": {
            "listeners": [_listener(ports["H1"], keys, None), _listener(ports["TLS"], keys, _tls(run))],
            "clusters": [_cluster(ports["UPSTREAM"])],
        },
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _listener(port: int, keys: Sequence[Key], tls: dict[str, Any] | None) -> dict[str, Any]:
    chain: dict[str, Any] = {"filters": [{"name": "http", "typed_config": _connection_manager(keys)}]}
    if tls:
        chain["transport_socket"] = tls
    return {"name": f"port-{port}", "address": _address(port), "filter_chains": [chain]}


def _connection_manager(keys: Sequence[Key]) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "codec_type": "AUTO",
        "generate_request_id": False,
        "http2_protocol_options": {"max_concurrent_streams": 256},
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [_route()]}]},
        "http_filters": [
            {"name": "api_key_auth", "typed_config": _api_key_auth(keys)},
            {"name": "router", "typed_config": {"@type": f"{HTTP}.router.v3.Router", "suppress_envoy_headers": True}},
        ],
    }


def _route() -> dict[str, Any]:
    # The filter forwards the client's name alone; the other headers are set to fixed values, which is as much work.
    added = [
        {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"} for name, value in FIXED_HEADERS.items()
    ]
    return {"match": {"prefix": "/"}, "route": {"cluster": "api", "timeout": "0s"}, "request_headers_to_add": added}


def _api_key_auth(keys: Sequence[Key]) -> dict[str, Any]:
    return {
        "@type": f"{HTTP}.api_key_auth.v3.ApiKeyAuth",
        "key_sources": [{"header": "Authorization"}],
        "forwarding": {"header": "X-Tenant-Id", "hide_credentials": True},
        "credentials": [{"key": key.secret, "client": key.tenant} for key in keys],
    }


def _tls(run: Path) -> dict[str, Any]:
    certificate = {"certificate_chain": {"filename": str(run / "tls.crt")}, "private_key": {"filename": str(run / "tls.key")}}
    return {
        "name": "tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [certificate]},
        },
    }


def _cluster(port: int) -> dict[str, Any]:
    many = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000, "max_retries": 100}
    return {
        "name": "api",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [many]},
        "load_assignment": {"cluster_name": "api", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]},
    }

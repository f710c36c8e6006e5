"""Server addresses: their form, the way to them, and the key."""

import ipaddress
import urllib.request
from urllib.parse import urlsplit

from spar_core.errors import EngineError
from spar_core.secrets import fetched


def with_version(url: str) -> str:
    """The address with scheme and path: http and /v1 where it has none.

    Raises:
        EngineError: it is no address.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise EngineError(f"{url!r} is no server address: give one like http://localhost:8000/v1")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}"


def is_on_this_machine(url: str) -> bool:
    """Whether the address is a loopback one."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for a server (HTTPS_PROXY, ALL_PROXY, NO_PROXY ...); none on this machine.

    Raises:
        EngineError: it is of a kind that is not supported.
    """
    parts = urlsplit(url)
    if is_on_this_machine(url) or urllib.request.proxy_bypass(parts.netloc):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    if proxy and not proxy.startswith(("http://", "https://")):
        kind = proxy.partition(":")[0]
        raise EngineError(
            f"the environment's proxy for {parts.netloc} is of kind {kind}, which is not supported: name an http "
            f"proxy in {parts.scheme.upper()}_PROXY, or the host in NO_PROXY"
        )
    return proxy


def api_key_from(variable: str | None) -> str | None:
    """The key in an environment variable; None where no variable is named.

    Raises:
        ConfigError: the variable is named but not set.
    """
    return None if variable is None else fetched(variable, "api_key_env")

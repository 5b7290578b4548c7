"""The names of this machine; a sandbox answers to no others."""

import re
from ipaddress import ip_address

_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.]+))(?::[0-9]{1,5})?")


def url_host(host: str) -> str:
    """Write a host as a URL has it."""
    return f"[{host}]" if ":" in host else host


def check_host(host: str) -> None:
    """Refuse a name or an address that somebody outside this machine could reach."""
    if not _is_loopback(host):
        raise ValueError(f"host must be a loopback address such as 127.0.0.1, not {host!r}")


def is_own_host(authority: str) -> bool:
    """Whether a request's ``Host`` names this machine.

    Any port is taken: a proxy or a tunnel on this machine has another one, and passes it on.
    """
    match = _AUTHORITY.fullmatch(authority)
    return match is not None and _is_loopback((match[1] or match[2]).lower())


# The library's own check of a base URL is private, and the sandbox uses public names alone.
def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False

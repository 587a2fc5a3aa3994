"""Which addresses no model server has: those of one link only (where clouds serve their machines' credentials), of many machines, of none.

Everything else may be named by an administrator, servers on this machine and in private networks too, for that is where local models run.
"""

import ipaddress
import re
import socket
from urllib.parse import urlsplit

FORBIDDEN = "This address is not that of a model server."
UNUSUAL = "Write the address in the usual way: a name, four decimal numbers such as 192.168.1.20, or IPv6 in brackets."
NAT64 = ipaddress.ip_network("64:ff9b::/96")
CLOUD_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200")))  # those not link-local

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def problem_of_host(host: str) -> str:
    """Return why a host as it is written cannot be a provider's, else an empty text. Asks no name server."""
    name = host.rstrip(".").partition("%")[0]
    try:
        return FORBIDDEN if is_forbidden(ipaddress.ip_address(name)) else ""
    except ValueError:
        pass
    last = name.rpartition(".")[2]
    if not name or re.fullmatch(
        r"[0-9]+|0[xX][0-9a-fA-F]*", last
    ):  # 2130706433, 0x7f.1, 0177.0.0.1: resolvers take them
        return UNUSUAL
    return ""


def problem_of_url(base_url: str) -> str:
    """Return why a URL's host cannot be a provider's, by what its name leads to now. A name that leads nowhere is no problem of ours."""
    host = urlsplit(base_url).hostname or ""
    problem = problem_of_host(host)
    if problem:
        return problem
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ""
    addresses = {str(entry[4][0]).partition("%")[0] for entry in found}
    return FORBIDDEN if any(is_forbidden(ipaddress.ip_address(address)) for address in addresses) else ""


def is_forbidden(address: Address) -> bool:
    """Say whether no model server can be at an address; one that holds an IPv4 address is judged by that."""
    inner = inner_address(address)
    return inner.is_link_local or inner.is_multicast or inner.is_unspecified or inner in CLOUD_METADATA


def inner_address(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for (mapped, 6to4, NAT64, compatible), else the address itself."""
    if not isinstance(address, ipaddress.IPv6Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is not None:
        return inner
    number = int(address)
    if address in NAT64 or 1 < number < 2**32:
        return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    return address

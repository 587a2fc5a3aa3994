"""Whose request it is, behind proxies too. Pure."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network


def read_networks(text: str) -> list[Network]:
    """Read addresses and networks with commas between them: `10.0.0.7, 192.168.0.0/24`. Raises ValueError for anything else."""
    return [ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip()]


def is_in(address: str, networks: Sequence[Network]) -> bool:
    """Say whether an address lies in one of the networks; text that is none does not."""
    try:
        known = ip_address(address.strip())
    except ValueError:
        return False
    return any(known in network for network in networks)


def client_address(remote: str, forwarded: str, trusted: Sequence[Network]) -> str:
    """Return the address of who calls: `remote`, or, where that is a trusted proxy, the last one it forwards that is not.

    `forwarded` is X-Forwarded-For: each proxy adds at the end who called it, so what lies before the first address that no proxy
    of ours vouches for can be made up, and is not read.
    """
    address = remote
    for name in reversed(forwarded.split(",")):
        if not is_in(address, trusted):
            break
        try:
            address = str(ip_address(name.strip()))
        except ValueError:
            break
    return address

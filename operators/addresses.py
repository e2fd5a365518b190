"""Owns which network addresses belong to the public internet, and so may be gone to on a stranger's word.

    is_public("1.1.1.1")           ->  True
    is_public("::ffff:10.0.0.1")   ->  False
    is_public("64:ff9b::a00:1")    ->  False, as 10.0.0.1 is behind it

The tables are IANA's registries of special-purpose addresses, written out: `ipaddress.is_global` of older
interpreters calls multicast, site-local addresses and 192.0.0.192 (a cloud's metadata) global.
"""

from __future__ import annotations

import ipaddress

__all__ = ["is_public"]

_SPECIAL_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host; connecting to 0.0.0.0 reaches the loopback interface
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by carriers; clouds answer there
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's own services, on every machine there
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")  # all that is given out for use on the internet
_SPECIAL_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocols, Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4, given up: an IPv4 address follows
        "3fff::/20",
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # IPv4 as networks with IPv6 alone reach it


def is_public(address: str) -> bool:
    """Whether a numeric address (a zone may follow) is global unicast, and what it stands for is as well.

    Raises:
        ValueError: `address` is not a numeric address.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed not in _NAT64:
            return parsed in _UNICAST_V6 and not any(parsed in network for network in _SPECIAL_V6)
        parsed = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
    return not any(parsed in network for network in _SPECIAL_V4)

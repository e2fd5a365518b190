"""What counts as the public internet: never more than IANA's registries allow, however it is spelled."""

from __future__ import annotations

import ipaddress
import random

import pytest

from operators.addresses import is_public

NOT_PUBLIC = [
    "0.0.0.0",
    "10.1.2.3",
    "100.100.100.200",  # Alibaba's metadata
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",  # Azure's services
    "169.254.169.254",  # AWS's, Google's and Azure's metadata
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",  # Oracle's metadata
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",  # 127.0.0.1, as it was once spelled
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a00:1",
    "2001:0:0:0:0:0:f5ff:fffe",  # Teredo of 10.0.0.1
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",  # AWS's metadata
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_what_is_not_the_internet_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "64:ff9b::101:101"]
)
def test_what_is_the_internet_is_public(address: str) -> None:
    assert is_public(address)


def test_nothing_is_public_that_the_interpreter_calls_special() -> None:
    draw = random.Random(7)
    near = [int(network.network_address) for network in map(ipaddress.ip_network, ("2001::/16", "2002::/16"))]
    for _ in range(20_000):
        old = ipaddress.IPv4Address(draw.getrandbits(32))
        new = ipaddress.IPv6Address(draw.choice([*near, 0, draw.getrandbits(128)]) | draw.getrandbits(96))
        for one in (old, new):
            special = not one.is_global or one.is_multicast or one.is_link_local
            assert not (special and is_public(str(one))), one
        assert is_public(f"64:ff9b::{old}") == is_public(str(old))


def test_a_name_is_no_address() -> None:
    with pytest.raises(ValueError, match="localhost"):
        is_public("localhost")

"""Addresses as numbers. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address


def address_of(text: str) -> IPv4Address | IPv6Address:
    """An IPv4 address inside an IPv6 one counts as what it is on the wire."""
    address = ip_address(text)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address

"""Where a gateway without keys may listen."""

from ipaddress import IPv6Address, ip_address

from avengers_pro.errors import SettingsError


def check_binding(host: str, keys_exist: bool, insecure: bool) -> None:  # noqa: FBT001
    """Refuse to let everybody spend the operator's money.

    Args:
        host: Name or address to listen on; empty = all addresses of this machine.
        keys_exist: Whether there is a key that may be used.
        insecure: Whether the operator says that something else checks who calls.

    Raises:
        SettingsError: If other machines could reach the gateway, and no key is needed.
    """
    if keys_exist or insecure or is_loopback(host):
        return
    raise SettingsError(
        f"host is {host!r}, which other machines can reach, and there is no API key: everybody there could spend your "
        "money. Make a key with 'avengers-pro keys create NAME', or listen on 127.0.0.1, or, if something in front of "
        "the gateway checks who calls, say --insecure"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the host: localhost, 127.x.x.x or ::1. Other names are not looked up."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback

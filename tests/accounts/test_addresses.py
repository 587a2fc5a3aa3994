import pytest

from accounts.addresses import client_address, read_networks

TRUSTED = read_networks("10.0.0.7, 192.168.0.0/24, fd00::/8")


@pytest.mark.parametrize(
    ("remote", "forwarded", "found"),
    [
        ("203.0.113.5", "", "203.0.113.5"),
        ("203.0.113.5", "198.51.100.1", "203.0.113.5"),  # not from a proxy of ours: made up
        ("10.0.0.7", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.7", "1.2.3.4, 198.51.100.1", "198.51.100.1"),  # what stood before was sent by the caller
        ("10.0.0.7", "1.2.3.4, 198.51.100.1, 192.168.0.9", "198.51.100.1"),  # two proxies
        ("10.0.0.7", "not an address", "10.0.0.7"),
        ("10.0.0.7", "", "10.0.0.7"),
        ("fd00::1", "2001:db8::5", "2001:db8::5"),
        ("", "198.51.100.1", ""),
    ],
)
def test_the_caller_is_the_last_address_that_a_trusted_proxy_names(remote, forwarded, found):
    assert client_address(remote, forwarded, TRUSTED) == found


def test_without_trusted_proxies_the_header_is_not_read():
    assert client_address("10.0.0.7", "198.51.100.1", read_networks("")) == "10.0.0.7"

import socket

import pytest

from providers.addresses import FORBIDDEN, UNUSUAL, problem_of_host, problem_of_url


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.169.254.",
        "100.100.100.200",
        "::ffff:100.100.100.200",
        "::ffff:169.254.169.254",
        "::ffff:a9fe:a9fe",
        "::a9fe:a9fe",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
    ],
)
def test_addresses_where_no_model_server_is_are_refused_however_they_are_written(host):
    assert problem_of_host(host) == FORBIDDEN


@pytest.mark.parametrize(
    "host", ["2852039166", "0xa9fea9fe", "0xA9.254.169.254", "0251.0376.0251.0376", "169.254.43518", "127.1", "0"]
)
def test_odd_notations_that_resolvers_take_are_refused(host):
    assert problem_of_host(host) == UNUSUAL


@pytest.mark.parametrize(
    "host",
    ["api.example.com", "localhost", "127.0.0.1", "10.0.0.7", "192.168.1.20", "::1", "fd12::7", "gpu-3", "7b.local"],
)
def test_servers_on_this_machine_and_in_private_networks_can_be_named(host):
    assert problem_of_host(host) == ""


def test_a_name_is_judged_by_what_it_leads_to(monkeypatch):
    found = {"metadata.example": "169.254.169.254", "gpu.example": "10.0.0.7"}

    def look_up(host, *args, **options):
        if host not in found:
            raise socket.gaierror("unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found[host], 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)

    assert problem_of_url("http://metadata.example/v1") == FORBIDDEN
    assert problem_of_url("http://gpu.example:8000/v1") == ""
    assert problem_of_url("http://nobody.example/v1") == ""  # in a sealed network no name server answers

import socket

import pytest

from rls.errors import SettingsError
from rls.transport.listen import address_of, close_listener, connections_possible, listen


@pytest.mark.parametrize(
    "address", ["", "8081", ":8081", "host", "host:", "host:http", "host:65536", "host:-1", "::1:8081", "[]:1"]
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(SettingsError, match=r"is not an address: expected HOST:PORT, \[IPV6\]:PORT or unix:/path$"):
        listen(address)


def test_port_0_is_one_that_is_free():
    listener = listen("127.0.0.1:0")
    try:
        port = listener.getsockname()[1]
        assert address_of(listener) == f"127.0.0.1:{port}"
        socket.create_connection(("127.0.0.1", port), 5).close()
    finally:
        close_listener(listener)


def test_taken_port_is_an_error_with_the_address():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            SettingsError,
            match=f"^cannot listen on {address}: Address already in use; another process has it, expected one that is free$",
        ):
            listen(address)


def test_address_of_another_machine_is_an_error_with_the_address():
    with pytest.raises(
        SettingsError, match=r"^cannot listen on 203\.0\.113\.1:1: Cannot assign requested address; no interface "
    ):
        listen("203.0.113.1:1")


def test_port_can_be_taken_again_at_once():
    listener = listen("127.0.0.1:0")
    address = address_of(listener)
    client = socket.create_connection(listener.getsockname(), 5)
    listener.setblocking(True)
    accepted, _ = listener.accept()
    accepted.close()
    client.close()
    close_listener(listener)
    close_listener(listen(address))


def test_unix_socket_goes_with_its_listener(tmp_path):
    path = tmp_path / "rls.sock"
    listener = listen(f"unix:{path}")
    assert address_of(listener) == f"unix:{path}"
    close_listener(listener)
    close_listener(listener)
    assert not path.exists()


def test_unix_socket_that_somebody_serves_is_taken(tmp_path):
    address = f"unix:{tmp_path}/rls.sock"
    listener = listen(address)
    try:
        with pytest.raises(
            SettingsError,
            match=f"^cannot listen on {address}: Address already in use; another process has it, expected one that is free$",
        ):
            listen(address)
    finally:
        close_listener(listener)


def test_file_that_is_no_socket_is_not_removed(tmp_path):
    path = tmp_path / "rls.sock"
    path.write_text("precious")
    with pytest.raises(SettingsError, match="Address already in use"):
        listen(f"unix:{path}")
    assert path.read_text() == "precious"


def test_some_connections_are_always_possible():
    assert connections_possible() > 0

"""The way to each server of a config: its name, its port, its protocol, its TLS."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from statekeep.cli.certificates import expiry
from statekeep.cli.patience import TooSlow, within
from statekeep.errors import StorageError
from statekeep.examining import advice, good, problem
from statekeep.findings import Finding
from statekeep.servers import Hailed, Server, WrongProtocol

CHECKS = {
    "name": "whether the host's name is known",
    "port": "whether something listens there, and nothing swallows what is sent",
    "protocol": "whether it answers, and as a server of this kind",
    "tls": "whether the connection is encrypted, and the handshake works",
    "certificate": "whether the certificate is verified, and how long it is valid",
}
SOON_DAYS = 21
"""Before a certificate ends it must be renewed and every server reloaded."""

VERY_SOON_DAYS = 3


Recognize = Callable[[Server], str | None]


def reached(
    server: Server, seconds: float, recognize: Recognize = lambda _: None
) -> Iterator[Finding]:
    """Everything from the name to the certificate; ends where nothing more can be said.

    Args:
        server: where to go.
        seconds: how long each step may take.
        recognize: says what else answers there.
    """
    if server.socket_path is None and not server.is_address:
        found = _looked_up(server, seconds)
        yield found
        if found.remedy:
            return
    try:
        connection = server.connected(seconds)
    except OSError as error:
        yield _unreachable(server, error, seconds)
        return
    with connection:
        yield good("port", f"{_what(server)} accepts connections")
        yield from _talked(server, connection, seconds, recognize)


def answers(findings: Sequence[Finding]) -> bool:
    """Whether these findings of one server say that it can be talked to."""
    return any(each.check == "protocol" and not each.remedy for each in findings)


def _looked_up(server: Server, seconds: float) -> Finding:
    try:
        found = within(
            lambda: socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM), seconds
        )
    except (OSError, UnicodeError, TooSlow) as error:
        return problem(
            "name",
            f"{server.host} is not known ({error})",
            "no connection can be made",
            f"getent hosts {server.host}; correct the host in the config, or add it to DNS",
        )
    addresses = dict.fromkeys(str(address[0]) for *_, address in found)
    return good("name", f"{server.host} is {', '.join(addresses)}")


def _unreachable(server: Server, error: OSError, seconds: float) -> Finding:
    what = _what(server)
    if isinstance(error, ConnectionRefusedError):
        return problem(
            "port",
            f"{what} refuses connections",
            "the machine is there and nothing listens on that port",
            "start the server, or correct port; on its machine: ss -ltnp",
        )
    if isinstance(error, TimeoutError):
        return problem(
            "port",
            f"{what} does not answer within {seconds:g} s",
            "the machine is off, or a firewall drops what is sent there",
            f"open the port in the firewall; then: nc -vz {server.host} {server.port}",
        )
    if server.socket_path is not None:
        return problem(
            "port",
            f"{what}: {error.strerror}",
            "there is no such socket, or it may not be opened",
            "start the server, or correct the socket's path",
        )
    return problem(
        "port",
        f"{what}: {error.strerror or error}",
        "there is no way to that machine",
        f"ip route get {server.host}; correct the host or the network",
    )


def _talked(
    server: Server, connection: socket.socket, seconds: float, recognize: Recognize
) -> Iterator[Finding]:
    try:
        tls = server.tls()
    except StorageError as error:
        yield problem("tls", str(error), "no connection can be made", "correct the file's path")
        tls = None
    try:
        hailed = within(lambda: server.hail(connection, tls), seconds)
    except ssl.SSLError as error:
        yield _no_handshake(server, error, recognize)
    except (WrongProtocol, OSError, EOFError, TooSlow) as error:
        yield _no_answer(server, error, seconds, recognize(server))
    else:
        with hailed.socket:
            yield good("protocol", f"{_what(server)} answers as it should")
            yield from _encryption(server, hailed)


def _no_answer(server: Server, error: Exception, seconds: float, recognized: str | None) -> Finding:
    if recognized is not None:
        return problem(
            "protocol",
            f"{_what(server)} answers as {recognized}",
            "it is another server than the config says, or TLS is on at one side only",
            "correct host and port, the backend's name, or the options of TLS",
        )
    if isinstance(error, TimeoutError | TooSlow):
        return problem(
            "protocol",
            f"{_what(server)} accepts connections and says nothing for {seconds:g} s",
            "the server is frozen or overloaded, or something else listens there",
            "on its machine: look at its process (state T is stopped: kill -CONT PID) and its log",
        )
    return problem(
        "protocol",
        f"{_what(server)}: {error or type(error).__name__}",
        "what listens there is no server of this kind, or wants TLS where there is none",
        "correct host and port, and whether TLS is wanted",
    )


def _no_handshake(server: Server, error: ssl.SSLError, recognize: Recognize) -> Finding:
    if isinstance(error, ssl.SSLCertVerificationError):
        return problem(
            "certificate",
            f"{_what(server)}: {error.verify_message}",
            "its certificate is refused: of another authority, for another name, or not valid now",
            "name its authority's file in the config, correct the host, or renew the certificate",
        )
    recognized = recognize(server)
    return problem(
        "tls",
        f"{_what(server)}: {error.reason or error}"
        + (f"; it answers as {recognized}" if recognized else ""),
        "the handshake fails: the port speaks no TLS, or wants a client certificate",
        "correct port and the options of TLS; then: "
        f"openssl s_client -connect {server.host}:{server.port}",
    )


def _encryption(server: Server, hailed: Hailed) -> Iterator[Finding]:
    if not isinstance(hailed.socket, ssl.SSLSocket):
        yield _plain(server, hailed)
        return
    used = f"{_what(server)}: {hailed.socket.version()}, {(hailed.socket.cipher() or ('?',))[0]}"
    yield good("tls", used)
    verified = hailed.socket.context.verify_mode is ssl.CERT_REQUIRED
    named = hailed.socket.context.check_hostname
    if not (verified and named) and not server.is_local:
        yield advice(
            "certificate",
            f"{_what(server)}: {'the name in it' if verified else 'it'} is not verified",
            "whoever sits on the way can take the server's place and read everything",
            server.verified_by,
        )
    yield _validity(server, hailed.socket.getpeercert(binary_form=True), verified)


def _plain(server: Server, hailed: Hailed) -> Finding:
    what = _what(server)
    if server.needs_tls:
        return problem(
            "tls",
            f"{what} offers no TLS",
            "the config insists on it, so no connection is made",
            "give the server a certificate, or do without TLS in the config",
        )
    if server.is_local:
        return good("tls", f"{what}: none, and nothing leaves this machine")
    offered = " (the server offers it)" if hailed.offers_tls else ""
    return advice(
        "tls",
        f"{what}: none{offered}",
        "passwords and state travel as they are, for everybody on the way to read",
        server.verified_by,
    )


def _validity(server: Server, certificate: bytes | None, verified: bool) -> Finding:
    try:
        ends = expiry(certificate or b"")
    except ValueError as error:
        return advice("certificate", f"{_what(server)}: {error}", "it cannot be read")
    days = (ends - datetime.now(UTC)).days
    found = f"{_what(server)}: valid until {ends:%Y-%m-%d}, {days} days"
    if days >= SOON_DAYS:
        return good("certificate", found)
    severe: Callable[..., Finding] = problem if verified and days < VERY_SOON_DAYS else advice
    meaning = "connections are refused from then on" if verified else "nobody verifies it now"
    return severe("certificate", found, meaning, "renew it, and have the server read it again")


def _what(server: Server) -> str:
    return f"{server.role} {server}"

"""When a certificate ends. Python tells it only of one that was verified, so the DER is read here.

https://datatracker.ietf.org/doc/html/rfc5280#section-4.1: a certificate is a sequence that begins
with its `tbsCertificate`, and that is a sequence of an optional version, a serial number, an
algorithm, an issuer, and the validity: two times.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

VERSION = 0xA0
UTC_TIME = 0x17
BEFORE_VALIDITY = 3
"""Serial number, algorithm, issuer."""


def expiry(der: bytes) -> datetime:
    """The last moment at which a certificate is valid.

    Raises:
        ValueError: it is no certificate.
    """
    try:
        (_, certificate), *_ = _elements(der)
        (_, signed), *_ = _elements(certificate)
        fields = [content for tag, content in _elements(signed) if tag != VERSION]
        _, (tag, text) = _elements(fields[BEFORE_VALIDITY])
        year = "%y" if tag == UTC_TIME else "%Y"
        return datetime.strptime(text.decode("ascii"), f"{year}%m%d%H%M%SZ").replace(tzinfo=UTC)
    except (IndexError, ValueError) as error:
        raise ValueError("it is no X.509 certificate") from error


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The tag and content of each element."""
    position = 0
    while position < len(data):
        tag, size = data[position], data[position + 1]
        position += 2
        if size & 0x80:  # the length itself takes so many bytes
            end = position + (size & 0x7F)
            size = int.from_bytes(data[position:end], "big")
            position = end
        yield tag, data[position : position + size]
        position += size

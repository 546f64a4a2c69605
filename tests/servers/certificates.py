"""An authority, a server's and a client's certificate, made with openssl for one test run."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files."""

    ca: Path
    cert: Path
    key: Path
    client_cert: Path
    client_key: Path
    other_ca: Path


def make(folder: Path, names: str = "DNS:localhost,IP:127.0.0.1") -> Certificates:
    """Makes them in a folder; the server's is for the given names."""
    folder.mkdir(parents=True, exist_ok=True)
    for authority in ("ca", "other"):
        _openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "2", "-subj", f"/CN=statekeep test {authority}",
            "-keyout", folder / f"{authority}.key", "-out", folder / f"{authority}.pem",
        )  # fmt: skip
    for name in ("server", "client"):
        _openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", f"/CN=statekeep test {name}",
            "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.csr",
        )  # fmt: skip
        extension = folder / f"{name}.ext"
        extension.write_text(f"subjectAltName={names}\n")
        _openssl(
            "x509", "-req", "-in", folder / f"{name}.csr", "-days", "2", "-CAcreateserial",
            "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
            "-extfile", extension, "-out", folder / f"{name}.pem",
        )  # fmt: skip
    return Certificates(
        ca=folder / "ca.pem",
        cert=folder / "server.pem",
        key=folder / "server.key",
        client_cert=folder / "client.pem",
        client_key=folder / "client.key",
        other_ca=folder / "other.pem",
    )


def expired(folder: Path, certificates: Certificates) -> Path:
    """A certificate for the server's key, of the same authority, that ended in 2020."""
    work = folder / "expired"
    work.mkdir()
    (work / "index.txt").touch()
    (work / "serial").write_text("01\n")
    config = work / "ca.conf"
    config.write_text(
        f"[ca]\ndefault_ca = d\n[d]\ndatabase = {work}/index.txt\nserial = {work}/serial\n"
        f"new_certs_dir = {work}\ndefault_md = sha256\npolicy = p\nx509_extensions = x\n"
        "[p]\ncommonName = supplied\n[x]\nsubjectAltName = DNS:localhost,IP:127.0.0.1\n"
    )
    made = work / "server.pem"
    _openssl(
        "ca", "-batch", "-config", config, "-notext", "-in", certificates.cert.with_suffix(".csr"),
        "-cert", certificates.ca, "-keyfile", certificates.ca.with_suffix(".key"), "-out", made,
        "-startdate", "20200101000000Z", "-enddate", "20200201000000Z",
    )  # fmt: skip
    return made


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

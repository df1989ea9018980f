"""Where certificates are: those shipped with the package, and the user's own.

Shipped are JSON files in ``data/``, a list of certificates each.  The user's are one file each in
``$TVM_REORDER_CERTIFICATES``, else ``$XDG_CACHE_HOME/tvm_reorder/certificates``, else
``~/.cache/tvm_reorder/certificates``; a file's name follows from what its certificate is about, so
copying the file is all it takes to share one.  The user's own comes first.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from functools import lru_cache
from pathlib import Path

from ..core.certificates import Certificate, CertificateError, CertificateKey
from ..core.files import written_beside

logger = logging.getLogger("tvm_reorder")
FOLDER_VARIABLE = "TVM_REORDER_CERTIFICATES"
_SHIPPED = Path(__file__).parent / "data"
_named: set[Path] = set()  # files that one warning was given for


def user_folder() -> Path:
    """The folder of the user's own certificates; it need not exist."""
    given = os.environ.get(FOLDER_VARIABLE)
    if given:
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "tvm_reorder" / "certificates"


def user_path(key: CertificateKey) -> Path:
    """Where the user's own certificate of a key is, or would be."""
    digest = hashlib.sha256("\n".join(key).encode()).hexdigest()[:16]
    words = "-".join(re.findall(r"[a-z_]\w+", key.op))[:40]
    return user_folder() / f"{words}-{key.dtype}-{digest}.json"


def find_certificate(key: CertificateKey) -> Certificate | None:
    """The certificate of a key: the user's own, else a shipped one, else None.

    A user's file that is damaged, edited or another function's is named in one warning, and passed
    over.
    """
    path = user_path(key)
    try:
        return read_certificate(path, key)
    except FileNotFoundError:
        pass
    except (OSError, CertificateError) as error:
        if path not in _named:
            _named.add(path)
            logger.warning("%s; it is not used", error)
    return _read_shipped().get(key)


def read_certificate(path: Path, key: CertificateKey) -> Certificate:
    """The certificate in a file.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    OSError
        If it cannot be read.
    CertificateError
        If it is no certificate, was changed, or is about something else than `key`.
    """
    text = path.read_bytes()
    try:
        certificate = Certificate.from_dict(json.loads(text))
    except CertificateError as error:
        raise CertificateError(f"the certificate {path} {error}") from None
    except ValueError:
        raise CertificateError(f"{path} is no JSON but must be a certificate") from None
    for name, found, wanted in zip(key._fields, certificate.key, key):
        if found != wanted:
            raise CertificateError(
                f"the certificate {path} has {name} {found!r} but must have {wanted!r}"
            )
    return certificate


def save_certificate(certificate: Certificate) -> Path:
    """Put a certificate into the user's folder, whole or not at all.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    path = user_path(certificate.key)
    write_whole(path, json.dumps(certificate.as_dict(), indent=1) + "\n")
    return path


def write_whole(path: Path, text: str) -> None:
    """Write a file of the user's folder, made if need be; nothing is left behind if that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@lru_cache(maxsize=1)
def _read_shipped() -> dict[CertificateKey, Certificate]:
    found = {}
    for path in sorted(_SHIPPED.glob("*.json")):
        for data in json.loads(path.read_text(encoding="utf-8")):
            certificate = Certificate.from_dict(data)
            found[certificate.key] = certificate
    return found

"""A certificate for this machine, and the bundle that a client trusts."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import trustme


@attrs.frozen
class Certificate:
    """Two files, which live as long as the block."""

    chain: str
    """Certificate and key, for the server."""
    trusted: str
    """What clients trust: the authorities that a client trusts by default, and the one behind this certificate."""


@contextmanager
def certified() -> Iterator[Certificate]:
    """Make one for the length of a block."""
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    own = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
    with tempfile.TemporaryDirectory() as name:
        chain, trusted = Path(name, "chain.pem"), Path(name, "trusted.pem")
        own.private_key_and_cert_chain_pem.write_to_path(chain)
        trusted.write_bytes(_authorities() + authority.cert_pem.bytes())
        yield Certificate(str(chain), str(trusted))


def _authorities() -> bytes:
    """Read the bundle that requests brings, and reads for every connection."""
    try:
        import certifi  # noqa: PLC0415 - comes with the peers
    except ImportError:
        return b""
    return Path(certifi.where()).read_bytes()

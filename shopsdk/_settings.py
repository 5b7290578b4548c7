"""What a session may be told of the place it talks to, checked when it is made. Nothing here is ever echoed."""

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit


def check_base_url(url: str) -> str:
    """Normalise a base URL; refuse one that would leak the key or lose the path. The URL itself is never echoed."""
    text = url.strip().rstrip("/")
    if not text.isprintable() or any(char in text for char in " \\@?#"):
        raise ValueError("base_url must hold no userinfo, query, fragment, backslash, space or control character")
    if not text.isascii():
        raise ValueError("base_url must be ASCII: write the host in Punycode, and percent-encode the path")
    parts = _split_url("base_url", text, "https://api.sellauth.com/v1")
    if any(segment in {".", ".."} for segment in parts.path.split("/")):
        raise ValueError("base_url must not hold '.' or '..' segments")
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise ValueError("base_url must be https: plain http would show the key to the network (loopback excepted)")
    return text


def check_proxy(url: str) -> str:
    """Check a proxy's URL, without echoing it: it may hold a password."""
    _split_url("proxy", url, "http://proxy.example:3128")
    return url


def _split_url(name: str, url: str, example: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            parts.hostname.encode("idna")  # the resolver will, and refuses an empty label or one of 64 letters
            return parts
    except ValueError:  # it quotes what it was given, so it must not hang on ours
        pass
    raise ValueError(f"{name} must be like {example}")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_api_key(key: str) -> str:
    """Strip a key and refuse one that no header can carry, without echoing it."""
    text = key.strip()
    if not text:
        raise ValueError("api_key is empty: give api_key= or set SHOPSDK_API_KEY")
    if not text.isascii() or not text.isprintable() or " " in text:
        key = text = ""  # a traceback with its locals would show it
        raise ValueError("api_key must be printable ASCII without spaces or control characters")
    return text

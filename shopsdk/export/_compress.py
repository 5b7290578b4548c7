"""gzip and zstd, one whole member or frame at a time, without a dependency of their own."""

import gzip
import importlib
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

from shopsdk.export._errors import ExportError

Compression = Literal["gz", "zst"]
Compressor = Callable[[bytes], bytes]

_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3


def compressor(kind: Compression | None) -> Compressor:
    """Find a compressor; None for none.

    Raises:
        ExportError: zstd was asked for, and neither this Python nor pyarrow brings it.
    """
    if kind is None:
        return lambda data: data
    if kind == "gz":
        # A time stamp within would make the same export differ from run to run.
        return lambda data: gzip.compress(data, _GZIP_LEVEL, mtime=0)
    return _zstd()


def _zstd() -> Compressor:
    if sys.version_info >= (3, 14):  # before that, a package of this name would be anybody's
        with suppress(ModuleNotFoundError):  # a Python built without it
            standard: Any = importlib.import_module("compression.zstd")
            return lambda data: standard.compress(data, _ZSTD_LEVEL)
    codec = arrow("zstd compression").Codec("zstd", compression_level=_ZSTD_LEVEL)
    return lambda data: codec.compress(data, asbytes=True)


def arrow(purpose: str, module: str = "pyarrow") -> Any:
    """Import pyarrow, which is an extra, and has no types.

    Raises:
        ExportError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ExportError(f"{purpose} needs pyarrow: pip install 'shopsdk[parquet]'") from error

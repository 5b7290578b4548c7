"""What can go wrong with an export that is neither the shop's doing nor the file system's."""

from shopsdk import ShopError


class ExportError(ShopError):
    """The export cannot be made as asked: an extra is missing, or a value does not fit the format."""


class CheckpointError(ExportError):
    """What an earlier export left behind cannot be gone on with: other parameters, damage, or another one at work."""

"""A shop to try the library against, and to test one's own code with: no account, no network, no mocks.

The answers are those of the real stack, quirks included, because a double that is kinder than the shop hides the very
mistakes a test is there to find.
"""

from shopsdk.sandbox._faults import Fault
from shopsdk.sandbox._record import RecordedRequest
from shopsdk.sandbox._sandbox import Sandbox

__all__ = ["Fault", "RecordedRequest", "Sandbox"]

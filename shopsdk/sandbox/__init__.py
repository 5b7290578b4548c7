"""A shop to try the library against, and to test one's own code with: no account, no network, no mocks.

The answers are those of the real stack, quirks included, because a double that is kinder than the shop hides the very
mistakes a test is there to find.

```python
from shopsdk.sandbox import Sandbox

with Sandbox(customers=50) as shop:
    async with shop.session() as session:
        page = await get_customers(session, per_page=10)
        assert page.total == 50
```
"""

from shopsdk.sandbox._faults import Fault
from shopsdk.sandbox._sandbox import Sandbox
from shopsdk.sandbox._server import RecordedRequest

__all__ = ["Fault", "RecordedRequest", "Sandbox"]

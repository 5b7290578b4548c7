"""A shop to try the library on, and to test your own code with: no account, no network, no mocks.

It answers as the real stack does, quirks included: a test double that is kinder than the shop hides mistakes.

```python
from shopsdk.sandbox import Sandbox

with Sandbox(customers=50) as shop:
    async with shop.session() as session:
        page = await get_customers(session, per_page=10)
        assert page.total == 50
```

- The shop: ``Sandbox``, ``RecordedRequest``
- Faults: ``Fault``, ``FaultFields``
- Arguments: ``CustomerFields``, ``SessionOptions``
"""

from shopsdk.sandbox._faults import Fault, FaultFields
from shopsdk.sandbox._requests import RecordedRequest
from shopsdk.sandbox._sandbox import CustomerFields, Sandbox, SessionOptions

__all__ = ["CustomerFields", "Fault", "FaultFields", "RecordedRequest", "Sandbox", "SessionOptions"]

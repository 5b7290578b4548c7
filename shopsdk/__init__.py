"""shopsdk: an asyncio client for a shop's Customers API."""

from shopsdk._errors import ShopError as ShopError
from shopsdk._models import AffiliateReferrer as AffiliateReferrer
from shopsdk._models import BalanceTransaction as BalanceTransaction
from shopsdk._models import Customer as Customer
from shopsdk._models import Page as Page

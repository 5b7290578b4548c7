"""The route templates of the operations: what limits, logs, events and messages know them by."""

CUSTOMERS = "/shops/{shop_id}/customers"
CUSTOMER = f"{CUSTOMERS}/{{customer_id}}"
AFFILIATE_CODE = f"{CUSTOMER}/affiliate-code"
BALANCE = f"{CUSTOMER}/balance"
BALANCE_TRANSACTIONS = f"{CUSTOMER}/balance-transactions"

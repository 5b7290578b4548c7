"""The operations of the Customers API, on top of a session."""

"""Real proxies and caches between a session and its shop: all that was tried, what holds, and what cannot hold.

The programs come from the distribution (Debian 12: nginx 1.22, haproxy 2.6, Varnish 7.1, squid 5.7); ``.ci/system``
installs them. "Everything" below means: every operation does what it does without a proxy, and walks at concurrency 1,
4 and 16 deliver everybody once and in order, upwards, downwards, with a filter, and while customers are deleted.

nginx
=====

TLS, gzip, ``keepalive_timeout 1s``, ``keepalive`` to the shop
    Holds: everything. No edit is lost on a connection that nginx closed while the event loop was blocked.
    Cannot: nginx sends a PUT again when it loses a kept connection to the shop, even if it knows no other upstream. The
    edit is then made twice behind one clean success. The reference tells (``duplicated``). It never repeats a POST.
Reloads, ``kill -9`` of workers and of the master, restarts
    Holds: jobs that call again with their reference until they succeed leave each edit exactly once. An edit that was
    under way is found in the ledger. Walks go on where nginx comes back within their attempts. An export that was
    broken off goes on with ``resume=True``, byte by byte the same, and asks for no page twice.
    Cannot: without a reference, nobody can tell whether an edit was made that was under way when a worker died.
``limit_req``, 503 (the default) or 429, without a Retry-After
    Holds: a walk at any concurrency comes whole if its attempts reach for longer than the limit does. If they do not,
    it raises ``ServerError`` (503) or ``RateLimitedError`` (429) with the page, after all pages before it. An edit
    refused by a 429 is known not to be made.
    Cannot: a 503 does not say that it comes from a limit. It is a failure of its own call alone, and leaves an edit in
    doubt although nothing was made.
Two upstreams, with nginx's defaults
    Holds: a POST whose answer is lost is made once, and found.
    Cannot: a PUT goes to the second upstream too, and is made twice behind one clean success. The reference tells.
Two upstreams, ``proxy_next_upstream ... non_idempotent``
    Cannot: a POST is made twice as well. The reference tells.
A cache by the URL, ``proxy_ignore_headers Cache-Control``
    Holds: pages and filters stay apart, and one reference stays one edit.
    Cannot: reads are as old as the cache keeps them, ``get_customer_balance_transactions`` included.

haproxy
=======

HTTP mode, with defaults
    Holds: everything, for POST and PUT alike: it repeats neither. References as above, through reloads and ``kill -9``.
TCP mode before a dead shop, or before a dead proxy
    Holds: over TLS, and through the tunnel of a proxy, a request is known not to be sent.
    Cannot: on plain HTTP (loopback alone) the request may be written before haproxy hangs up: an edit is then in doubt,
    and is sent once.
``retry-on all-retryable-errors``
    Holds: everything, while no answer is lost.
    Cannot: POST and PUT are made twice behind one clean success when their answer is lost. The reference tells.

Varnish
=======

Its defaults
    Holds: everything, with ``list_params="both"`` and ``"query"``.
    Cannot: Varnish drops the bodies of GETs, so lists with ``list_params="body"`` raise ``PaginationError``.
A cache by the URL, whatever the key and the headers say
    Holds: pages and filters stay apart, and one reference stays one edit.
    Cannot: reads are as old as the cache keeps them.

squid
=====

A forward proxy with CONNECT and a password
    Holds: everything. A tunnel refused by an ACL (403), for want of the right password (407), or because nobody is
    there (503) leaves the request unsent, and the error has that status. A 407 is not repeated. No message, log,
    pickle, traceback or frame shows the password or the key.
An accelerator, on plain HTTP
    Holds: everything, with ``list_params="query"``.
    Cannot: squid refuses a GET with a body (411), so lists with ``"both"``, the default, and ``"body"`` raise
    ``ResponseError``. All other operations go through.
"""

vcl 4.1;

# Varnish before a shop. On its port `plain` it does what it does by itself: it caches nothing that needs a key.
backend default {
    .host = "127.0.0.1";
    .port = "@shop@";
}

# On its port `caching` it goes by the URL alone, and keeps all that it gets, whatever the shop says of caching.
sub vcl_recv {
    if (local.socket == "caching" && req.method == "GET") {
        return (hash);
    }
}

sub vcl_backend_response {
    if (!bereq.uncacheable && beresp.status == 200) {
        set beresp.ttl = 1h;
        return (deliver);
    }
}

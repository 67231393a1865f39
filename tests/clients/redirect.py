"""Imported before a client: whatever host it connects to, the connection goes to REDIRECT_TO, and CA_FILE is what it trusts. The host that
it named stays the one in the TLS handshake and in the request."""

import os
import socket

_host, _port = os.environ["REDIRECT_TO"].rsplit(":", 1)
_getaddrinfo = socket.getaddrinfo

connected_hosts = []

# What OpenSSL reads its authorities from, whichever library asks it to.
os.environ["SSL_CERT_FILE"] = os.environ["CA_FILE"]


def _redirected(host, port, *rest, **options):
    connected_hosts.append(f"{host}:{port}")
    return _getaddrinfo(_host, int(_port), *rest, **options)


socket.getaddrinfo = _redirected

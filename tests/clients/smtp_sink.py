"""A mail server that keeps what it gets: prints its port, then each message as a line of JSON.

smtp_sink.py none|starttls|tls CERTIFICATE KEY [USER PASSWORD]
"""

import asyncio
import json
import ssl
import sys
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP, AuthResult


class Keeper:
    async def handle_DATA(self, server, session, envelope):
        message = message_from_bytes(envelope.content, policy=policy.default)
        said = {
            "from": message["from"],
            "to": envelope.rcpt_tos,
            "subject": message["subject"],
            "id": message["message-id"],
            "text": message.get_content().replace("\r\n", "\n").strip(),
            "tls": session.ssl is not None or server.transport.get_extra_info("sslcontext") is not None,
            "user": session.auth_data.login.decode() if session.auth_data else None,
        }
        print(json.dumps(said), flush=True)
        return "250 kept"


async def main(protection, certificate, key, *credentials):
    context = None
    if protection != "none":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)

    def authenticate(server, session, envelope, mechanism, auth_data):
        given = (auth_data.login.decode(), auth_data.password.decode())
        return AuthResult(success=given == credentials, handled=False, auth_data=auth_data)

    def conversation():
        return SMTP(
            Keeper(),
            hostname="localhost",
            tls_context=context if protection == "starttls" else None,
            require_starttls=protection == "starttls",
            authenticator=authenticate if credentials else None,
            auth_required=bool(credentials),
            auth_require_tls=protection == "starttls",
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(conversation, "127.0.0.1", 0, ssl=context if protection == "tls" else None)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))

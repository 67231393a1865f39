"""Logs in with the ewelink package as it is, then takes the STEPS (logout, or none), and prints what it made of the answers as JSON."""

import redirect  # Before anything that connects.

import asyncio
import json
import os

from aiohttp import ClientResponseError, ClientSession
from ewelink import EWeLink
from ewelink.ewelink import EWeLinkError
from ewelink.types import AppCredentials, EmailUserCredentials


async def settle(call):
    try:
        return await call
    except EWeLinkError as failure:
        return {"error": failure.error, "msg": failure.msg, "data": failure.data}
    except ClientResponseError as failure:
        return {"thrown": str(failure), "status": failure.status}


async def main():
    parameters = json.loads(os.environ["PARAMETERS"])
    region = parameters.pop("region", "cn")
    application = AppCredentials(id=parameters.pop("appid"), secret=parameters.pop("appsecret"))
    async with ClientSession() as session:
        client = EWeLink(application, EmailUserCredentials(**parameters), session)
        answer = await settle(client.login(region))
        printed = {"answer": answer if isinstance(answer, dict) else answer.model_dump(by_alias=True)}
        if os.environ.get("STEPS") == "logout":
            printed["logout"] = await settle(client.logout())
    print(json.dumps({**printed, "hosts": redirect.connected_hosts}))


asyncio.run(main())

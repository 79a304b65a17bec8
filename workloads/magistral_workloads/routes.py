"""What the run's own HTTP servers share: the bearer token, and bodies that are checked."""

import hmac
from typing import TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import ValidationError

from magistral_api.base import ApiModel

OPEN = "/healthz"
"""The one route that the kubelet calls, without a token."""


M = TypeVar("M", bound=ApiModel)


def bearer(token: str) -> dict[str, str]:
    """Headers of a client."""
    return {"Authorization": f"Bearer {token}"}


def authenticated(token: str) -> Middleware:
    """401 for every route but /healthz without the token. Constant time. Raises ValueError on an empty token."""
    if not token:
        raise ValueError("the run's token is empty; expected the Secret <run>-token")
    expected = f"Bearer {token}".encode()

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode()
        if request.path != OPEN and not hmac.compare_digest(given, expected):
            raise web.HTTPUnauthorized(text="the run's bearer token is missing or wrong")
        return await handler(request)

    return check


async def parsed(request: web.Request, model: type[M]) -> M:
    """The body. 400 with field, found and expected when it is none."""
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise web.HTTPBadRequest(text=f"{model.__name__}.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None

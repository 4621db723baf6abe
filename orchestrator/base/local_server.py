"""How a server of relay's is run: on this machine alone, quietly, and told to end rather than killed."""

import uvicorn
from starlette.types import ASGIApp

LOOPBACK = "127.0.0.1"


def server_of(app: ASGIApp) -> uvicorn.Server:
    """A server that logs nothing, trusts no proxy's word and gives open answers two seconds when it is to end."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
    )

"""Configures relay's HTTP servers: on this machine only, without logs, with a graceful shutdown."""

import uvicorn
from starlette.types import ASGIApp

LOOPBACK = "127.0.0.1"


def server_of(app: ASGIApp) -> uvicorn.Server:
    """Return a server that logs nothing, trusts no proxy headers, and gives open responses two seconds at shutdown."""
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

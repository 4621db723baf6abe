"""File transfer over HTTP: downloads that resume by range, and uploads that resume by Kaggle's protocol."""

import re
from collections.abc import Iterator
from email.utils import format_datetime
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from orchestrator.rehearsal.local_kaggle.blobs import Blob
from orchestrator.rehearsal.local_kaggle.links import Links
from orchestrator.rehearsal.local_kaggle.rules import KaggleRefusal
from orchestrator.rehearsal.local_kaggle.stored_file import Content
from orchestrator.rehearsal.local_kaggle.world import World

BLOCK_BYTES = 1 << 18


class FileRoutes:
    """Routes `GET /files/<area>/<token>/<name>` and `PUT /uploads/<key>`; as on Kaggle, neither needs credentials."""

    def __init__(self, world: World, links: Links) -> None:
        self._world = world
        self._links = links

    async def download(self, request: Request) -> Response:
        """Send the file behind a link, or the part that the Range header requests."""
        content = await run_in_threadpool(self._follow, request.path_params["token"])
        headers = {
            "Accept-Ranges": "bytes",
            "ETag": content.etag,
            "Last-Modified": format_datetime(content.modified, usegmt=True),
        }
        part = _part(request, content, headers)
        if part is None:
            return _streamed(content, range(content.size_bytes), HTTPStatus.OK, headers)
        if not part:
            headers["Content-Range"] = f"bytes */{content.size_bytes}"
            return Response(status_code=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=headers)
        headers["Content-Range"] = f"bytes {part[0]}-{part[-1]}/{content.size_bytes}"
        return _streamed(content, part, HTTPStatus.PARTIAL_CONTENT, headers)

    async def upload(self, request: Request) -> Response:
        """Receive all or part of an upload, or report how much has arrived."""
        blob = await run_in_threadpool(self._blob, request.path_params["key"])
        where = request.headers.get("content-range", "")
        if re.fullmatch(r"bytes \*/\d+", where):
            return _progress(blob)
        offset = _offset(where)
        if offset > blob.received:
            raise KaggleRefusal(400, f"Expected the byte {blob.received}, found {offset}")
        try:
            async for chunk in request.stream():
                blob.write(offset, chunk)
                offset += len(chunk)
        except ClientDisconnect:
            # the client is gone, so the status is irrelevant; the bytes that arrived are kept
            return Response(status_code=HTTPStatus.BAD_REQUEST)
        return _progress(blob)

    def _follow(self, token: str) -> Content:
        with self._world.at_now() as now:
            return self._links.follow(token, now)

    def _blob(self, key: str) -> Blob:
        with self._world.at_now() as now:
            return self._world.blobs.by_key(key, now)


def _part(request: Request, content: Content, headers: dict[str, str]) -> range | None:
    """Return the bytes that Range requests: None for the whole file, an empty range if it is not satisfiable."""
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    if asked is None or asked.group(0) == "bytes=-":
        return None
    known = request.headers.get("if-range")
    if known is not None and known not in (headers["ETag"], headers["Last-Modified"]):
        return None  # the file changed: send all of the new one
    size = content.size_bytes
    if not asked[1]:
        return range(max(0, size - int(asked[2])), size)
    last = min(int(asked[2]), size - 1) if asked[2] else size - 1
    return range(int(asked[1]), last + 1)


def _streamed(content: Content, part: range, status: HTTPStatus, headers: dict[str, str]) -> Response:
    headers = {**headers, "Content-Length": str(len(part))}
    return StreamingResponse(
        _blocks(content, part), status_code=status, headers=headers, media_type="application/octet-stream"
    )


def _blocks(content: Content, part: range) -> Iterator[bytes]:
    with content.open() as stream:
        stream.seek(part.start)
        left = len(part)
        while left > 0 and (block := stream.read(min(BLOCK_BYTES, left))):
            left -= len(block)
            yield block


def _offset(content_range: str) -> int:
    if not content_range:
        return 0
    found = re.fullmatch(r"bytes (\d+)-(-?\d+)/(\d+|\*)", content_range)
    if found is None:
        raise KaggleRefusal(400, f"Invalid Content-Range: {content_range}")
    return int(found[1])


def _progress(blob: Blob) -> Response:
    if blob.whole:
        return Response(status_code=HTTPStatus.OK)
    headers = {"Range": f"bytes=0-{blob.received - 1}"} if blob.received else {}
    return Response(status_code=HTTPStatus.PERMANENT_REDIRECT, headers=headers)

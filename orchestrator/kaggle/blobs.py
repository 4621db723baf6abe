"""Uploads of files as blobs, from which datasets and model versions are then made."""

from pathlib import Path

from orchestrator.kaggle import request_bodies, responses
from orchestrator.kaggle.retry import RetryPolicy
from orchestrator.kaggle.session import AuthenticatedRpc
from orchestrator.kaggle.transport import TransportLimits
from orchestrator.kaggle.upload import At, ignore_position, upload
from orchestrator.kaggle.upload_journal import Slot, UploadJournal


class BlobUploads:
    """Sends files as blobs of one type, a member of kagglesdk's ApiBlobType."""

    def __init__(self, calls: AuthenticatedRpc, limits: TransportLimits, blob_type: str) -> None:
        self._calls = calls
        self._limits = limits
        self._type = blob_type

    def send(self, path: Path, journal: UploadJournal, retry: RetryPolicy, at: At = ignore_position) -> str:
        """Upload one file, or resume its upload, and return the blob's token. Raises what `upload` raises."""

        def start() -> Slot:
            about, sdk = path.stat(), self._calls.sdk
            request = request_bodies.blob(sdk, self._type, path.name, about.st_size, int(about.st_mtime))
            return self._calls.read_once(
                f"start of the upload of {path.name}",
                lambda http: sdk.blobs.BlobApiClient(http).start_blob_upload(request),
                responses.upload_slot,
            )

        return upload(path, start, self._limits, retry, self._calls.redact, journal, at)

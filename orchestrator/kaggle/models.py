"""The account's own models: find, create, add versions from files, list, make public."""

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.base.concurrency import run_concurrently
from orchestrator.base.errors import Refused
from orchestrator.kaggle import model_answers, model_requests, responses
from orchestrator.kaggle.blobs import BlobUploads
from orchestrator.kaggle.datasets import UPLOADS_AT_ONCE_MAX
from orchestrator.kaggle.model_gateway import (
    ModelSeen,
    ModelUpload,
    VariationAbout,
    VariationPlace,
)
from orchestrator.kaggle.refusals import invalidates_uploads
from orchestrator.kaggle.session import AuthenticatedRpc, all_pages
from orchestrator.kaggle.transport import CallFailed, NotFound, TransportLimits, as_change
from orchestrator.kaggle.upload_journal import UploadJournal
from orchestrator.platforms.port import DatasetFile, Reached, ignore_progress


class ModelApi:
    """Implements `model_gateway.ModelGateway`, which documents each contract."""

    def __init__(self, calls: AuthenticatedRpc, limits: TransportLimits, uploads: Path | None) -> None:
        self._calls = calls
        self._blobs = BlobUploads(calls, limits, "MODEL")
        self._uploads = uploads
        """Folder of the upload journal; None: no journal is kept."""

    def require_framework(self, name: str) -> None:
        model_requests.framework(self._calls.sdk, name)

    def find(self, owner: str, model: str) -> ModelSeen | None:
        request = model_requests.model(self._calls.sdk, "ApiGetModelRequest", owner, model)
        try:
            ask = self._calls.models("get_model", request)
            return self._calls.read(f"model {owner}/{model}", ask, model_answers.model_seen)
        except NotFound:
            self._calls.account.check()  # rejected credentials give 403 too
            return None

    def create(self, owner: str, model: str, description: str) -> None:
        request = model_requests.new_model(self._calls.sdk, owner, model, description)
        self._change(f"creation of model {owner}/{model}", "create_model", request)

    def make_public(self, owner: str, model: str) -> None:
        request = model_requests.public_model(self._calls.sdk, owner, model)
        self._change(f"publication of model {owner}/{model}", "update_model", request)

    def versions(self, place: VariationPlace) -> tuple[int, ...]:
        def page(token: str | None) -> tuple[tuple[int, ...], str | None]:
            kind = "ApiListModelInstanceVersionsRequest"
            request = model_requests.page_of(self._calls.sdk, kind, place, token)
            ask = self._calls.models("list_model_instance_versions", request)
            return self._calls.read(f"the versions of {place}", ask, model_answers.version_numbers)

        try:
            return tuple(sorted(all_pages(page)))
        except NotFound:  # also the answer for a variation whose first version is being processed
            listed = self._listed(place)
            return () if listed is None else model_answers.numbers_of(listed)

    def current_version(self, place: VariationPlace) -> int | None:
        request = model_requests.variation(self._calls.sdk, "ApiGetModelInstanceRequest", place)
        try:
            ask = self._calls.models("get_model_instance", request)
            return self._calls.read(f"model {place}", ask, model_answers.current_version)
        except NotFound:
            return None

    def version_files(self, place: VariationPlace, number: int) -> tuple[DatasetFile, ...]:
        def page(token: str | None) -> tuple[tuple[DatasetFile, ...], str | None]:
            kind = "ApiListModelInstanceVersionFilesRequest"
            request = model_requests.page_of(self._calls.sdk, kind, place, token, version_number=number)
            ask = self._calls.models("list_model_instance_version_files", request)
            return self._calls.read(f"the files of {place}/{number}", ask, responses.model_page)

        try:
            return all_pages(page)
        except NotFound:
            return ()

    def processing_failure(self, place: VariationPlace, number: int) -> str:
        listed = self._listed(place)
        return "" if listed is None else model_answers.failure_of(listed, number)

    def create_variation(
        self, place: VariationPlace, upload: ModelUpload, about: VariationAbout, reached: Reached = ignore_progress
    ) -> int | None:
        tokens = self._sent(place, upload, reached)
        request = model_requests.new_variation(self._calls.sdk, place, tokens, about)
        return self._publish(place, f"creation of {place}", "create_model_instance", request)

    def create_version(
        self, place: VariationPlace, upload: ModelUpload, notes: str, reached: Reached = ignore_progress
    ) -> int | None:
        tokens = self._sent(place, upload, reached)
        request = model_requests.new_version(self._calls.sdk, place, tokens, notes)
        return self._publish(place, f"new version of {place}", "create_model_instance_version", request)

    def forget_uploads(self, place: VariationPlace) -> None:
        UploadJournal(self._folder(place)).forget()

    # --- private helpers ----------------------------------------------------

    def _listed(self, place: VariationPlace) -> Any:
        """Return the variation as the list of a model's variations has it, processed or not; None if it lacks it."""

        def page(token: str | None) -> tuple[tuple[Any, ...], str | None]:
            kind, fields = "ApiListModelInstancesRequest", {"page_size": 100, "page_token": token}
            request = model_requests.model(self._calls.sdk, kind, place.owner, place.model, **fields)
            ask = self._calls.models("list_model_instances", request)
            return self._calls.read(f"the variations of {place.model_ref}", ask, model_answers.instance_page)

        try:
            return next((found for found in all_pages(page) if model_answers.is_at(found, place)), None)
        except NotFound:
            return None

    def _change(self, what: str, method: str, request: Any) -> int | None:
        """Make a change, repeated only if nothing of it can have happened; returns the number that the answer names."""

        def once() -> Any:
            try:
                return self._calls.call(self._calls.models(method, request))[0]
            except CallFailed as error:
                raise as_change(error, what) from error

        return model_answers.number_saved(self._calls.patience(once), what)

    def _publish(self, place: VariationPlace, what: str, method: str, request: Any) -> int | None:
        try:
            return self._change(what, method, request)
        except Refused as error:
            if invalidates_uploads(error):
                self.forget_uploads(place)
            raise

    def _sent(self, place: VariationPlace, upload: ModelUpload, reached: Reached) -> dict[str, str]:
        """Upload all files and return their tokens by name."""
        calls = [
            partial(
                self._blobs.send,
                path,
                self._journal(place, name, path, upload),
                self._calls.patience,
                partial(reached, name),
            )
            for name, path in upload.files.items()
        ]
        return dict(zip(upload.files, run_concurrently(calls, UPLOADS_AT_ONCE_MAX), strict=True))

    def _folder(self, place: VariationPlace) -> Path | None:
        return None if self._uploads is None else self._uploads / f"model-{str(place).replace('/', '+')}"

    def _journal(self, place: VariationPlace, name: str, path: Path, upload: ModelUpload) -> UploadJournal:
        """Return the journal of one file: a folder of its own, since files of several folders may share a name."""
        folder = self._folder(place)
        if folder is None:
            return UploadJournal()
        known = {path.name: upload.sha256[name]} if name in upload.sha256 else {}
        return UploadJournal(folder / hashlib.sha256(name.encode()).hexdigest()[:16], known)

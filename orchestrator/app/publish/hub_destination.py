"""A repository at Hugging Face as the place to publish at, through Hugging Face's own library."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from orchestrator.app.publish import documents
from orchestrator.app.publish.export_folder import ExportFolder, WantedExport
from orchestrator.app.publish.progress import PublishReport
from orchestrator.base.errors import BadInput, Corrupt, Transient
from orchestrator.base.humanize import counted
from orchestrator.views.format import size
from stages.formats.export_manifest import EXPORT_NAME
from state.facts.checkpoint import ModelPublished

REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
KEPT = ".gitattributes"
"""File that Hugging Face puts into each repository itself."""
REASON_CHARACTERS_MAX = 300


class HubDestination:
    """A repository. Raises BadInput, before anything is made, for what cannot be published there."""

    def __init__(self, repository: str, *, public: bool) -> None:
        if not REPOSITORY.fullmatch(repository):
            raise BadInput(f"--hub {repository}: write owner/name")
        self._repository, self._public = repository, public
        self._hub = _library()
        if self._hub.get_token() is None:
            raise BadInput(
                "--hub needs a token of Hugging Face that may write: type hf auth login, or put it into HF_TOKEN"
            )
        self._api = self._hub.HfApi()
        self._seen = self._look()
        if self._seen is not None and not self._seen.private and not public:
            raise BadInput(
                f"{repository} is public, and so would be the model: add --public, or name another repository"
            )

    def becomes_public(self, export: ExportFolder) -> list[str]:
        if not self._public:
            return []
        files = f"{counted(len(export.manifest.files), 'file')}, {export.size_bytes:,} bytes"
        return [f"the repository {self._repository} at {self._api.endpoint}: {files}"]

    def published(self, wanted: WantedExport) -> list[str]:
        """Return nothing: the repository's own history says what it holds, and equal files are not sent again."""
        return []

    def publish(self, export: ExportFolder, report: PublishReport) -> tuple[ModelPublished, list[str]]:
        """Make one commit with exactly the exported files, and compare the repository's list with them.

        Safe to repeat: a commit of the same files changes nothing.
        """
        manifest, add = export.manifest, self._hub.CommitOperationAdd
        notice = documents.notice(manifest).encode()
        files: dict[str, Any] = {entry.path: export.path / entry.path for entry in manifest.files}
        files |= {EXPORT_NAME: export.path / EXPORT_NAME, documents.NOTICE_NAME: notice}
        sizes = {
            name: len(content) if isinstance(content, bytes) else content.stat().st_size
            for name, content in files.items()
        }
        with _hub_errors(f"publishing to {self._repository}"):
            if self._seen is None:
                report.say(f"creating {self._repository}, private")
                self._api.create_repo(self._repository, private=True, exist_ok=True)
            before = self._list(None)
            if not (before.private or self._public):
                raise BadInput(f"{self._repository} has become public: add --public, or name another repository")
            stale = {file.rfilename for file in before.siblings} - set(files) - {KEPT}
            report.say(f"sending {counted(len(files), 'file')}, {size(sum(sizes.values()))}")
            operations = [add(name, content) for name, content in files.items()]
            operations += [self._hub.CommitOperationDelete(name) for name in sorted(stale)]
            message = f"{manifest.run}, {manifest.cursor.stage} step {manifest.cursor.step}"
            commit = self._api.create_commit(self._repository, operations, commit_message=message).oid
            listed = self._list(commit)
            if {file.rfilename: file.size for file in listed.siblings if file.rfilename != KEPT} != sizes:
                raise Corrupt(
                    f"{self._repository} does not have the files that were exported: type the same command again"
                )
            if self._public and listed.private:
                self._api.update_repo_settings(self._repository, private=False)
        return self._fact(export, commit, sizes), [
            f"repository  {self._repository}",
            f"page        {self._api.endpoint}/{self._repository}",
        ]

    def finish(self) -> None:
        """Do nothing: Hugging Face's library keeps its own records."""

    def _fact(self, export: ExportFolder, commit: str, sizes: dict[str, int]) -> ModelPublished:
        manifest = export.manifest
        return ModelPublished(
            place="huggingface",
            model=f"{self._repository}@{commit}",
            url=f"{self._api.endpoint}/{self._repository}",
            public=self._public,
            layout=manifest.layout,
            dtype=manifest.dtype,
            cursor=manifest.cursor,
            checkpoint=manifest.checkpoint,
            weights_sha256=manifest.weights_sha256,
            files=len(sizes),
            size_bytes=sum(sizes.values()),
        )

    def _list(self, commit: str | None) -> Any:
        return self._api.model_info(self._repository, revision=commit, files_metadata=True)

    def _look(self) -> Any:
        """Return what Hugging Face says of the repository; None if there is none."""
        from huggingface_hub.errors import RepositoryNotFoundError

        with _hub_errors(f"looking at {self._repository}"):
            try:
                return self._list(None)
            except RepositoryNotFoundError:
                return None


def _library() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise BadInput("--hub needs Hugging Face's library: pip install huggingface-hub") from error
    return huggingface_hub


@contextmanager
def _hub_errors(what: str) -> Iterator[None]:
    """Translate the library's errors: BadInput where the token does not suffice, else Transient."""
    from httpx import HTTPError

    try:
        yield
    except (OSError, HTTPError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        reason = str(error).strip().partition("\n")[0][:REASON_CHARACTERS_MAX]
        if status in (401, 403):
            raise BadInput(
                f"{what}: Hugging Face refuses the token ({reason}): use one that may write there"
            ) from error
        raise Transient(f"{what} failed: {reason}: type the same command again") from error

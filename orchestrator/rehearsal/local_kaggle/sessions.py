"""Runs a session from its start to its end: mounts, faults, the time limit, and its output."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from orchestrator.rehearsal.local_kaggle.datasets import DatasetStore
from orchestrator.rehearsal.local_kaggle.fault_injection import FaultInjector
from orchestrator.rehearsal.local_kaggle.faults import SessionAction
from orchestrator.rehearsal.local_kaggle.kernel_records import KernelSession, Status
from orchestrator.rehearsal.local_kaggle.kernels import Kernels
from orchestrator.rehearsal.local_kaggle.models import Models
from orchestrator.rehearsal.local_kaggle.rules import OUTPUT_LIMIT_MESSAGE, TIME_LIMIT_MESSAGE, Rules
from orchestrator.rehearsal.local_kaggle.sandbox import Launch, Mount, Running, Sandbox
from orchestrator.rehearsal.local_kaggle.stored_file import Content, Files, spoilt, swapped, without_largest
from stages.contract import OUTPUT_DIRECTORY, REPORT_NAME, REPORT_SEAL_NAME, Report, seal_of
from stages.documents import ContractError

REPORT = f"{OUTPUT_DIRECTORY}/{REPORT_NAME}"


class SessionScheduler:
    """Advances sessions. The caller holds the world's lock and passes times that never decrease."""

    def __init__(
        self,
        rules: Rules,
        sandbox: Sandbox,
        injector: FaultInjector,
        kernels: Kernels,
        datasets: DatasetStore,
        models: Models,
    ) -> None:
        self._rules = rules
        self._sandbox = sandbox
        self._injector = injector
        self._kernels = kernels
        self._datasets = datasets
        self._models = models
        self._everywhere: dict[str, Files] = {}
        self._started = 0

    def offer_everywhere(self, place: str, files: Files) -> None:
        """Mount files below `place` in every session that starts from now on."""
        self._everywhere[place] = files

    def invalid_sources(
        self, datasets: Iterable[str], kernels: Iterable[str], models: Iterable[str]
    ) -> dict[str, tuple[str, ...]]:
        """Return the sources that do not exist. A push succeeds all the same and runs without them."""
        return {
            "datasets": tuple(s for s in datasets if not self._datasets.exists(*_split(s)[:2])),
            "kernels": tuple(s for s in kernels if not self._kernels.exists(*_split(s)[:2])),
            "models": tuple(s for s in models if not self._models.is_source(s)),
        }

    def advance(self, now: datetime) -> None:
        """Advance every session to `now`, in the order of events."""
        due = [s for s in self._kernels.live() if s.status is Status.QUEUED and s.starts_at <= now]
        for session in sorted(due, key=lambda s: s.starts_at):
            self._settle_all(session.starts_at)  # an input may come from a session that ended in between
            self._start(session)
        self._settle_all(now)

    def abandon(self, session: KernelSession, now: datetime) -> None:
        """End a session whose kernel was deleted."""
        if session.running is not None:
            session.running.kill(session.ran_s(session.starts_at, now))
        session.status, session.ended, session.running = Status.CANCEL_ACKNOWLEDGED, now, None

    def _start(self, session: KernelSession) -> None:
        self._started += 1
        session.number = self._started
        session.started = session.starts_at
        session.status = Status.RUNNING
        session.triggers = self._injector.triggers(session.number)
        stale = self._injector.session_fault(session.number, SessionAction.STALE_STATUS)
        session.stale_s = stale.seconds if stale else 0.0
        unmounted = self._injector.session_fault(session.number, SessionAction.UNMOUNT)
        launch = Launch(
            owner=session.owner,
            slug=session.slug,
            version=session.version,
            source=session.save.text,
            is_notebook=session.save.kernel_type == "notebook",
            mounts=() if unmounted else tuple(self._mounts(session, session.starts_at)),
            limit_s=session.limit_s,
            started=session.starts_at,
            environment=self._injector.image(session.number),
        )
        try:
            session.running = self._sandbox.start(launch)
        except OSError as error:  # this machine cannot run it: fail the session, not the server
            session.status, session.message, session.ended = Status.ERROR, str(error), session.started

    def _settle_all(self, now: datetime) -> None:
        for session in self._kernels.live():
            if session.running is not None:
                self._settle(session, session.running, now)

    def _settle(self, session: KernelSession, running: Running, now: datetime) -> None:
        assert session.started is not None
        elapsed_s = (now - session.started).total_seconds()
        seen_s = min(elapsed_s, session.limit_s)
        news = running.log(seen_s, after=len(session.lines))
        strikes = [(watch.strikes_at_s(news), watch) for watch in session.triggers]
        due = [(at_s, watch) for at_s, watch in strikes if at_s is not None and at_s <= seen_s]
        for at_s, watch in sorted(due, key=lambda item: item[0]):
            if running.poll(at_s) is not None:
                break
            session.triggers = tuple(w for w in session.triggers if w is not watch)
            watch.strike()
            if watch.fault.action is SessionAction.KILL:
                running.kill(at_s)
                return self._end(session, running, Status.ERROR, at_s)
            if watch.fault.action is SessionAction.CANCEL:
                running.kill(at_s)
                return self._end(session, running, Status.CANCEL_ACKNOWLEDGED, at_s)
            if watch.fault.action is SessionAction.SLOW:
                running.slow(at_s)
            else:
                running.stall(at_s)
        session.lines.extend(
            running.log(seen_s, after=len(session.lines))
        )  # a stalled session may have written less than `news`
        ended = running.poll(seen_s)
        if ended is not None:
            status = Status.COMPLETE if ended.code == 0 else Status.ERROR
            return self._end(session, running, status, ended.at_s)
        if elapsed_s >= session.limit_s:
            running.kill(session.limit_s)
            if not self._rules.behaviour.limit_cancels:
                return self._end(session, running, Status.ERROR, session.limit_s)
            session.message = TIME_LIMIT_MESSAGE
            return self._end(session, running, Status.CANCEL_ACKNOWLEDGED, session.limit_s)
        return None

    def _end(self, session: KernelSession, running: Running, status: Status, at_s: float) -> None:
        assert session.started is not None
        session.status = status
        session.ended = session.started + timedelta(seconds=at_s)
        session.lines = list(running.log(at_s))
        session.files = running.output(at_s)
        session.running = None
        held = self._injector.session_fault(session.number, SessionAction.HOLD_SLOT)
        session.slot_until = session.ended + timedelta(seconds=held.seconds) if held else None
        if sum(file.size_bytes for file in session.files.values()) > self._rules.output_bytes_max:
            session.status, session.message, session.files = Status.ERROR, OUTPUT_LIMIT_MESSAGE, {}
        if status is not Status.COMPLETE and not self._rules.behaviour.keeps_unclean:
            session.files, session.lines = {}, []
        self._spoil(session)

    def _spoil(self, session: KernelSession) -> None:
        if self._injector.session_fault(session.number, SessionAction.LOSE_OUTPUT):
            session.files, session.lines = {}, []
        if self._injector.session_fault(session.number, SessionAction.LOSE_LOG):
            session.lines = []
        for action, spoil in SPOILT.items():
            if self._injector.session_fault(session.number, action):
                session.files = spoil(session.files)

    def _mounts(self, session: KernelSession, now: datetime) -> Iterable[Mount]:
        """Yield the mounts below `/kaggle/input` as of now. Missing sources are silently left out."""
        previous = self._injector.session_fault(session.number, SessionAction.MOUNT_PREVIOUS) is not None
        for source in session.save.dataset_sources:
            files = self._previous_dataset(source, now) if previous else self._dataset_files(source, now)
            if files is not None:
                yield self._mount(session, source, files, self._rules.dataset_layouts)
        for source in session.save.kernel_sources if self._rules.behaviour.mounts_outputs else ():
            output = self._previous_output(source) if previous else self._kernel_output(source)
            if output is not None:
                yield self._mount(session, source, output, self._rules.kernel_layouts)
        for source in session.save.model_sources if self._rules.behaviour.mounts_models else ():
            if self._models.is_ready(source, now):
                yield Mount(name=source, place=f"models/{source}", files=self._models.files(source, now))
        for place, files in self._everywhere.items():
            yield Mount(name=place, place=place, files=files)

    def _mount(self, session: KernelSession, source: str, files: Files, layouts: tuple[str, ...]) -> Mount:
        owner, slug, _ = _split(source)
        layout = self._rules.choose(layouts, f"{session.slug}:{session.version}:{source}")
        return Mount(name=f"{owner}/{slug}", place=layout.format(owner=owner, slug=slug), files=files)

    def _dataset_files(self, source: str, now: datetime) -> Files | None:
        owner, slug, pinned = _split(source)
        if not self._datasets.exists(owner, slug):
            return None
        number = pinned if self._rules.pins_versions else None
        version = self._datasets.version(owner, slug, number, now)
        return version.files if version is not None else None

    def _previous_dataset(self, source: str, now: datetime) -> Files | None:
        """Return the files that were ready before the newest version: an older version, or the previous dataset."""
        owner, slug, _ = _split(source)
        if not self._datasets.exists(owner, slug):
            return None
        found: list[Files] = []
        for dataset in self._datasets.all():
            if dataset.owner == owner:
                found += [version.files for version in dataset.versions if version.is_ready(now)]
            if dataset.slug == slug:
                break
        return found[-2] if len(found) > 1 else None

    def _previous_output(self, source: str) -> Files | None:
        """Return the output of the session that ended before the requested one."""
        owner, slug, _ = _split(source)
        found: list[Files] = []
        for kernel in self._kernels.all():
            ran = [version.session for version in kernel.versions if version.session is not None]
            if kernel.owner == owner:
                found += [session.files for session in ran if not session.live]
            if kernel.slug == slug:
                break
        return found[-2] if len(found) > 1 else None

    def _kernel_output(self, source: str) -> Files | None:
        """Return the output of the newest session that ended, whatever its status."""
        owner, slug, _ = _split(source)
        if not self._kernels.exists(owner, slug):
            return None
        ended = [
            version.session
            for version in self._kernels.find(owner, slug).versions
            if version.session is not None and not version.session.live
        ]
        return ended[-1].files if ended else None


SPOILT: dict[SessionAction, Callable[[Files], Files]] = {
    SessionAction.SPOIL_OUTPUT: lambda files: spoilt(files, lambda data: data[:-1]),
    SessionAction.FLIP_OUTPUT: lambda files: spoilt(files, lambda data: bytes([data[0] ^ 1]) + data[1:]),
    SessionAction.SWAP_OUTPUT: swapped,
    SessionAction.DROP_OUTPUT: without_largest,
    SessionAction.LOSE_REPORT: lambda files: {name: file for name, file in files.items() if name != REPORT},
    SessionAction.FOREIGN_REPORT: lambda files: _with_foreign_report(files),
}
"""Functions that damage a session's output, by fault."""


def _with_foreign_report(files: Files) -> Files:
    """Return the files with another run's report; an unreadable report is left as it is."""
    try:
        report = Report.from_json(files[REPORT].read())
    except (KeyError, ContractError):
        return files
    foreign = replace(report, run=f"not-{report.run}", token="0" * 24)
    data, modified = foreign.to_json().encode(), files[REPORT].modified
    seal = f"{OUTPUT_DIRECTORY}/{REPORT_SEAL_NAME}"
    return {**files, REPORT: Content.of_bytes(data, modified), seal: Content.of_bytes(seal_of(data), modified)}


def _split(source: str) -> tuple[str, str, int | None]:
    owner, _, rest = source.partition("/")
    slug, _, number = rest.partition("/")
    return owner, slug, int(number) if number.isdigit() else None

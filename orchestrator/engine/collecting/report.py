"""Reads the report that a session wrote about itself."""

from pathlib import PurePosixPath

from orchestrator.base.errors import Corrupt
from orchestrator.engine.collecting.files import TRIES, SessionFiles
from stages.contract import OUTPUT_DIRECTORY, REPORT_NAME, REPORT_SEAL_NAME, Report
from stages.documents import ContractError
from state.model.run_state import Session
from state.model.statuses import Outcome

REPORTED = (Outcome.FINISHED, Outcome.YIELDED, Outcome.FAILED)
"""Outcomes that a session can report."""


def report_of(session: Session, files: SessionFiles) -> Report | None:
    """Return the session's own report; None if it is missing, damaged, invalid or another session's."""
    path = PurePosixPath(OUTPUT_DIRECTORY) / REPORT_NAME
    for _try in range(TRIES if str(path) in files.listed else 0):
        try:
            report = Report.from_json(files.sealed(path, REPORT_SEAL_NAME, files.incoming / REPORT_NAME))
        except (ContractError, Corrupt):
            continue
        if report.outcome not in REPORTED:
            continue
        mine = (report.run, report.session, report.attempt, report.token)
        return report if mine == (session.run, session.number, session.attempt, session.token) else None
    return None

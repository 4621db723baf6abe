"""Real daemons that tell a person: what arrives, and that no service can hold training up."""

from pathlib import Path

import pytest

from tests.contract.receiving import SECRET, receiver
from tests.rehearsal.laptop import Laptop, laptop


def told_of_all(mine: Laptop, url: str) -> None:
    """Every kind of event goes to this address, and not through the local Kaggle, which is the proxy too."""
    mine.environ = {**mine.environ, "NO_PROXY": "localhost", "no_proxy": "localhost"}
    url = url.replace("127.0.0.1", "localhost")
    mine.home.mkdir(exist_ok=True)
    path = mine.home / "notify.yaml"
    path.write_text(f"urls: ['{url}']\nevents: all\n", encoding="utf-8")
    path.chmod(0o600)


@pytest.mark.slow
def test_a_person_is_told_once_of_each_session_though_daemons_are_killed_and_no_secret_is_kept(tmp_path: Path) -> None:
    with receiver() as server, laptop(tmp_path) as (mine, kaggle):
        told_of_all(mine, server.url)
        first = mine.daemon()
        mine.until(
            lambda: mine.ask("SELECT 1 FROM notification_mark WHERE subject NOT IN ('')") or len(server.taken) > 1,
            first,
        )
        first.kill()
        first.wait()
        second = mine.daemon()
        mine.until(lambda: server.titles and server.titles[-1].endswith("is finished"), second)
        mine.assert_finished(kaggle)
        sessions = len(mine.run["sessions"])
        said = "\n".join(message["message"] for message in server.taken)
        told = [said.count(f"session {number} ") for number in range(1, sessions + 1)]
        assert min(told) == 1, said
        assert sum(told) <= sessions + 1, (
            said
        )  # one may have been taken, and not been marked, when the first was killed
        assert said.count("finished; look:") == 1, said
        for path in [mine.home / "relay.db", mine.log]:
            assert SECRET.encode() not in path.read_bytes(), path
        assert kaggle.key not in said
        assert kaggle.token not in said


@pytest.mark.slow
def test_a_service_that_never_answers_holds_up_neither_training_nor_the_end(tmp_path: Path) -> None:
    with receiver() as server, laptop(tmp_path) as (mine, kaggle):
        told_of_all(mine, server.url)
        server.free.clear()
        done = mine.relay("up", str(mine.pipeline))
        assert done.returncode == 0, done.stderr
        mine.assert_finished(kaggle)
        assert "did not accept a message" in done.stderr
        assert SECRET not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_notify_file_that_is_wrong_is_told_and_training_goes_on(tmp_path: Path) -> None:
    with laptop(tmp_path) as (mine, kaggle):
        told_of_all(mine, f"nonsense://{SECRET}")
        done = mine.relay("up", str(mine.pipeline))
        assert done.returncode == 0, done.stderr
        mine.assert_finished(kaggle)
        assert "address 1 (nonsense://…) is not one that apprise can use" in done.stderr
        assert SECRET not in done.stdout + done.stderr

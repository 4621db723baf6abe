"""What a refusal is about: a name that is taken, room that is missing, or bytes that have to be sent again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.base.errors import NameTaken, NoRoom, Refused
from orchestrator.kaggle.refusals import dataset_refused, invalidates_uploads, name_refused


@pytest.mark.parametrize(
    ("reason", "kind", "resend"),
    [
        ('The requested title "c" is already in use by a dataset. Please choose another title.', NameTaken, False),
        ("A dataset with this slug already exists", NameTaken, False),
        ("HTTP 409: conflict", NameTaken, False),
        ("You have exceeded your private storage quota of 200 GB", NoRoom, False),
        ("Dataset is too large", NoRoom, False),
        ("Maximum dataset size exceeded: limit is 200 GB", NoRoom, False),
        ("There is not enough space for this upload", NoRoom, False),
        ("Invalid token", Refused, True),
        ("The blob was not found", Refused, True),
        ("Upload expired", Refused, True),
        ("File state.bin not found", Refused, True),
        ("Permission 'datasets.create' was denied", Refused, False),
        ("it gave no reason", Refused, False),
    ],
)
def test_a_declined_dataset_says_whether_its_bytes_are_of_use(reason: str, kind: type[Refused], resend: bool) -> None:
    error = dataset_refused("gsm-1-c0001", reason)
    assert (type(error), invalidates_uploads(error)) == (kind, resend)
    assert reason in str(error)


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        ("Notebook not found", True),
        ("The requested title is already in use", True),
        ("Maximum batch TPU session count of 1 reached.", False),
        ("The kernel source must be less than 1 megabytes in size.", False),
        ("The kernel title must be at least five characters", False),
    ],
)
def test_a_declined_push_says_whether_another_name_would_help(reason: str, name: bool) -> None:
    assert name_refused(reason) is name


@given(st.text(max_size=300))
def test_any_text_has_a_meaning(reason: str) -> None:
    assert isinstance(dataset_refused("gsm-1-c0001", reason), Refused)

"""The progress of an upload: what is sent again counts once, and each tenth is told once."""

from orchestrator.views.upload_progress import SentBytes


def test_files_that_are_sent_at_the_same_time_add_up_and_each_tenth_is_told_once() -> None:
    said: list[str] = []
    told: list[int] = []
    sent = SentBytes(2000, said.append, told.append)
    for name, position in (("a", 150), ("b", 100), ("a", 150), ("a", 300), ("b", 1000), ("a", 1000)):
        sent.reached(name, position)
    assert told == [150, 250, 250, 400, 1300, 2000]
    assert said == [
        "sent 250 B of 2.0 KiB (10 %)",
        "sent 400 B of 2.0 KiB (20 %)",
        "sent 1.3 KiB of 2.0 KiB (60 %)",
        "sent 2.0 KiB of 2.0 KiB (100 %)",
    ]


def test_a_part_that_is_sent_again_after_an_interruption_counts_once() -> None:
    told: list[int] = []
    sent = SentBytes(1000, lambda _: None, told.append)
    for position in (600, 200, 600, 1000):
        sent.reached("a", position)
    assert told == [600, 600, 600, 1000]


def test_an_upload_of_empty_files_tells_nothing() -> None:
    said: list[str] = []
    SentBytes(0, said.append).reached("a", 0)
    assert said == []

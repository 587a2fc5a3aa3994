"""What is kept in memory for a short while."""

from traces.recent import Recent


def test_things_are_kept_for_their_time_and_the_oldest_makes_room():
    now = [0.0]
    recent = Recent(size=2, seconds=10, clock=lambda: now[0])
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (1, None, 3)
    now[0] = 10.5
    assert recent.get("a") is None
    recent.put("d", 4)
    assert list(recent.kept) == ["d"]

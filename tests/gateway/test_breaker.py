from hypothesis import given, settings
from hypothesis import strategies as st

from avengers_pro.gateway.breaker import Breaker, BreakerSettings

SETTINGS = BreakerSettings(window=30, min_requests=4, failure_share=0.5, cooldown=10, half_open_probes=2)


def fed(*outcomes, now=0.0, rules=SETTINGS):
    breaker = Breaker(rules)
    for ok in outcomes:
        breaker.record(now, ok=ok)
    return breaker


def test_it_opens_at_the_share_of_failures_and_not_before_enough_requests():
    assert fed(False, False, False).state(0.0) == "closed"
    assert fed(True, True, True, False, False).state(0.0) == "closed"
    assert fed(True, True, False, False).state(0.0) == "open"
    assert not fed(True, True, False, False).allow(0.0)


def test_a_success_never_opens_it():
    breaker = fed(False, False, False, True)
    assert breaker.state(0.0) == "closed"


def test_failures_out_of_the_window_are_forgotten():
    breaker = fed(False, False, False, now=0.0)
    breaker.record(30.5, ok=False)
    assert breaker.state(30.5) == "closed"


def test_after_the_cooldown_probes_go_through_and_a_success_closes_it():
    breaker = fed(*[False] * 4)
    assert not breaker.allow(9.9)
    assert breaker.state(10.0) == "half-open"
    assert [breaker.allow(10.0) for _ in range(3)] == [True, True, False]
    breaker.record(11.0, ok=True)
    assert breaker.state(11.0) == "closed"
    breaker.record(11.0, ok=False)
    assert breaker.state(11.0) == "closed"  # what was before does not count any more


def test_a_probe_that_fails_opens_it_anew():
    breaker = fed(*[False] * 4)
    assert breaker.allow(10.0)
    breaker.record(12.0, ok=False)
    assert breaker.state(21.9) == "open"
    assert breaker.state(22.0) == "half-open"
    assert breaker.allow(22.0)


def test_a_probe_that_is_taken_back_may_be_made_again():
    breaker = fed(*[False] * 4)
    assert breaker.allow(10.0)
    assert breaker.allow(10.0)
    breaker.forget()
    assert breaker.allow(10.0)
    assert not breaker.allow(10.0)


def test_while_open_requests_from_before_change_nothing():
    """An answer that was under way when it opened must neither close it nor put the next try off."""
    breaker = fed(*[False] * 4)
    breaker.record(5.0, ok=True)
    assert breaker.state(5.0) == "open"
    breaker.record(6.0, ok=False)
    assert breaker.state(10.0) == "half-open"


def test_an_operators_fault_opens_it_at_once():
    breaker = fed(True, True)
    breaker.trip(3.0)
    assert breaker.state(12.9) == "open"
    assert breaker.state(13.0) == "half-open"


def test_it_rests_as_long_as_it_was_asked_to():
    breaker = fed(True)
    breaker.rest(20.0)
    breaker.rest(5.0)
    assert breaker.state(19.9) == "open"
    assert not breaker.allow(19.9)
    assert breaker.resting(15.0) == 5.0
    assert breaker.resting(30.0) == 0.0
    assert breaker.allow(20.0)


class Reference:
    """The same by looking at everything that ever happened."""

    def __init__(self, rules):
        self.rules, self.history = rules, []

    def walk(self):
        """Go through the history; return when it opened (None = closed), probes under way, and until when it rests."""
        opened, probes, rest, counted = None, 0, 0.0, []
        rules = self.rules
        for now, event, value in self.history:
            half_open = opened is not None and now - opened >= rules.cooldown
            if event == "rest":
                rest = max(rest, value)
            elif event == "trip":
                opened, probes = now, 0
            elif event == "forget":
                probes = max(0, probes - 1)
            elif event == "allow":
                probes += half_open and now >= rest and probes < rules.half_open_probes
            elif opened is None:
                counted.append((now, value))
                recent = [ok for at, ok in counted if at >= now - rules.window]
                enough = len(recent) >= rules.min_requests
                if not value and enough and recent.count(False) >= rules.failure_share * len(recent):
                    opened, probes = now, 0
            elif half_open:
                opened, probes, counted = (None, 0, []) if value else (now, 0, counted)
        return opened, probes, rest

    def state(self, now):
        opened, _, rest = self.walk()
        if now < rest:
            return "open"
        if opened is None:
            return "closed"
        return "half-open" if now - opened >= self.rules.cooldown else "open"

    def allow(self, now):
        allowed = self.state(now) == "closed" or (
            self.state(now) == "half-open" and self.walk()[1] < self.rules.half_open_probes
        )
        self.history.append((now, "allow", None))
        return allowed


EVENTS = st.one_of(
    st.tuples(st.just("record"), st.booleans()),
    st.tuples(st.just("record"), st.just(False)),
    st.tuples(st.just("allow"), st.none()),
    st.tuples(st.just("rest"), st.integers(0, 20)),
    st.tuples(st.sampled_from(["trip", "forget"]), st.none()),
)


@settings(max_examples=300, deadline=None)
@given(
    st.builds(
        BreakerSettings,
        window=st.sampled_from([1.0, 5.0, 30.0]),
        min_requests=st.integers(1, 4),
        failure_share=st.sampled_from([0.25, 0.5, 1.0]),
        cooldown=st.sampled_from([1.0, 4.0]),
        half_open_probes=st.integers(1, 2),
    ),
    st.lists(st.tuples(st.sampled_from([0, 0, 0.5, 1, 4]), EVENTS), max_size=40),
)
def test_it_does_what_the_plain_reference_does(rules, steps):
    breaker, reference, now = Breaker(rules), Reference(rules), 0.0
    for passed, (event, value) in steps:
        now += passed
        assert breaker.state(now) == reference.state(now)
        if event == "allow":
            assert breaker.allow(now) == reference.allow(now)
            continue
        wait = now + value if event == "rest" else value
        reference.history.append((now, event, wait))
        if event == "record":
            breaker.record(now, ok=value)
        elif event == "rest":
            breaker.rest(wait)
        else:
            getattr(breaker, event)(*([now] if event == "trip" else []))
        assert breaker.state(now) == reference.state(now)

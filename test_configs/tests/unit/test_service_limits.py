"""The request limit and what tests ask about it."""
from hypothesis import given
from hypothesis import strategies as st

from local_globus_compute.service.admin import busiest_window
from local_globus_compute.service.limits import RequestWindow
from local_globus_compute.service.requestlog import CAPACITY, LoggedRequest, RequestLog


def test_as_many_requests_as_the_limit_are_admitted_and_the_next_is_told_when_to_come_back():
    window = RequestWindow(3, 10.0, False)
    assert [window.admit("a", now) for now in (0.0, 1.0, 2.0)] == [None, None, None]
    assert window.admit("a", 4.0) == 6.0
    assert window.admit("a", 9.5) == 0.5


def test_a_client_that_goes_on_asking_is_kept_out_when_refused_requests_count():
    window = RequestWindow(1, 10.0, True)
    window.admit("a", 0.0)
    assert [window.admit("a", now) for now in (6.0, 12.0, 18.0)] == [10.0, 10.0, 10.0]
    assert window.admit("a", 28.0) is None


def test_a_client_that_waits_as_told_is_admitted_however_often_it_was_refused_when_that_does_not_count():
    window = RequestWindow(1, 10.0, False)
    window.admit("a", 0.0)
    assert all(window.admit("a", now) is not None for now in (1.0, 2.0, 9.0))
    assert window.admit("a", 10.0) is None


def test_clients_have_budgets_of_their_own():
    window = RequestWindow(1, 10.0, False)
    assert window.admit("a", 0.0) is None
    assert window.admit("b", 0.0) is None
    assert window.admit("a", 0.0) is not None


def test_no_limit_admits_everything():
    window = RequestWindow(None, 10.0, False)
    assert all(window.admit("a", 0.0) is None for _ in range(1000))


def test_a_limit_that_is_lowered_counts_what_was_admitted_before():
    window = RequestWindow(3, 10.0, False)
    for now in (0.0, 1.0, 2.0):
        window.admit("a", now)
    window.set(1, 10.0, False)
    assert window.admit("a", 5.0) == 7.0
    assert window.admit("a", 12.0) is None


#: Of seconds: sums of them are exact, as seconds of a real clock need not be.
EIGHTHS = st.integers(0, 32).map(lambda n: n / 8)


@given(requests=st.integers(1, 5), gaps=st.lists(EIGHTHS, max_size=60), count_refused=st.booleans())
def test_no_window_ever_holds_more_admitted_requests_than_the_limit(requests, gaps, count_refused):
    window, now, admitted = RequestWindow(requests, 10.0, count_refused), 0.0, []
    for gap in gaps:
        now += gap
        if window.admit("a", now) is None:
            admitted.append(now)
    for start in admitted:
        assert sum(start <= time < start + 10.0 for time in admitted) <= requests


@given(requests=st.integers(1, 5), gaps=st.lists(EIGHTHS, max_size=60), count_refused=st.booleans())
def test_a_refusal_names_a_time_at_which_the_client_is_admitted(requests, gaps, count_refused):
    window, now = RequestWindow(requests, 10.0, count_refused), 0.0
    for gap in gaps:
        now += gap
        wait = window.admit("a", now)
        if wait is not None:
            assert 0 < wait <= 10.0
            now += wait + 2 ** -20
            assert window.admit("a", now) is None


def request(arrived, client_id="a", counted=True):
    return LoggedRequest(1, arrived, 0.0, client_id, "GET", "version", counted)


def test_the_busiest_window_is_of_one_client_and_of_counted_requests():
    seen = [request(0.0), request(1.0, "b"), request(2.0, counted=False), request(9.9), request(10.0), request(25.0)]
    assert busiest_window(seen, 10.0) == 2
    assert busiest_window(seen, 11.0) == 3
    assert busiest_window([], 10.0) == 0


def test_the_request_log_keeps_the_last_ones_and_gives_those_after_a_number():
    log = RequestLog()
    for _ in range(CAPACITY + 2):
        log.open("GET", "version", 0)
    assert [entry["number"] for entry in log.since(CAPACITY)] == [CAPACITY + 1, CAPACITY + 2]
    kept = log.since(0)
    assert (kept[0]["number"], len(kept)) == (3, CAPACITY)

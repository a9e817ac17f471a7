"""What the benchmark of real endpoints says of the times; the times themselves are not measured here."""
from __future__ import annotations

from types import SimpleNamespace

import pytest

import localhost


class NoEndpoints:
    """Stands where the real endpoints do, which these tests do not need."""

    admin = SimpleNamespace(requests=lambda: [])

    def __init__(self, endpoints: object) -> None:
        pass

    def __enter__(self) -> NoEndpoints:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("of_bound, rival, status", [(1.0, 4.0, 0), (1.2, 4.0, 1), (1.0, 2.0, 1)])
def test_the_status_is_1_if_a_figure_is_missed(monkeypatch, capsys, of_bound, rival, status):
    monkeypatch.setattr(localhost, "LocalGlobusCompute", NoEndpoints)
    monkeypatch.setattr(localhost, "timed", lambda compute, side, naps, chained=False:
                        localhost.lower_bound(naps) * (of_bound if side == localhost.OURS else rival))
    assert localhost.main(["--only", "sleep-600", "--repeats", "1"]) == status
    assert ("MISSED" in capsys.readouterr().out) == bool(status)


def test_what_has_no_bound_is_not_missed(monkeypatch, capsys):
    monkeypatch.setattr(localhost, "LocalGlobusCompute", NoEndpoints)
    monkeypatch.setattr(localhost, "timed", lambda *_, **__: 1e6)
    assert localhost.main(["--only", "chain-20", "bag-2000"]) == 0

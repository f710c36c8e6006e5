import pytest

from spar_core.engines.server_address import is_on_this_machine, proxy_for
from spar_core.errors import EngineError


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://plain:3128")
    monkeypatch.setenv("HTTPS_PROXY", "secure:3128")
    monkeypatch.setenv("NO_PROXY", "inner.example")


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:8000/v1", True),
        ("http://127.0.0.1:8000/v1", True),
        ("http://127.8.9.1/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://0.0.0.0:8000/v1", True),
        ("http://10.0.0.7:8000/v1", False),
        ("http://localhost.example:8000/v1", False),
        ("https://api.example/v1", False),
    ],
)
def test_which_addresses_are_this_machine(url: str, local: bool) -> None:
    assert is_on_this_machine(url) is local
    assert (proxy_for(url) is None) is local


def test_the_environment_names_the_proxy_of_other_machines() -> None:
    assert proxy_for("http://far.example/v1") == "http://plain:3128"
    assert proxy_for("https://far.example/v1") == "http://secure:3128"
    assert proxy_for("http://inner.example:80/v1") is None


def test_a_proxy_for_everything_is_used_where_no_other_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.setenv("ALL_PROXY", "http://all:1")
    assert proxy_for("https://far.example/v1") == "http://all:1"


def test_a_proxy_of_another_kind_is_refused_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://me:sesame@far:1080")
    with pytest.raises(EngineError, match=r"socks5.*HTTPS_PROXY") as caught:
        proxy_for("https://far.example/v1")
    assert "sesame" not in str(caught.value)

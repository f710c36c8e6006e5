import json

import pytest

from spar_core.engines.model_reference import check_reference, is_registered, is_server, server_reference
from spar_core.errors import ConfigError


@pytest.mark.parametrize(
    ("reference", "server", "registered"),
    [
        ("starter", False, False),
        ("./folder", False, False),
        ("organisation/name", False, False),
        ("actor@champion", False, True),
        ("refiner/3", False, True),
        ("refiner/three", False, False),
        ("http://host/v1", True, False),
        ("https://host/v1#m", True, False),
        ("judge.yaml", True, False),
        ("/etc/judge.json", True, False),
    ],
)
def test_the_forms_are_told_apart(reference, server, registered):
    assert (is_server(reference), is_registered(reference)) == (server, registered)


def test_an_address_carries_the_common_settings():
    server = server_reference("https://host/v1#org/m:7b&key=THE_KEY&concurrency=8&timeout=2.5&retries=0&digest=w1")
    engine = server.engine(server.model, max_retries=3)
    assert (server.model, server.shown) == ("org/m:7b", "https://host/v1#org/m:7b")
    assert (engine.base_urls, engine.model, engine.api_key_env) == (("https://host/v1",), "org/m:7b", "THE_KEY")
    assert (engine.max_concurrency, engine.timeout_s, engine.max_retries) == (8, 2.5, 3)
    assert engine.model_digest == "w1"


@pytest.mark.parametrize("reference", ["https://host/v1", "https://host/v1#", "https://host/v1#&key=THE_KEY"])
def test_the_only_model_of_a_server_need_not_be_named(reference):
    assert server_reference(reference).model is None


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_a_description_takes_all_that_the_engine_takes(tmp_path, suffix):
    fields = {
        "base_urls": ["http://a/v1", "http://b/v1"],
        "model": "m",
        "api_key_env": "THE_KEY",
        "max_concurrency": 4,
        "extra_body": {"chat_template_kwargs": {"enable_thinking": False}},
    }
    file = tmp_path / f"judge.{suffix}"
    file.write_text(json.dumps(fields), encoding="utf-8")  # JSON is YAML
    engine = server_reference(str(file)).engine("m")
    assert engine.model_dump(include=set(fields), mode="json") == fields


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("https://host/v1#m&concurrency=many", "concurrency= takes a number, got 'many'"),
        ("https://host/v1#m&concurrency=0", "max_concurrency: .*greater than or equal to 1"),
        ("https://host/v1#m&speed=9", "key=, concurrency=, timeout=, retries=, wait=, digest=.*got speed="),
        ("https://host/v1#m&key=", "&-separated key="),
        ("https://host/v1#m&key=sk-canary7f3a91d2", "name of an environment variable"),
        ("https://host/v1#m&key=canary7f3a91d2", "name of an environment variable"),
        ("https://host/v1#m&canary7f3a91d2", "&-separated key="),
        ("https://me:canary7f3a91d2@host/v1#m", "no user, password"),
        ("https://host/v1?key=canary7f3a91d2#m", "no user, password, query"),
        ("http://#m", "no server address"),
        (" ", "empty"),
    ],
)
def test_what_is_not_in_form_is_refused_without_repeating_a_secret(reference, told):
    with pytest.raises(ConfigError, match=told) as refused:
        check_reference(reference)
    assert "canary" not in str(refused.value)


def test_a_variable_may_have_any_name_where_it_is_set(monkeypatch):
    monkeypatch.setenv("myKey", "x")
    assert server_reference("https://host/v1#m&key=myKey").settings == {"api_key_env": "myKey"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "does not exist"),
        ("{", "cannot be read"),
        ("just text", "no mapping"),
        ("model: m", "base_urls"),
        ("{base_urls: [http://a], model: m, maxconcurrency: 3}", "maxconcurrency: Extra inputs"),
        ("{base_urls: [http://a], model: m, api_key_env: sk-canary7f3a91d2}", "name of an environment variable"),
        ("{base_urls: [http://a], model: m, extra_body: {api_key: canary7f3a91d2}}", "api_key: {from_env: VARIABLE}"),
    ],
)
def test_a_description_that_cannot_be_used_says_why(tmp_path, text, told):
    file = tmp_path / "judge.yaml"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=told) as refused:
        server_reference(str(file))
    assert "canary" not in str(refused.value)

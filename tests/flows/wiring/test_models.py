"""Servers given by their address, against real small HTTP servers."""

import logging

import pytest

from flows.wiring.models import ModelFinder, ServerOptions, check_options
from spar_core.engines.configuration import OpenAIEngineConfig, TransformersEngineConfig
from spar_core.errors import ConfigError, EngineError
from storage.home import Home
from tests.chat_server import chat_server


@pytest.fixture
def server():
    """Lists the models in `models`; with none it keeps its list to itself (404)."""
    with chat_server() as running:
        yield running


@pytest.fixture
def served(server, tmp_path):
    def find(name="", options=None):
        finder = ModelFinder(Home(tmp_path), TransformersEngineConfig(), options)
        return finder.served(server.url + name)

    return find


def test_the_only_model_need_not_be_named(served):
    engine = served().engine
    assert isinstance(engine, OpenAIEngineConfig)
    assert (engine.model, engine.timeout_s, engine.max_retries) == ("m", 600.0, 6)


def test_options_go_before_the_reference(server, served):
    server.models = [{"id": "m"}, {"id": "n"}]
    engine = served("#n&timeout=7&retries=1&concurrency=3&wait=9", ServerOptions(timeout_s=5, max_wait_s=8)).engine
    found = (engine.model, engine.timeout_s, engine.max_retries, engine.max_concurrency, engine.max_wait_s)
    assert found == ("n", 5, 1, 3, 8)
    assert served("#n&wait=9").engine.max_wait_s == 9


def test_several_models_must_be_named(server, served):
    server.models = [{"id": "m"}, {"id": "n"}]
    with pytest.raises(EngineError, match=r"serves m, n; name one: .*/v1#MODEL"):
        served()


@pytest.mark.parametrize("models", [None, [{"id": "another"}]])
def test_a_named_model_needs_no_list_nor_a_whole_one(server, served, models, caplog):
    """The engine opens too, and asks for no list again."""
    server.models = models
    found = served("#m")
    assert (found.engine.model, found.engine.model_digest) == ("m", found.model.digest)
    assert len(server.chats) == 6
    server.answer = "changed {}".format
    assert served("#m").model.digest != found.model.digest


def test_without_a_list_the_model_must_be_named(server, served):
    server.models = None
    with pytest.raises(EngineError, match=r"does not list its models \(HTTP 404.*name its model: #MODEL"):
        served()


def test_a_server_that_is_not_there_is_noticed_at_once(tmp_path):
    finder = ModelFinder(Home(tmp_path), TransformersEngineConfig())
    with pytest.raises(EngineError, match="no OpenAI-compatible server answers at"):
        finder.served("http://127.0.0.1:9/v1#m")


def test_a_stated_identity_is_not_probed_for(server, served):
    by_option = served("#m", ServerOptions(model_digest="release 7"))
    by_reference = served("#m&digest=release 7")
    assert by_option.model.digest == by_reference.model.digest == by_option.engine.model_digest == "release 7"
    assert not server.chats


def test_one_command_asks_a_server_once(server, tmp_path):
    finder = ModelFinder(Home(tmp_path), TransformersEngineConfig(), ServerOptions(fresh=True))
    first = finder.served(server.url)
    asked = len(server.chats)
    assert finder.served(server.url) == first
    assert finder.served(f"{server.url}#m&concurrency=3").model == first.model  # by another name
    assert len(server.chats) == asked


def test_a_description_names_several_endpoints(server, tmp_path, caplog):
    with chat_server() as second:
        file = tmp_path / "both.yaml"
        file.write_text(f"base_urls: ['http://127.0.0.1:9/v1', '{second.url}', '{server.url}']\nmodel: m\n")
        found = ModelFinder(Home(tmp_path), TransformersEngineConfig()).served(str(file))
        assert len(second.chats) + len(server.chats) == 6
        assert found.engine.base_urls[1:] == (second.url, server.url)


def test_what_is_said_of_one_server_needs_one():
    check_options(ServerOptions(model_digest="a"), ("http://a/v1", None, "http://a/v1", "starter"))
    with pytest.raises(ConfigError, match="2 are named"):
        check_options(ServerOptions(model_digest="a"), ("http://a/v1", "http://b/v1"))
    with pytest.raises(ConfigError, match="none are named"):
        check_options(ServerOptions(model_digest="a"), ("starter",))
    with pytest.raises(ConfigError, match="--fresh"):
        check_options(ServerOptions(fresh=True), ("starter",))


def test_fresh_and_a_stated_identity_exclude_each_other(server, served):
    with pytest.raises(ConfigError, match="give one of them"):
        served("#m&digest=a", ServerOptions(fresh=True))


def test_reuse_is_said(served, caplog):
    with caplog.at_level(logging.WARNING):
        served()
        assert not caplog.messages
        served()
    assert "answers of" in caplog.messages[0]
    assert "--fresh" in caplog.messages[0]

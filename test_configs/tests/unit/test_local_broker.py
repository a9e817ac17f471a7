"""Finding RabbitMQ, and a broker given by its URL. (A private node is started in the integration tests.)"""
import socket

import pytest

from local_globus_compute import LocalComputeError, broker
from local_globus_compute.broker import GivenBroker, find_rabbitmq_server, free_port


def make_program(folder):
    folder.mkdir()
    program = folder / "rabbitmq-server"
    program.touch(mode=0o755)
    return program


def test_rabbitmq_is_found_on_path(tmp_path, monkeypatch):
    program = make_program(tmp_path / "sbin")
    monkeypatch.setenv("PATH", str(program.parent))
    assert find_rabbitmq_server() == program


def test_behind_debians_wrapper_the_program_itself_is_found(tmp_path, monkeypatch):
    program = make_program(tmp_path / "bin")
    wrapper = program.parent / "rabbitmq-script-wrapper"
    wrapper.touch(mode=0o755)
    (tmp_path / "sbin").mkdir()
    (tmp_path / "sbin" / "rabbitmq-server").symlink_to(wrapper)
    monkeypatch.setenv("PATH", str(tmp_path / "sbin"))
    assert find_rabbitmq_server() == program


def test_without_rabbitmq_the_error_says_the_ways_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(broker, "DEBIAN_PROGRAMS", tmp_path)
    with pytest.raises(LocalComputeError) as refused:
        find_rabbitmq_server()
    for way in ("apt install", "RABBITMQ_URL"):
        assert way in str(refused.value)


@pytest.mark.parametrize("url", ["http://u:p@localhost/", "localhost:5672", "amqp://", ""])
def test_a_url_of_another_form_is_refused(url):
    with pytest.raises(LocalComputeError, match="amqp://user:password@host:port/vhost"):
        GivenBroker(url)


def test_a_given_broker_that_does_not_answer_is_named_without_its_password():
    port = free_port()
    with pytest.raises(LocalComputeError) as refused:
        GivenBroker(f"amqp://user:geheim@127.0.0.1:{port}/").wait(timeout=0.1)
    assert f"127.0.0.1:{port}" in str(refused.value) and "geheim" not in str(refused.value)


def test_a_given_broker_is_not_restarted():
    given = GivenBroker("amqp://user:geheim@127.0.0.1/")
    given.stop()
    with pytest.raises(LocalComputeError, match="not ours to restart"):
        given.stop(gently=True)


def test_a_free_port_can_be_listened_on():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))

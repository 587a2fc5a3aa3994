"""The folder that stands in for Redis."""

import threading

from kombu import Connection, Queue

from config import embedded_queue


def call(task: str, arguments: str = "[]", **headers) -> dict:
    return {
        "headers": {"task": task, "retries": 0, "eta": None, **headers},
        "body": arguments,
        "properties": {"id": task},
    }


def test_message_comes_out_as_it_went_in(tmp_path):
    embedded_queue.put(tmp_path, call("look", "[1]"))
    assert embedded_queue.take(tmp_path) == call("look", "[1]")
    assert embedded_queue.take(tmp_path) is None


def test_same_call_waits_once_and_other_arguments_wait_beside_it(tmp_path):
    assert embedded_queue.put(tmp_path, call("pump", "[1]"))
    assert not embedded_queue.put(tmp_path, call("pump", "[1]"))
    assert embedded_queue.put(tmp_path, call("pump", "[2]"))
    assert [embedded_queue.take(tmp_path)["body"] for _ in range(2)] == ["[1]", "[2]"]


def test_call_may_be_asked_for_again_once_it_was_taken(tmp_path):
    embedded_queue.put(tmp_path, call("pump"))
    embedded_queue.take(tmp_path)
    assert embedded_queue.put(tmp_path, call("pump"))


def test_four_takers_get_every_message_once(tmp_path):
    for number in range(200):
        embedded_queue.put(tmp_path, call("pump", f"[{number}]"))
    taken: list[str] = []

    def work() -> None:
        while (message := embedded_queue.take(tmp_path)) is not None:
            taken.append(message["body"])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(f"[{number}]" for number in range(200))


def test_file_that_is_no_message_is_dropped(tmp_path):
    (tmp_path / "0bad.json").write_bytes(b"\x00not json")
    embedded_queue.put(tmp_path, call("look"))
    assert embedded_queue.take(tmp_path)["headers"]["task"] == "look"
    assert list(tmp_path.iterdir()) == []


def test_sweep_removes_what_killed_processes_left_and_keeps_messages(tmp_path):
    folder = tmp_path / "celery"
    embedded_queue.put(folder, call("look"))
    (folder / ".draft-1").touch()
    (folder / ".claimed-1").touch()
    assert embedded_queue.sweep(tmp_path) == 2
    assert embedded_queue.take(folder) == call("look")


def test_kombu_sends_and_receives_through_the_folder(tmp_path):
    received: list = []
    url = "folder://localhost"  # the name is registered by config.celery, where no REDIS_URL is set
    from kombu.transport import TRANSPORT_ALIASES

    TRANSPORT_ALIASES.setdefault("folder", "config.embedded_queue:Transport")
    with Connection(url, transport_options={"folder": str(tmp_path)}) as connection:
        queue = Queue("celery", routing_key="celery")
        with connection.Producer() as producer:
            producer.publish({"n": 1}, routing_key="celery", declare=[queue])

        def receive(body, message):
            received.append(body)
            message.ack()

        with connection.Consumer([queue], callbacks=[receive]):
            connection.drain_events(timeout=2)
        assert received == [{"n": 1}]
        bound = queue.bind(connection.default_channel)
        assert bound.queue_declare().message_count == 0


def test_idle_worker_wakes_within_50_ms(tmp_path):
    import time

    from celery import Celery
    from celery.contrib.testing.worker import start_worker
    from kombu.transport import TRANSPORT_ALIASES

    TRANSPORT_ALIASES.setdefault("folder", "config.embedded_queue:Transport")
    app = Celery("wake", broker="folder://localhost", set_as_current=False)
    app.conf.update(
        broker_transport_options={"folder": str(tmp_path)}, worker_enable_remote_control=False, task_ignore_result=True
    )
    delays: list[float] = []
    woken = threading.Event()

    @app.task(name="wake")
    def wake(sent: float) -> None:
        delays.append(time.monotonic() - sent)
        woken.set()

    with start_worker(app, pool="threads", concurrency=2, perform_ping_check=False, shutdown_timeout=10):
        for _ in range(8):
            woken.clear()
            wake.delay(time.monotonic())
            assert woken.wait(10)
            time.sleep(0.03)
    assert len(delays) == 8
    assert sorted(delays)[1] < 0.05  # on a busy machine single ones may be later

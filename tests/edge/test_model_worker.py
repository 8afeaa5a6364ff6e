"""A model's process over months: what ends now and then is not taken for what keeps ending."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from edge import keys
from edge.model_import import import_tflite
from edge.model_worker import ModelWorker
from edge.rendezvous import Rendezvous
from edge.values import Role
from tests.tiny_tflite import model


@pytest.fixture
def worker(tmp_path: Path) -> ModelWorker:
    (tmp_path / "colours.tflite").write_bytes(model())
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n")
    key = keys.generate(tmp_path / "device.key")
    bundle = import_tflite(tmp_path / "colours.tflite", tmp_path / "labels.txt", key=key, out=tmp_path)[1]
    return ModelWorker(bundle, Role.CHAMPION, threads=1)


def test_who_has_run_for_long_is_started_again_without_a_rest(
    worker: ModelWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        rendezvous = Rendezvous([worker])
        rendezvous.wait_ready(90)
        worker.starts = 9  # it ended now and then
        rendezvous.tend()
        assert worker.starts == 9, "only just started"
        monkeypatch.setattr("edge.model_worker._STEADY_NS", 0)
        rendezvous.tend()
        assert worker.starts == 1, "its health has no more to say of it"
        dead = worker.pid
        os.kill(dead, signal.SIGKILL)
        end = time.monotonic() + 60  # of nine starts the rest is 64 s
        while not (worker.ready and worker.pid != dead):
            assert time.monotonic() < end
            rendezvous.tend()
            time.sleep(0.01)
    finally:
        worker.close()

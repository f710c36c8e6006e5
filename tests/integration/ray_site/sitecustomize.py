"""Loaded by every Python process of a cluster under test: its workers carry out orders when they write a row.

An order is a file in the folder that the variable names. `kill-STAGE`: the worker that writes the first row of a shard
of it kills itself -9. `hold-STAGE` names a node: a worker on any other that writes a row notes its own and goes no
further. An order is carried out once: whoever renames its file does.
"""

import os
import re
import sys
import time
from pathlib import Path

_ORDERS = os.environ.get("SPAR_RAY_ORDERS")
_STAGE = re.compile(r"/stage=([^/]+)/")


def _obey(path):
    (stage,) = _STAGE.search(str(path)).groups()
    kill, hold = Path(_ORDERS, f"kill-{stage}"), Path(_ORDERS, f"hold-{stage}")
    if kill.exists() and _taken(kill, f"killed-{stage}-{os.getpid()}"):
        os.kill(os.getpid(), 9)
    if hold.exists():
        import ray

        node = ray.get_runtime_context().get_node_id()
        if node != hold.read_text() and _taken(hold, f"held-{stage}-{node}"):
            time.sleep(600)  # until its machine is lost


def _taken(order, name):
    try:
        order.rename(order.with_name(name))
    except FileNotFoundError:
        return False
    return True


class _Watcher:
    """Wraps `_TableWriter.add` once its module is imported."""

    def find_spec(self, name, path=None, target=None):
        if name != "storage.parts":
            return None
        sys.meta_path.remove(self)
        import importlib.util

        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            add = module._TableWriter.add

            def obeying(writer, record):
                add(writer, record)
                _obey(writer.path)

            module._TableWriter.add = obeying

        spec.loader.exec_module = exec_module
        return spec


if _ORDERS:
    sys.meta_path.insert(0, _Watcher())

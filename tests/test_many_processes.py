"""Training of one model by several processes, on one host and on two."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from processes_script import X

from skvaeense.utils import _processes
from skvaeense.utils._processes import SINGLE_PROCESS, Processes, find_processes

# Each of these tests starts processes that import torch.
slow = pytest.mark.slow

SCRIPT = Path(__file__).with_name("processes_script.py")
# Host names are unique, since several runs of these tests may run at once.
HOSTS = {f"skvaeense-{os.getpid()}-{i}": f"10.213.7.{i + 1}" for i in range(2)}
# Fits that do not depend on the noise that each process draws.
WITHOUT_NOISE = ["l1", "topk", "target"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(folder, *groups, before=(), **environment):
    command = [*before, sys.executable, str(SCRIPT), str(folder), *groups]
    variables = {name: str(value) for name, value in environment.items()}
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"} | variables)


def wait_for(processes):
    try:
        assert [process.wait(timeout=400) for process in processes] == [0] * len(processes)
    finally:
        for process in processes:
            process.kill()


def reports(folder, world_size):
    paths = [folder / f"{world_size}-{rank}.json" for rank in range(world_size)]
    return [json.loads(path.read_text()) for path in paths]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    for i, rows in enumerate(np.array_split(X, 3)):
        np.save(folder / f"{i}.npy", rows)
    return folder


@pytest.fixture(scope="module")
def _one_host(folder):
    if not hasattr(os, "fork"):
        pytest.skip("needs processes that can copy themselves")
    wait_for([start(folder, *(f"{size}:{free_port()}" for size in (1, 4)))])


@pytest.fixture(scope="module")
def alone(folder, _one_host):
    return reports(folder, 1)[0]


@pytest.fixture(scope="module")
def _two_hosts():
    """Create two network namespaces with a cable between them."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs the right to make network namespaces")

    def ip(*arguments):
        return subprocess.run(["ip", *arguments], capture_output=True, text=True)

    try:
        for name in HOSTS:
            if ip("netns", "add", name).returncode:
                pytest.skip("network namespaces cannot be made")
        first, second = HOSTS
        ip("link", "add", "cable", "netns", first, "type", "veth", "peer", "cable", "netns", second)
        for name, address in HOSTS.items():
            ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            for device in ("cable", "lo"):
                ip("-n", name, "link", "set", device, "up")
        yield
    finally:
        for name in HOSTS:
            ip("netns", "del", name)


@pytest.fixture(scope="module", params=["4 processes", "2 hosts"])
def together(folder, request):
    if request.param != "2 hosts":
        request.getfixturevalue("_one_host")
        return reports(folder, int(request.param[0]))
    request.getfixturevalue("_two_hosts")
    other = folder / "hosts"
    other.mkdir()
    for path in folder.glob("*.npy"):
        shutil.copy(path, other)
    address = next(iter(HOSTS.values()))
    shared = {"WORLD_SIZE": 2, "MASTER_ADDR": address, "MASTER_PORT": free_port()}
    wait_for(
        [
            start(
                other,
                before=("ip", "netns", "exec", name),
                RANK=rank,
                GLOO_SOCKET_IFNAME="cable",
                **shared,
            )
            for rank, name in enumerate(HOSTS)
        ]
    )
    return reports(other, 2)


@slow
def test_every_process_ends_with_the_same_model(together, alone):
    first, *others = together
    fits = [name for name, fit in alone.items() if isinstance(fit, dict) and "weights" in fit]
    assert len(fits) == 10
    for other in others:
        for name in fits:
            assert other[name] == first[name], name


@slow
def test_the_losses_are_those_of_one_process(together, alone, subtests):
    for name in WITHOUT_NOISE:
        with subtests.test(name):
            assert_allclose(together[0][name]["loss"], alone[name]["loss"], rtol=1e-3)
            assert together[0][name]["score"] == pytest.approx(alone[name]["score"], abs=1e-3)


@slow
def test_with_noise_or_another_order_they_are_about_the_same(together, alone, subtests):
    for name in ("batch", "files", "vaease", "target of gates", "gates"):
        with subtests.test(name):
            scores = [report[name]["score"] for report in (together[0], alone)]
            assert scores[0] == pytest.approx(scores[1], rel=0.1, abs=0.1)


@slow
def test_the_first_reports_and_all_stop(together):
    assert [report["stopped"]["n_iter"] for report in together] == [2] * len(together)
    assert [report["stopped"]["n_reported"] for report in together][1:] == [0] * (len(together) - 1)
    assert together[0]["stopped"]["n_reported"] == 2


@slow
def test_the_first_keeps_and_all_read(together):
    for report in together:
        # One file for each epoch, and one for the end of the fit.
        assert report["kept"]["files"] <= 4
        assert report["read"] == together[0]["read"]
        assert report["read"] == {"files": 4, "codes": together[0]["kept"]["codes"]}


@slow
def test_other_samples_are_an_error_in_all(together):
    for report in together:
        assert "must be given the same samples" in report["other samples"]


@slow
def test_the_group_ends_before_python_does(together):
    assert [report["group is gone"] for report in together] == [True] * len(together)


# --- who trains together -------------------------------------------------------------------


def test_one_process_is_alone(monkeypatch):
    for name in _processes.TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    assert find_processes() is SINGLE_PROCESS
    tensor = torch.ones(3)
    SINGLE_PROCESS.all_reduce_mean([tensor])
    SINGLE_PROCESS.check_equal([1.0], "never said")
    assert torch.equal(tensor, torch.ones(3))
    assert SINGLE_PROCESS.from_first(0.5) == 0.5
    random_state = np.random.RandomState(0)
    assert SINGLE_PROCESS.from_first(random_state) is random_state


@pytest.mark.parametrize(
    "change", [{"WORLD_SIZE": "1"}, {"RANK": None}, {"parent": True}, {"fork": True}]
)
def test_who_is_not_started_by_torchrun_is_alone(monkeypatch, change):
    """Workers of joblib, which inherit the environment, are alone too."""
    launched = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    if "parent" in change:
        monkeypatch.setattr("multiprocessing.parent_process", object)
    elif "fork" in change:
        monkeypatch.setattr("os.getpid", lambda: -1)
    for name in set(change) & set(launched):
        monkeypatch.delenv(name)
        if change[name] is not None:
            monkeypatch.setenv(name, change[name])
    assert find_processes() is SINGLE_PROCESS


def test_a_batch_has_a_share_for_each():
    batch = torch.arange(7)
    parts = [Processes(2, rank).part(batch).tolist() for rank in range(2)]
    assert parts == [[0, 1, 2], [3, 4, 5]]

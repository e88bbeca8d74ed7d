"""Memory that is kept: a tensor that follows another of its size takes no new pages."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource
import torch
from obverse.memory import give_back, keep_memory
print(keep_memory(), keep_memory())
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
give_back()
print(faults())
"""


def run(**environment: str) -> list[str]:
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True,
                         env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1", **environment})  # fmt: skip
    return ran.stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_a_tensor_takes_the_pages_of_the_one_before_unless_the_environment_says_how_memory_is_had():
    first, second, kept, anew = run()
    if first == "False":
        pytest.skip("no glibc, or no large pages")
    assert second == "True" and int(kept) < min(100, int(anew))
    first, _, fetched, _ = run(MALLOC_ARENA_MAX="1")
    assert first == "False" and int(fetched) > int(kept)  # by how much depends on the system's pages

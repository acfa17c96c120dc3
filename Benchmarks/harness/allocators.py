"""The allocators that are compared: a name, the library that is preloaded, and where it came from."""

import os
import subprocess

from .paths import ROOT, Complaint

OURS = "mempool"
OUR_LIBRARY = ROOT / ".build-interposer/stage/libmempool-malloc.so"

# Name, Debian's package, the file in it that is preloaded.
PEERS = {
    "mimalloc": ("libmimalloc2.0", "libmimalloc.so.2"),
    "jemalloc": ("libjemalloc2", "libjemalloc.so.2"),
    "tcmalloc": ("libtcmalloc-minimal4", "libtcmalloc_minimal.so.4"),
    "tbb": ("libtbbmalloc2", "libtbbmalloc_proxy.so.2"),
}
DEFAULT = ["glibc", *PEERS, OURS]


def ours_among(names):
    """The allocator that is judged: this project's, or else the last that was named."""
    return OURS if OURS in names else names[-1]


class Allocator:
    def __init__(self, name, library, version, settings=None):
        self.name, self.library, self.version = name, str(library or ""), version
        # Variables of the environment that it runs with.
        self.settings = settings or {}
        # What dladdr says of malloc when this allocator is the one in use.
        self.witness = os.path.realpath(library) if library else None

    def owns(self, path):
        if self.witness:
            return os.path.realpath(path) == self.witness
        return os.path.basename(os.path.realpath(path)).startswith("libc.so")


def shell(*words):
    try:
        return subprocess.run(words, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def package_version(package):
    return shell("dpkg-query", "-W", "-f", "${Version}", package)


def find(specification):
    """An allocator by its name, NAME=PATH for any other library that has malloc, or NAME=MEMPOOL_…=VALUE for this one with that setting."""
    name, _, path = specification.partition("=")
    variable, _, value = path.partition("=")
    if variable.startswith("MEMPOOL_") and value:
        ours = find(OURS)
        return Allocator(name, ours.library, f"{ours.version}, {path}", {variable: value})
    if path:
        if not os.path.isfile(path):
            raise Complaint(f"no library at {path}; --allocators takes NAME=PATH")
        return Allocator(name, os.path.abspath(path), path)
    if name == "glibc":
        return Allocator(name, None, os.confstr("CS_GNU_LIBC_VERSION") or "")
    if name == OURS:
        if not OUR_LIBRARY.exists():
            raise Complaint(f"no library at {OUR_LIBRARY}: build it with make libraries")
        return Allocator(name, OUR_LIBRARY, shell("git", "-C", str(ROOT), "describe", "--always", "--dirty"))
    if name not in PEERS:
        raise Complaint(f"no allocator {name}; there are {', '.join(DEFAULT)}, NAME=PATH for a library of your own, or NAME=MEMPOOL_…=VALUE")
    package, file = PEERS[name]
    need(package)
    found = [line for line in shell("dpkg", "-L", package).splitlines() if line.endswith("/" + file)]
    if not found:
        raise Complaint(f"Debian's {package} has no {file}; leave {name} out with --allocators")
    return Allocator(name, found[0], f"{package} {package_version(package)}")


def need(*packages):
    if subprocess.run([ROOT / "scripts/need", *packages]).returncode:
        raise Complaint(f"{' '.join(packages)} cannot be installed; what is above says what to do")

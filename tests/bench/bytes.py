"""Bytes: one large file up and down against curl, plain and over TLS; a thousand small ones, near
and 20 ms away. BENCH_GB says how large the large one is.

The server is not ours: nginx with WebDAV PUT, in a folder of its own. The ideal for a thousand
small files, eight at a time, is 1,000/8 round trips and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from pairs import SCRIPTS, cannot, medians, new_folder, note, ratio, row, timed
from stub import Process, make_certificate

PEAK_MOST_MB = 40
GIGABYTES = 2
SMALL_FILES, SMALL_BYTES, AT_ONCE, ROUND_TRIP_SECONDS, TIMES_THE_IDEAL = (
    1000,
    2000,
    8,
    0.02,
    1.3,
)
CONFIG = """
daemon off; worker_processes 1; pid nginx.pid; error_log error.log warn;
events {{ worker_connections 512; }}
http {{
  access_log off; sendfile on; keepalive_requests 100000; client_max_body_size 0; client_body_temp_path body;
  proxy_temp_path t1; fastcgi_temp_path t2; uwsgi_temp_path t3; scgi_temp_path t4; default_type application/octet-stream;
  server {{
    listen 127.0.0.1:{plain}; {tls}
    location / {{ root files; dav_methods PUT; dav_access user:rw; }}
  }}
}}
"""
TLS = "listen 127.0.0.1:{port} ssl; ssl_certificate leaf.pem; ssl_certificate_key leaf.key;"
STARTED_WITHIN_SECONDS = 10
# In memory where there is room, so that the disk is no part of the comparison.
FAST_FOLDER = "/dev/shm"
OURS = """
import json, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
from rebyte_client import RebyteClient
from rebyte_flows.files.downloads import download_artifacts
how, url, place, names = sys.argv[2], sys.argv[3], sys.argv[4], json.loads(sys.argv[5])
with RebyteClient("rbk_bench", "http://127.0.0.1:9/v1") as client:
    if how == "up":
        import os
        client.put_bytes(url, lambda: open(place, "rb"), os.path.getsize(place), "application/octet-stream")
    else:
        listing = [{"name": name, "size": size, "downloadUrl": url + "/" + name} for name, size in names]
        files, refused = download_artifacts(client, "w", place, listing=listing, digests=how == "digests", force=True)
        assert len(files) == len(names) and not refused, refused[:3]
"""


def find():
    """Return the path of nginx, or None."""
    return shutil.which("nginx") or shutil.which(
        "nginx", path="/usr/sbin:/usr/local/sbin"
    )


def free_port():
    """Return a port that was free a moment ago; nginx cannot be asked for one."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Storage:
    """nginx on loopback: `plain` and `tls` are its addresses, `files` the folder it serves and
    stores to.
    """

    def __init__(self, folder):
        """Lay out a folder; nothing runs yet."""
        self.folder, self.files = folder, os.path.join(folder, "files")
        ports = free_port(), free_port()
        self.ca = make_certificate(folder)
        self.plain, self.tls = (
            "http://127.0.0.1:%d" % ports[0],
            "https://127.0.0.1:%d" % ports[1],
        )
        os.makedirs(self.files)
        # Workers of a root nginx are another user.
        for path in (folder, self.files):
            os.chmod(path, 0o777)
        with open(os.path.join(folder, "nginx.conf"), "w") as file:
            file.write(CONFIG.format(plain=ports[0], tls=TLS.format(port=ports[1])))
        self.port, self._process = ports[0], None

    def __enter__(self):
        self._process = subprocess.Popen(
            [find(), "-p", self.folder, "-c", "nginx.conf"],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + STARTED_WITHIN_SECONDS
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.02)
        raise SystemExit(
            "nginx did not start; see %s" % os.path.join(self.folder, "error.log")
        )

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(10)


def ours(storage, how, url, place, names=()):
    """Run our client in a process of its own."""
    return timed(
        [sys.executable, "-c", OURS, SCRIPTS, how, url, place, json.dumps(names)],
        dict(os.environ, REBYTE_CA_BUNDLE=storage.ca),
    )


def digest(path):
    """Return the SHA-256 of a file."""
    seen = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            seen.update(piece)
    return seen.hexdigest()


def make_file(path, size):
    """Write a file that does not compress."""
    block = os.urandom(1 << 20)
    with open(path, "wb") as file:
        for place in range(0, size, len(block)):
            file.write(block[: min(len(block), size - place)])


def remove(path):
    """Remove a file if it is there; to overwrite two gigabytes costs as much as to write them."""
    if os.path.exists(path):
        os.unlink(path)


class Large:
    """One large file to carry both ways; `peaks` has the memory of each of our runs."""

    def __init__(self, storage, folder, size):
        """Make the file here and in the storage."""
        self.storage, self.size, self.source, self.out = (
            storage,
            size,
            os.path.join(folder, "source.bin"),
            os.path.join(folder, "out"),
        )
        self.uploaded, self.downloaded = (
            os.path.join(storage.files, "up.bin"),
            os.path.join(self.out, "down.bin"),
        )
        make_file(self.source, size)
        os.makedirs(self.out)
        shutil.copy(self.source, os.path.join(storage.files, "down.bin"))
        self.told, self.peaks = digest(self.source), []

    def up(self, base, how="ours"):
        """Upload it and return the seconds."""
        remove(self.uploaded)
        if how == "curl":
            return self.curl("-T", self.source, base + "/up.bin", "-H", "Expect:")
        return self.ours("up", base + "/up.bin", self.source)

    def down(self, base, how="plain"):
        """Download it and return the seconds; `how` is curl, plain, or digests."""
        remove(self.downloaded)
        if how == "curl":
            return self.curl("-o", self.downloaded, base + "/down.bin")
        return self.ours(how, base, self.out, [("down.bin", self.size)])

    def curl(self, *words):
        """Run curl and return its seconds."""
        return timed(
            ["curl", "-sSf", "--cacert", self.storage.ca] + list(words)
        ).seconds

    def ours(self, *words):
        """Run our client, keep its peak, and return its seconds."""
        ran = ours(self.storage, *words)
        self.peaks.append(ran.peak)
        return ran.seconds

    def differs(self, path):
        """Say whether a file is another than the one that was carried, and remove it."""
        found = digest(path) != self.told
        remove(path)
        return found


def large(storage, folder, size, pairs):
    """Compare one large file both ways, plain and over TLS."""
    file = Large(storage, folder, size)
    for name, base, least in (("plain", storage.plain, 0.9), ("TLS", storage.tls, 0.8)):
        found = medians(
            {how: lambda how=how: file.up(base, how) for how in ("curl", "ours")}, pairs
        )
        file.up(base)
        differ = file.differs(file.uploaded)
        row(
            "upload, %s: throughput against curl" % name,
            ratio(found, "curl", "ours"),
            least,
            "x",
            most=False,
        )
        row("upload, %s: MB a second" % name, size / 1e6 / min(found["ours"]))
        found = medians(
            {
                how: lambda how=how: file.down(base, how)
                for how in ("curl", "plain", "digests")
            },
            pairs,
        )
        file.down(base)
        differ += file.differs(file.downloaded)
        row(
            "download, %s: throughput against curl" % name,
            ratio(found, "curl", "plain"),
            least,
            "x",
            most=False,
        )
        row(
            "download, %s, with SHA-256 for a manifest" % name,
            ratio(found, "curl", "digests"),
            0.5,
            "x",
            most=False,
        )
        row("download, %s: MB a second" % name, size / 1e6 / min(found["plain"]))
        row("digests that differ, %s" % name, differ, 0)
    row("peak of our process", max(file.peaks), PEAK_MOST_MB, " MB")


def small(storage, folder, pairs):
    """Bring a thousand small files home, eight at a time, from next door and from 20 ms away."""
    names = []
    for number in range(SMALL_FILES):
        names.append(("%04d.csv" % number, SMALL_BYTES))
        with open(os.path.join(storage.files, names[-1][0]), "wb") as file:
            file.write(b"x" * SMALL_BYTES)
    out = os.path.join(folder, "small")

    def bring(url, wanted):
        shutil.rmtree(out, ignore_errors=True)
        return ours(storage, "digests", url, out, wanted).seconds

    with Process("relay", storage.port, ROUND_TRIP_SECONDS) as relay:
        found = medians(
            {
                "near": lambda: bring(storage.plain, names),
                "one": lambda: bring(storage.plain, names[:1]),
                "far": lambda: bring(relay.plain, names),
            },
            pairs,
        )
    each = statistics.median(
        (near - one) * 1000 / (SMALL_FILES - 1)
        for near, one in zip(found["near"], found["one"])
    )
    row(
        "%d small artifacts, %d in parallel: each" % (SMALL_FILES, AT_ONCE),
        each,
        1,
        " ms",
    )
    far, best = (
        statistics.median(found["far"]),
        SMALL_FILES / AT_ONCE * ROUND_TRIP_SECONDS,
    )
    row(
        "%d small artifacts 20 ms away, against %d/%d round trips (%.2f s)"
        % (SMALL_FILES, SMALL_FILES, AT_ONCE, best),
        far / best,
        TIMES_THE_IDEAL,
        "x",
    )


def main(pairs=5):
    """Run it all where nginx, openssl and curl are."""
    size = int(float(os.environ.get("BENCH_GB") or GIGABYTES) * 1e9)
    missing = [name for name in ("curl", "openssl") if not shutil.which(name)] + (
        [] if find() else ["nginx"]
    )
    if missing:
        return cannot("bytes", "missing: " + ", ".join(missing))
    place = (
        FAST_FOLDER
        if os.path.isdir(FAST_FOLDER) and shutil.disk_usage(FAST_FOLDER).free > 6 * size
        else None
    )
    note(
        "bytes: %.1f GB, %d pairs, nginx with WebDAV, files in %s"
        % (size / 1e9, pairs, place or tempfile.gettempdir())
    )
    with new_folder(place) as folder:
        os.chmod(folder, 0o755)
        where = os.path.join(folder, "nginx")
        os.makedirs(where)
        with Storage(where) as storage:
            small(storage, folder, pairs)
            large(storage, folder, size, pairs)
    return None

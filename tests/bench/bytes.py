"""Bytes: one large file up and down against curl, plain and over TLS; a thousand small ones. The server is nginx.

    python3 tests/bench/bytes.py [GIGABYTES] [PAIRS]
"""
from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile

from pairs import SCRIPTS, cannot, medians, ratio, row, timed
from storage import Storage, find

PEAK_MOST_MB = 40
SMALL_FILES, SMALL_BYTES = 1000, 2000
# In memory where there is room, so that the disk is no part of the comparison.
FAST_FOLDER = "/dev/shm"
OURS = """
import json, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
from rebyte_client import RebyteClient
from rebyte_flows.downloads import bring_home
how, url, place, names = sys.argv[2], sys.argv[3], sys.argv[4], json.loads(sys.argv[5])
with RebyteClient("rbk_bench", "http://127.0.0.1:9/v1") as client:
    if how == "up":
        import os
        client.put_bytes(url, lambda: open(place, "rb"), os.path.getsize(place), "application/octet-stream")
    else:
        listing = [{"name": name, "size": size, "downloadUrl": url + "/" + name} for name, size in names]
        files, refused = bring_home(client, "w", place, listing=listing, digests=how == "digests", force=True)
        assert len(files) == len(names) and not refused, refused[:3]
"""


def ours(storage, how, url, place, names=()):
    """Run our client in a process of its own; return (seconds, peak)."""
    import json
    return timed([sys.executable, "-c", OURS, SCRIPTS, how, url, place, json.dumps(names)], dict(os.environ, REBYTE_CA_BUNDLE=storage.ca))


def curl(storage, *words):
    """Run curl; return (seconds, peak)."""
    return timed(["curl", "-sSf", "--cacert", storage.ca] + list(words))


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
            file.write(block[:min(len(block), size - place)])


def large(storage, folder, size, pairs):
    """Compare one large file both ways, plain and over TLS."""
    source, out = os.path.join(folder, "source.bin"), os.path.join(folder, "out")
    make_file(source, size)
    os.makedirs(out)
    shutil.copy(source, os.path.join(storage.files, "down.bin"))
    told, peaks = digest(source), []
    for name, base, least in (("plain", storage.plain, 0.9), ("TLS", storage.tls, 0.8)):
        def up():
            seconds, peak = ours(storage, "up", base + "/up.bin", source)
            peaks.append(peak)
            return seconds

        def clear():
            # To overwrite two gigabytes costs as much as to write them.
            for name in os.listdir(out):
                os.unlink(os.path.join(out, name))

        def down(how):
            clear()
            seconds, peak = ours(storage, how, base, out, [("down.bin", size)])
            peaks.append(peak)
            return seconds
        found = medians({"curl": lambda: curl(storage, "-T", source, base + "/up.bin", "-H", "Expect:")[0], "ours": up}, pairs)
        os.unlink(os.path.join(storage.files, "up.bin"))
        up()
        same = digest(os.path.join(storage.files, "up.bin")) == told
        row("upload, %s: throughput against curl" % name, ratio(found, "curl", "ours"), least, "x", most=False)
        row("  (ours, MB a second)", size / 1e6 / min(found["ours"]))
        found = medians({"curl": lambda: clear() or curl(storage, "-o", os.path.join(out, "curl.bin"), base + "/down.bin")[0], "ours": lambda: down("plain"),
                         "digests": lambda: down("digests")}, pairs)
        down("plain")
        same = same and digest(os.path.join(out, "down.bin")) == told
        row("download, %s: throughput against curl" % name, ratio(found, "curl", "ours"), least, "x", most=False)
        row("download, %s, with SHA-256 for a manifest" % name, ratio(found, "curl", "digests"), 0.5, "x", most=False)
        row("  (ours, MB a second)", size / 1e6 / min(found["ours"]))
        row("digests that differ, %s" % name, 0 if same else 1, 0)
        os.unlink(os.path.join(storage.files, "up.bin"))
    row("peak of our process", max(peaks), PEAK_MOST_MB, " MB")


def small(storage, folder, pairs):
    """Bring a thousand small files home, eight at a time."""
    names = []
    for number in range(SMALL_FILES):
        names.append(("%04d.csv" % number, SMALL_BYTES))
        with open(os.path.join(storage.files, names[-1][0]), "wb") as file:
            file.write(b"x" * SMALL_BYTES)
    out = os.path.join(folder, "small")

    def bring(wanted):
        shutil.rmtree(out, ignore_errors=True)
        return ours(storage, "digests", storage.plain, out, wanted)[0]
    found = medians({"all": lambda: bring(names), "one": lambda: bring(names[:1])}, pairs)
    each = sorted((one - base) * 1000 / (SMALL_FILES - 1) for one, base in zip(found["all"], found["one"]))
    row("%d small artifacts, 8 in parallel: each" % SMALL_FILES, each[len(each) // 2], 1, " ms")


def main(size=2_000_000_000, pairs=7):
    """Run it all where nginx, openssl and curl are."""
    missing = [name for name in ("curl", "openssl") if not shutil.which(name)] + ([] if find() else ["nginx"])
    if missing:
        return cannot("bytes", "missing: " + ", ".join(missing))
    place = FAST_FOLDER if os.path.isdir(FAST_FOLDER) and shutil.disk_usage(FAST_FOLDER).free > 6 * size else None
    print("bytes: %.1f GB, %d pairs, nginx with WebDAV, files in %s" % (size / 1e9, pairs, place or tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix="rebyte-bench-", dir=place) as folder:
        os.chmod(folder, 0o755)
        where = os.path.join(folder, "nginx")
        os.makedirs(where)
        with Storage(where) as storage:
            small(storage, folder, pairs)
            large(storage, folder, size, pairs)


if __name__ == "__main__":
    main(*[int(float(sys.argv[1]) * 1e9)] * (len(sys.argv) > 1), *map(int, sys.argv[2:3]))

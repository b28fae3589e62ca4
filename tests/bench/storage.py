"""A storage server that is not ours: nginx with WebDAV PUT, plain and over TLS, in a folder of its own."""
from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time

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


def find():
    """Return the path of nginx, or None."""
    return shutil.which("nginx") or next((path for path in ("/usr/sbin/nginx", "/usr/local/sbin/nginx") if os.path.exists(path)), None)


def make_certificate(folder):
    """Make a self-signed certificate for 127.0.0.1 in a folder: leaf.pem and leaf.key."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "leaf.key",
                    "-out", "leaf.pem", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,digitalSignature"],
                   cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return os.path.join(folder, "leaf.pem")


def free_port():
    """Return a port that was free a moment ago; nginx cannot be asked for one."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Storage:
    """nginx on loopback: `plain` and `tls` are its addresses, `files` the folder it serves and stores to."""

    def __init__(self, folder):
        """Lay out a folder; nothing runs yet."""
        self.folder, self.files = folder, os.path.join(folder, "files")
        ports = free_port(), free_port()
        self.ca = make_certificate(folder)
        self.plain, self.tls = "http://127.0.0.1:%d" % ports[0], "https://127.0.0.1:%d" % ports[1]
        os.makedirs(self.files)
        # Workers of a root nginx are another user.
        for path in (folder, self.files):
            os.chmod(path, 0o777)
        with open(os.path.join(folder, "nginx.conf"), "w") as file:
            file.write(CONFIG.format(plain=ports[0], tls=TLS.format(port=ports[1])))
        self._port, self._process = ports[0], None

    def __enter__(self):
        self._process = subprocess.Popen([find(), "-p", self.folder, "-c", "nginx.conf"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + STARTED_WITHIN_SECONDS
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
                return self
            except OSError:
                time.sleep(0.02)
        raise SystemExit("nginx did not start; see %s" % os.path.join(self.folder, "error.log"))

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(10)

# SPDX-License-Identifier: MIT
"""Debian's nginx as a host, for tests that are not about our own: the way to start one, and the types of its headers."""
import atexit
import os
import shutil
import subprocess
import sys
import tempfile

from harness import TENON, Skip, need

APPS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "apps", "nginx")
sys.path.insert(0, APPS)
import serve  # noqa: E402 pylint: disable=wrong-import-position,unused-import

made = []


def nginx_types():
    """nginx.btf, made once."""
    need("nginx", os.environ.get("CC", "cc"))
    if not os.path.exists("/usr/share/nginx/src/conf_flags"):
        raise Skip("nginx's headers are not installed: package nginx-dev")
    if not made:
        folder = tempfile.mkdtemp(prefix="tenon-nginx-types.")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        done = subprocess.run([os.path.join(APPS, "firewall", "types"), folder, TENON], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        made.append(os.path.join(folder, "nginx.btf"))
    return made[0]

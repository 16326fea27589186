# SPDX-License-Identifier: MIT
"""The firewall inside nginx (apps/nginx/firewall): its demonstration checks what it claims, and is the test."""
import os
import re
import subprocess
import sys

BUILD = os.environ["TENON_BUILD"]
DEMO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "apps", "nginx", "firewall", "demo")

done = subprocess.run([DEMO, BUILD], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=230,
                      env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin"))
if done.returncode == 77:
    print(f"1..0 # SKIP {done.stdout.strip()}")
    sys.exit(0)
found = re.findall(r"^   (yes|NO ) +(.*)$", done.stdout, re.MULTILINE)
for number, (word, what) in enumerate(found, 1):
    print(f"{'ok' if word == 'yes' else 'not ok'} {number} - {what.replace('#', '')}")
print(f"{'ok' if done.returncode == 0 else 'not ok'} {len(found) + 1} - it went to its end")
print(f"1..{len(found) + 1}")
if done.returncode:
    print("# " + (done.stdout[-3000:] + done.stderr).replace("\n", "\n# "))
sys.exit(done.returncode != 0)

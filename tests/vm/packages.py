"""Makes one package each for apt, npm and pip, and the lists by which they are found: `packages.py WORK SERVER`."""

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile

work, server = sys.argv[1:3]
www = os.path.join(work, "www")
NAME, VERSION = "vmclaude-canary", "1.0.0"


def write(path, data):
    path = os.path.join(www, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data if isinstance(data, bytes) else data.encode())
    return path


def apt():
    fields = f"Package: {NAME}\nVersion: {VERSION}\nArchitecture: all\nMaintainer: t <t@example>\nDescription: sings\n"
    tree = os.path.join(work, "deb")
    for path, text in (("DEBIAN/control", fields), (f"usr/share/{NAME}/song", "tweet\n")):
        path = os.path.join(tree, path)
        os.makedirs(os.path.dirname(path))
        with open(path, "w") as file:
            file.write(text)
    os.makedirs(os.path.join(www, "apt"))
    deb = os.path.join(www, "apt", f"{NAME}.deb")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, deb], check=True, stdout=subprocess.DEVNULL)
    data = open(deb, "rb").read()
    about = f"Filename: ./{NAME}.deb\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
    write("apt/Packages", fields + about)


def npm():
    manifest = {"name": NAME, "version": VERSION, "main": "index.js"}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, text in (("package.json", json.dumps(manifest)), ("index.js", "module.exports = 'tweet'\n")):
            entry = tarfile.TarInfo("package/" + name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    data = archive.getvalue()
    write(f"npm-files/{NAME}.tgz", data)
    digest = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    dist = {"tarball": f"http://{server}/npm-files/{NAME}.tgz", "integrity": digest}
    about = {"name": NAME, "dist-tags": {"latest": VERSION}, "versions": {VERSION: dict(manifest, dist=dist)}}
    write(f"npm/{NAME}", json.dumps(about))


def pip():
    module = NAME.replace("-", "_")
    wheel, info = f"{module}-{VERSION}-py3-none-any.whl", f"{module}-{VERSION}.dist-info"
    files = {
        f"{module}.py": "song = 'tweet'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        for name, text in files.items():
            zipped.writestr(name, text)
    data = archive.getvalue()
    write(f"simple-files/{wheel}", data)
    digest = hashlib.sha256(data).hexdigest()
    write(f"simple/{NAME}/index.html", f'<a href="/simple-files/{wheel}#sha256={digest}">{wheel}</a>\n')


apt()
npm()
pip()

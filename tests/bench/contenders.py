"""The servers that are compared, each started anew, each over TLS with the same certificate.

casevault   the service itself; `quiet` leaves its clock process out, so that only the upload path is measured
discard     the same server and settings around an application that reads a body and forgets it
nginx       its WebDAV module storing plain files, and serving them as static files
tus         @tus/server with @tus/file-store, storing plain files
azurite     the emulator's Blob service, keeping what it gets in memory
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from intake_api.serve.certificates import TlsFiles, local_certificate
from tests.servers.installing import npm_packages

HERE = Path(__file__).resolve().parent
TUS_PACKAGES = ("@tus/server@2.4.5", "@tus/file-store@2.1.1")


@dataclass
class Contender:
    name: str
    port: int
    process: subprocess.Popen[bytes]
    authority: Path
    folder: Path
    log: Path
    stored: Path = field(init=False)

    @property
    def origin(self) -> str:
        return f"https://localhost:{self.port}"

    def wait(self) -> Contender:
        context = ssl.create_default_context(cafile=self.authority)
        for _ in range(400):
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} did not start:\n{self.log.read_text()[-2000:]}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as raw:
                    context.wrap_socket(raw, server_hostname="localhost").close()
            except OSError:
                time.sleep(0.05)
            else:
                return self
        raise RuntimeError(f"{self.name} does not answer")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Stable:
    """Starts contenders under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tls: TlsFiles = local_certificate(folder / "tls", datetime.now(UTC))
        self._running: list[Contender] = []

    def stop_all(self) -> None:
        for contender in self._running:
            contender.stop()

    def casevault(
        self,
        name: str = "casevault",
        *,
        quiet: bool,
        beat_milliseconds: int = 500,
        checkout: Path | None = None,
        **settings: str,
    ) -> Contender:
        """The service of this checkout, or of another one that has its environment in `.venv`."""
        folder, port = self._place(name)
        python = sys.executable if checkout is None else str(checkout / ".venv/bin/python")
        serving = HERE / "serving.py" if checkout is None else checkout / "tests/bench/serving.py"
        return self._start(
            name,
            [python, str(serving), "quiet" if quiet else "whole"],
            folder,
            port,
            CASEVAULT_STATE=str(folder / "state"),
            CASEVAULT_DEVELOPMENT="1",
            CASEVAULT_LISTEN=f"127.0.0.1:{port}",
            CASEVAULT_BEAT_MILLISECONDS=str(beat_milliseconds),
            CASEVAULT_TLS_CERTIFICATE=str(self.tls.certificate),
            CASEVAULT_TLS_KEY=str(self.tls.key),
            **settings,
        )

    def discard(self) -> Contender:
        folder, port = self._place("discard")
        command = [sys.executable, str(HERE / "serving.py"), "discard"]
        return self._start(
            "discard",
            command,
            folder,
            port,
            CASEVAULT_STATE=str(folder / "state"),
            CASEVAULT_DEVELOPMENT="1",
            CASEVAULT_LISTEN=f"127.0.0.1:{port}",
            CASEVAULT_TLS_CERTIFICATE=str(self.tls.certificate),
            CASEVAULT_TLS_KEY=str(self.tls.key),
        )

    def nginx(self) -> Contender:
        folder, port = self._place("nginx")
        (folder / "stored").mkdir()
        (folder / "temp").mkdir()
        folder.chmod(0o755)
        configuration = folder / "nginx.conf"
        configuration.write_text(
            (HERE / "nginx.conf")
            .read_text()
            .replace("@FOLDER@", str(folder))
            .replace("@PORT@", str(port))
            .replace("@PEM@", str(self.tls.certificate))
        )
        return self._start("nginx", ["nginx", "-c", str(configuration), "-p", str(folder)], folder, port)

    def tus(self) -> Contender:
        folder, port = self._place("tus")
        packages = self.folder / "node"
        if not packages.exists():
            packages.mkdir()
            subprocess.run(
                ["npm", "install", "--silent", "--prefix", str(packages), *TUS_PACKAGES],
                check=True,
                capture_output=True,
            )
        (folder / "stored").mkdir()
        script = packages / "tus.mjs"
        shutil.copy(HERE / "tus.mjs", script)
        pem = str(self.tls.certificate)
        return self._start("tus", ["node", str(script), str(folder / "stored"), str(port), pem], folder, port)

    def azurite(self) -> Contender:
        folder, port = self._place("azurite")
        main = npm_packages(HERE.parent / "azurite") / "azurite" / "dist" / "src" / "blob" / "main.js"
        at = ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
        quiet = ["--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
        tls = ["--cert", str(self.tls.certificate), "--key", str(self.tls.key)]
        return self._start("azurite", ["node", str(main), *at, *quiet, *tls], folder, port)

    def _place(self, name: str) -> tuple[Path, int]:
        folder = self.folder / name
        folder.mkdir()
        return folder, free_port()

    def _start(self, name: str, command: list[str], folder: Path, port: int, **environ: str) -> Contender:
        log = folder / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(command, env={**os.environ, **environ}, stdout=out, stderr=out)
        assert self.tls.authority is not None
        contender = Contender(name, port, process, self.tls.authority, folder, log)
        contender.stored = folder / "state" / "objects" if "casevault" in name else folder / "stored"
        self._running.append(contender)
        return contender.wait()

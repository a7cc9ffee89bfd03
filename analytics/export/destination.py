"""The places to which files are exported: a folder, or a prefix in a bucket of S3.

A file is written under a temporary name, and gets its own when it is whole. Whatever stops the process, no part of a
file is left under its name.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pyarrow as pa
import pyarrow.fs

from analytics.export.errors import ExportError

#: The folder of files that are not whole yet. Readers of data sets skip names with an underscore.
TEMPORARY = "_temporary"

#: The variables with the address of a server that speaks S3, as in AWS's own tools.
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")

#: The variables with the region.
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")

CONNECT_TIMEOUT_SECONDS = 5.0


class Digested(io.RawIOBase):
    """A file that is written once, with the size and the digest of what was written.

    Closing it does not close the file that it writes to.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        """Return whether it can be written."""
        return True

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self.size

    def write(self, data: Any) -> int:
        """Write bytes."""
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)
        return len(data)

    @property
    def sha256(self) -> str:
        """The digest of what was written, in hex."""
        return self._digest.hexdigest()


class Destination(ABC):
    """A place for files, which are named by their paths in it.

    Parameters:
        filesystem: what lists and reads the files.
        root: the path of the place in the file system.
        shown: the name of the place, for people.
        tenant: the tenant whose files are written.
    """

    def __init__(self, filesystem: pyarrow.fs.FileSystem, root: str, shown: str, tenant: str) -> None:
        self._filesystem = filesystem
        self._root = root
        self._temporary = f"{TEMPORARY}/tenant={tenant}"
        self.shown = shown

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, in alphabetical order; empty if there is none."""
        with self._explained():
            selector = pyarrow.fs.FileSelector(self._path(folder), allow_not_found=True)
            found = self._filesystem.get_file_info(selector)
        return sorted(info.base_name for info in found if info.type == pyarrow.fs.FileType.File)

    def read(self, path: str) -> bytes | None:
        """Return the content of a small file; None if it does not exist."""
        with self._explained():
            if self._filesystem.get_file_info(self._path(path)).type != pyarrow.fs.FileType.File:
                return None
            with self._filesystem.open_input_stream(self._path(path)) as file:
                return bytes(file.read())

    def size(self, path: str) -> int | None:
        """Return the size of a file; None if it does not exist."""
        with self._explained():
            info = self._filesystem.get_file_info(self._path(path))
        return int(info.size) if info.type == pyarrow.fs.FileType.File else None

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[Digested]:
        """Yield a file that appears under its name, in place of an older one, if the block ends without an error."""
        temporary = self._path(f"{self._temporary}/{uuid4().hex}")
        with self._explained():
            file = self._open(temporary)
        try:
            yield Digested(file)
            with self._explained():
                self._finish(file)
                self._rename(temporary, self._path(path))
        except BaseException:
            with contextlib.suppress(Exception):
                file.close()
                self._filesystem.delete_file(temporary)
            raise

    def write(self, path: str, content: bytes) -> None:
        """Write a small file."""
        with self.writing(path) as file:
            file.write(content)

    def remove(self, path: str) -> None:
        """Remove a file, if it exists."""
        with self._explained(), contextlib.suppress(FileNotFoundError):
            self._filesystem.delete_file(self._path(path))

    def remove_temporary(self) -> None:
        """Remove what exports of the tenant that were killed left under temporary names."""
        for name in self.names(self._temporary):
            self.remove(f"{self._temporary}/{name}")

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}"

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            message = str(error).partition("\n")[0].rstrip(".")
            if isinstance(error, OSError) and error.strerror and error.filename:
                message = f"{error.strerror}: {error.filename}"
            raise ExportError(f"--to: {self.shown} cannot be used: {message}.") from error

    @abstractmethod
    def _open(self, temporary: str) -> Any:
        """Open a file under its temporary name."""

    @abstractmethod
    def _finish(self, file: Any) -> None:
        """Close a file that is whole, after everything is stored."""

    @abstractmethod
    def _rename(self, temporary: str, path: str) -> None:
        """Give a file its name."""


class Folder(Destination):
    """A folder of this machine."""

    def __init__(self, path: Path, tenant: str) -> None:
        root = str(path.resolve())
        super().__init__(pyarrow.fs.LocalFileSystem(), root, root, tenant)

    def _open(self, temporary: str) -> Any:
        _make_folder(Path(temporary).parent)
        return Path(temporary).open("wb")

    def _finish(self, file: Any) -> None:
        file.flush()
        os.fsync(file.fileno())
        file.close()

    def _rename(self, temporary: str, path: str) -> None:
        _make_folder(Path(path).parent)
        os.replace(temporary, path)
        _sync(Path(path).parent)


class Bucket(Destination):
    """A prefix in a bucket of S3.

    The file system would complete an upload also after an error, so that a part of the file would be there. So each
    file is uploaded under a temporary name, and then copied within S3.
    """

    def __init__(self, root: str, tenant: str, environment: Mapping[str, str]) -> None:
        endpoint = next((environment[name] for name in ENDPOINTS if environment.get(name)), None)
        region = next((environment[name] for name in REGIONS if environment.get(name)), None)
        filesystem = pyarrow.fs.S3FileSystem(
            endpoint_override=endpoint,
            region=region or (None if endpoint is None else "us-east-1"),  # other servers have no regions to look up
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
        )
        super().__init__(filesystem, root, f"s3://{root}", tenant)

    def _open(self, temporary: str) -> Any:
        return self._filesystem.open_output_stream(temporary)

    def _finish(self, file: Any) -> None:
        file.close()

    def _rename(self, temporary: str, path: str) -> None:
        self._filesystem.move(temporary, path)

    def write(self, path: str, content: bytes) -> None:
        """Write a small file, which is one request."""
        with self._explained(), self._filesystem.open_output_stream(self._path(path)) as file:
            file.write(content)


def destination(target: str, tenant: str, environment: Mapping[str, str]) -> Destination:
    """Return the destination that ``--to`` names: a folder, or ``s3://bucket/prefix``.

    Parameters:
        target: what the option says.
        tenant: the tenant whose files are written.
        environment: the variables in which AWS's tools look for the address of the server and the region.

    Raises:
        ExportError: it is neither. The message does not show it, because it may contain a key.
    """
    if "://" not in target:
        return Folder(Path(target), tenant)
    parts = urlsplit(target)
    bucket, prefix = parts.netloc, target.partition("://")[2].partition("/")[2].strip("/")
    if parts.scheme != "s3" or not bucket or not bucket.replace("-", "").replace(".", "").isalnum():
        raise ExportError(
            "--to: needs a folder or s3://bucket/prefix; the keys for S3 are given in AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY, or as AWS's tools read them."
        )
    try:
        return Bucket(f"{bucket}/{prefix}" if prefix else bucket, tenant, environment)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise ExportError(
            f"--to: S3 cannot be used with these settings: {type(error).__name__}; see AWS_ENDPOINT_URL."
        ) from error


def _make_folder(path: Path) -> None:
    """Make a folder that also survives a crash of the machine."""
    if path.is_dir():
        return
    _make_folder(path.parent)
    path.mkdir(exist_ok=True)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Cloud Storage in a local folder, for code that uses TensorFlow's file functions, e.g. through `etils.epath`."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

BUCKET = "gs://bucket"
# Functions with one path and with two paths.
_ONE_PATH = ("GFile", "exists", "isdir", "listdir", "makedirs", "mkdir", "remove", "rmtree", "stat")
_TWO_PATHS = ("copy", "rename")


def mount(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps `gs://bucket/a/b` to the file `a/b` of the folder.

    The working directory becomes the folder's parent. So code that mistakes the URI for a local path, `gs:/bucket/a/b`,
    finds no file there, and `stray_files` finds the files that it writes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(folder.parent)

    def local(path: Any) -> Any:
        text = os.fspath(path)
        return text.replace(BUCKET, str(folder), 1) if text.startswith(BUCKET) else text

    def remote(path: str) -> str:
        return path.replace(str(folder), BUCKET, 1)

    def mapped(function: Callable[..., Any], paths: int) -> Callable[..., Any]:
        return lambda *values, **settings: function(*map(local, values[:paths]), *values[paths:], **settings)

    gfile = tf.io.gfile
    for name in (*_ONE_PATH, *_TWO_PATHS):
        monkeypatch.setattr(gfile, name, mapped(getattr(gfile, name), 1 + (name in _TWO_PATHS)))
    glob, walk, records = gfile.glob, gfile.walk, tf.data.TFRecordDataset

    def walk_remote(top: Any, *values: Any, **settings: Any) -> Iterator[tuple[str, list[str], list[str]]]:
        for parent, folders, files in walk(local(top), *values, **settings):
            yield remote(parent), folders, files

    monkeypatch.setattr(gfile, "glob", lambda pattern: [remote(path) for path in glob(local(pattern))])
    monkeypatch.setattr(gfile, "walk", walk_remote)
    monkeypatch.setattr(
        tf.data, "TFRecordDataset", lambda files, *rest: records([local(file) for file in files], *rest)
    )


def stray_files(folder: Path) -> list[str]:
    """Returns names next to the mounted folder that come from URIs mistaken for paths."""
    return [path.name for path in folder.parent.iterdir() if ":" in path.name]

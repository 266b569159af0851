# SPDX-License-Identifier: Apache-2.0
"""read.py WRITE: reads the files of the program WRITE (write.cpp) and compares them with what it says of them."""

import pathlib
import subprocess
import sys
import tempfile

import numpy
import safetensors


def require(condition, message):
    if not condition:
        sys.exit(message)


def check(folder, output):
    files = {}
    for line in output.splitlines():
        file, name, dtype, shape, *values = line.split(" ")
        array = numpy.array([float.fromhex(value) for value in values], dtype)
        files.setdefault(file, {})[name] = array.reshape([int(extent) for extent in shape.split(",")])

    written = {str(path.relative_to(folder)) for path in folder.rglob("*.safetensors")}
    require(len(written) == 8 and written == set(files), f"files {written}, expected {set(files)}")
    for file, expected in files.items():
        with safetensors.safe_open(folder / file, framework="numpy") as tensors:
            require(tensors.metadata()["format"] == "pt", f"{file}: metadata {tensors.metadata()}")
            require(set(tensors.keys()) == set(expected), f"{file}: {set(tensors.keys()) ^ set(expected)}")
            for name, right in expected.items():
                found = tensors.get_tensor(name)
                facts = f"{file}: {name}: {found.dtype} {found.shape}"
                require((found.dtype, found.shape) == (right.dtype, right.shape), f"{facts}, expected {right.shape}")
                require(numpy.array_equal(found, right), f"{facts}: other values")


with tempfile.TemporaryDirectory() as name:
    run = subprocess.run([sys.argv[1], name], check=True, capture_output=True, text=True)
    check(pathlib.Path(name), run.stdout)

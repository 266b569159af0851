# SPDX-License-Identifier: Apache-2.0
"""Reads a checkpoint of fathom's: its tensors, and what it says of its model. Needs numpy."""

import json
import pathlib

import numpy

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}


def read_tensors(path):
    """{name: array} of a safetensors file."""
    data = pathlib.Path(path).read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name == "__metadata__":
            continue
        begin, end = (start + offset for offset in entry["data_offsets"])
        tensors[name] = numpy.frombuffer(data[begin:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors


class Translator:
    """A checkpoint of an encoder-decoder whose stacks are made of equal blocks of residual sublayers."""

    def __init__(self, directory):
        directory = pathlib.Path(directory)
        self.model = json.loads((directory / "config.json").read_text())["model"]
        if self.model["name"] != "Translator":
            raise ValueError(f"{directory} is a checkpoint of a {self.model['name']}, not of a Translator")
        self.tensors = read_tensors(directory / "model.safetensors")

    def sublayers(self, side):
        """What the model says of the sublayers of a block of the "encoder" or "decoder"."""
        return self.model[side]["block"]["layers"]

    def depth(self, side):
        blocks = {name.split(".")[2] for name in self.tensors if name.startswith(f"{side}.blocks.")}
        return len(blocks)

    @property
    def heads(self):
        return self.sublayers("encoder")[0]["heads"]

    @property
    def pre_norm(self):
        return self.sublayers("encoder")[0]["residual"]["name"] == "PreNorm"

    def alpha(self, side):
        """What the residual stream is multiplied by in a sublayer."""
        return self.sublayers(side)[0]["residual"]["alpha"]

    def require(self, **facts):
        """The model must say these facts of itself, and of every sublayer that says something of them."""
        for side in ("encoder", "decoder"):
            for sublayer in self.sublayers(side):
                norm = sublayer["residual"]["norm"]
                said = {**sublayer, "residual": sublayer["residual"]["name"], "norm": norm["kind"]}
                for key, allowed in facts.items():
                    if key in said and said[key] not in allowed:
                        raise ValueError(f"{side}: {key} is {said[key]} where one of {allowed} is needed")
        for key, allowed in facts.items():
            if key in self.model and self.model[key] not in allowed:
                raise ValueError(f"{key} is {self.model[key]} where one of {allowed} is needed")
